// The scheduler's whole mind: events in, actions out, no clock, no thread, no message. The code
// that serves is the code that is simulated and fuzzed.
//
// Two plans may be in flight. A plan names the sequences that run, not their tokens: a decode whose
// token the plan before it is still sampling carries that slice's index instead
// (Slice::source_slice). Progress is committed only by a finished report; a sequence that turns out
// to have ended is dropped from what later plans yield, and its blocks are freed when no plan in
// flight uses them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "core/plan.hpp"
#include "core/request.hpp"
#include "core/units.hpp"
#include "policy/events.hpp"
#include "policy/iteration_planner.hpp"
#include "policy/kv_ledger.hpp"

namespace tandem::policy {

struct SchedulerOptions {
  Tokens max_iteration_tokens{512};   ///< the token budget of one iteration
  std::uint32_t row_quantum = 1;      ///< of the device: row counts that use it best
  std::uint32_t max_sequences = 256;  ///< slots; no more than max_iteration_tokens are used
  Blocks kv_blocks{0};
  bool prefix_cache = true;
  std::uint32_t plans_in_flight = 2;  ///< 1 or 2
  std::uint32_t offline_window =
      64;  ///< offline requests kept ready; a Refill is asked for below half of it
  std::uint64_t hash_key = 0;
};

/// Numbers for metrics, all O(1).
struct SchedulerStats {
  std::uint64_t online_running = 0, online_waiting = 0;
  std::uint64_t offline_running = 0, offline_waiting = 0;
  Blocks kv_total{0}, kv_available{0}, kv_held{0};
  std::uint64_t preemptions = 0;        ///< total
  std::uint64_t prefix_queries = 0;     ///< prompt tokens looked up, total
  std::uint64_t prefix_hits = 0;        ///< of them found, total
  std::uint64_t recomputed_tokens = 0;  ///< thrown away by preemption, total
};

/// Carries out one action.
using Performer = std::function<void(Action&&)>;

class SchedulerCore {
 public:
  SchedulerCore(const SchedulerOptions& options, PlannerPtr planner);
  ~SchedulerCore();
  SchedulerCore(SchedulerCore&&) noexcept;

  /// Takes one event in; the returned actions are valid until the next call. The offline queue is
  /// taken to have items until it says otherwise: the very first event is answered with a Refill,
  /// which a shell that has no queue yet keeps until it has one, or answers with Supplied{}.
  [[nodiscard]] const std::vector<Action>& on(const Event& event, TimePoint now);
  /// The same, with every action handed over as soon as it is decided: a device waits for Launch,
  /// and nobody waits so urgently for the rest. `perform` must not call the core.
  void on(const Event& event, TimePoint now, const Performer& perform);

  [[nodiscard]] SchedulerStats stats() const;
  /// Nothing runs, waits or is in flight.
  [[nodiscard]] bool idle() const;
  /// Aborts if an invariant is broken; O(everything), for tests.
  void check() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tandem::policy
