// Wires the actor graph, watches over it and takes it down. The only place that knows all actors.
//
// Supervision: the death of the latency predictor or the SLO profiler costs estimates only; it is
// logged and the actor is respawned, at most `max_observer_restarts` times. The death of intake,
// queue, encoder, scheduler or executor ends the runtime: `ready()` turns false, every sink is told
// that its requests failed where that is still possible, and `on_fatal` is called once with the
// reason.
#pragma once

#include <caf/actor_system.hpp>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "actors/metrics.hpp"
#include "actors/protocols.hpp"
#include "actors/scheduler_watch.hpp"
#include "actors/served_model.hpp"
#include "api/parse.hpp"
#include "gpu/backend.hpp"
#include "policy/iteration_planner.hpp"
#include "policy/latency_learner.hpp"
#include "policy/scheduler_core.hpp"
#include "policy/slo_budget.hpp"
#include "store/store.hpp"

namespace tandem {

struct RuntimeOptions {
  policy::SchedulerOptions scheduler;
  std::string scheduling_policy = "hygen";
  policy::PlannerOptions planner;
  policy::LearnerOptions learner;  ///< of the latency predictor
  policy::SloOptions slo;
  std::string offline_order = "prefix_fair";  ///< see policy/offline_order.hpp
  double offline_utility_ratio = 0.99;
  Duration offline_deadline_margin = std::chrono::seconds(60);
  std::uint32_t max_online_requests =
      1024;  ///< calls' choices in the engine at once; above: overloaded
  std::uint32_t max_flex_requests = 256;     ///< same for synchronous offline (flex) ones
  std::uint32_t encoder_threads = 2;         ///< render and tokenize long prompts
  std::uint32_t encoder_niceness = 19;       ///< of their threads, beyond the process's own
  std::uint32_t max_encode_queue = 64;       ///< calls that wait for one of them; above: overloaded
  std::uint64_t inline_encode_bytes = 4096;  ///< up to so much text intake tokenizes itself
  std::uint32_t max_observer_restarts = 3;
  store::StoreOptions store;
  std::uint32_t max_batch_items = 50000;
  api::ParseLimits line_limits;  ///< of batches, without what only the model knows
  Duration stall_after = std::chrono::seconds(30);  ///< work waits, nothing finishes: not ready
  bool detached =
      true;  ///< false under the test scheduler: every actor runs on the driver's thread
};

/// What a test or a user replaces. Unset parts are spawned as usual.
struct RuntimeParts {
  std::optional<Executor> executor;
  std::optional<Scheduler> scheduler;
  std::optional<LatencyPredictor> predictor;
  std::optional<SloProfiler> profiler;
  std::optional<RequestIntake> intake;
  std::vector<Encoder> encoders;  ///< for the intake that is spawned; empty: encoder_threads
  std::optional<OfflineQueue> queue;
  policy::PlannerPtr planner;                ///< instead of the one that scheduling_policy names
  std::unique_ptr<gpu::Backend> backend;     ///< for the executor that is spawned
  SchedulerWatchPtr watch;                   ///< of the scheduler that is spawned
  std::function<std::int64_t()> unix_clock;  ///< of the queue that is spawned: seconds since 1970
};

class Runtime {
 public:
  /// `parts.backend` or `parts.executor` must be set. Fails if the store cannot be opened or the
  /// policy is unknown.
  static Result<std::unique_ptr<Runtime>> start(caf::actor_system& system,
                                                const RuntimeOptions& options, ServedModelPtr model,
                                                RuntimeParts parts);
  ~Runtime();

  [[nodiscard]] const RequestIntake& intake() const;
  [[nodiscard]] const OfflineQueue& queue() const;
  [[nodiscard]] const Scheduler& scheduler() const;
  /// Those that were spawned at start; after a respawn the scheduler knows the successors.
  [[nodiscard]] msg::AttachObservers observers() const;
  [[nodiscard]] Metrics& metrics();
  [[nodiscard]] const ServedModelPtr& model() const;

  /// All six actors live, and the scheduler's iterations make progress where work waits.
  [[nodiscard]] bool ready() const;
  /// Why not, for /readyz?verbose; empty if ready.
  [[nodiscard]] std::string not_ready_reason() const;
  /// Called once, from an actor's thread, when the runtime ends by itself.
  void on_fatal(std::function<void(std::string)> handler);

  /// Intake refuses, the queue claims nothing more; running requests go on.
  void drain();
  /// Requests that the engine still works on.
  [[nodiscard]] std::uint64_t in_flight() const;
  [[nodiscard]] std::uint64_t online_in_flight() const;
  /// Exit messages to all, waits for them, drops every handle. Idempotent.
  void stop();

 private:
  struct State;
  explicit Runtime(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// The actor system's settings that were measured to fit (sharing scheduler, few threads).
void configure(caf::actor_system_config& config, std::size_t threads);

}  // namespace tandem
