// How each actor comes to life. An actor has no header of its own: its interface is its protocol.
#pragma once

#include <caf/actor_system.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "actors/engine_status.hpp"
#include "actors/metrics.hpp"
#include "actors/protocols.hpp"
#include "actors/scheduler_watch.hpp"
#include "actors/served_model.hpp"
#include "api/parse.hpp"
#include "gpu/backend.hpp"
#include "policy/iteration_planner.hpp"
#include "policy/latency_learner.hpp"
#include "policy/offline_order.hpp"
#include "policy/scheduler_core.hpp"
#include "policy/slo_budget.hpp"
#include "store/store.hpp"

namespace tandem::store {
class Store;
}

namespace tandem {

using MetricsPtr = std::shared_ptr<Metrics>;

struct IntakeOptions {
  std::uint32_t max_online_requests = 1024;
  std::uint32_t max_flex_requests = 256;
  std::uint64_t seed = 0;  ///< where request seeds come from if a call names none
  /// Calls with more text wait for an encoder; with less, intake tokenizes them itself.
  std::size_t inline_encode_bytes = 4096;
  std::uint32_t max_encode_queue = 64;  ///< calls that wait for an encoder
};

/// Seconds since 1970. Deadlines outlive the process, so they are wall-clock time.
using UnixClock = std::function<std::int64_t()>;
std::int64_t system_unix_clock();

struct QueueOptions {
  std::uint32_t max_batch_items = 50000;
  std::uint32_t max_prepared = 256;  ///< engine requests handed out at once
  /// fcfs: by deadline, then batch, then line, as the store has them.
  policy::OfflineOrderOptions order;
  /// Of the lines of new batches; the queue itself fills in what only the model knows.
  api::ParseLimits line_limits;
  UnixClock unix_clock = system_unix_clock;
};

/// Without encoders intake tokenizes everything itself.
RequestIntake spawn_request_intake(caf::actor_system& system, bool detached,
                                   const IntakeOptions& options, ServedModelPtr model,
                                   Scheduler scheduler, std::vector<Encoder> encoders,
                                   MetricsPtr metrics);
/// `niceness`: of its own thread if it is detached, beyond that of the process.
Encoder spawn_encoder(caf::actor_system& system, bool detached, std::uint32_t niceness,
                      ServedModelPtr model);
OfflineQueue spawn_offline_queue(caf::actor_system& system, bool detached,
                                 const QueueOptions& options, std::unique_ptr<store::Store> store,
                                 ServedModelPtr model, Scheduler scheduler, MetricsPtr metrics);
LatencyPredictor spawn_latency_predictor(caf::actor_system& system,
                                         const policy::LearnerOptions& options, MetricsPtr metrics);
SloProfiler spawn_slo_profiler(caf::actor_system& system, const policy::SloOptions& options,
                               MetricsPtr metrics);
Scheduler spawn_scheduler(caf::actor_system& system, const policy::SchedulerOptions& options,
                          policy::PlannerPtr planner, Executor executor, MetricsPtr metrics,
                          EngineStatusPtr status, SchedulerWatchPtr watch = nullptr);
Executor spawn_executor(caf::actor_system& system, bool detached,
                        std::unique_ptr<gpu::Backend> backend);

}  // namespace tandem
