// The engine's health at a glance, for /readyz and the drain: a handful of atomics that the
// scheduler and the supervisor write and anybody may read. Numbers only; no decision hangs on their
// order.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "core/units.hpp"
#include "policy/scheduler_core.hpp"

namespace tandem {

class EngineStatus {
 public:
  /// The scheduler, after each of its events. Waiting time counts from when there was work again.
  void set_work(const policy::SchedulerStats& stats, TimePoint now) {
    const auto work =
        stats.online_running + stats.online_waiting + stats.offline_running + stats.offline_waiting;
    if (in_flight_.exchange(work) == 0 && work > 0) progressed(now);
    online_in_flight_ = stats.online_running + stats.online_waiting;
  }
  /// A report came back.
  void progressed(TimePoint now) { last_progress_ = now.time_since_epoch().count(); }
  /// `actor`: a string literal, the role that died.
  void died(const char* actor) { dead_ = actor; }

  [[nodiscard]] std::uint64_t in_flight() const { return in_flight_; }
  [[nodiscard]] std::uint64_t online_in_flight() const { return online_in_flight_; }
  [[nodiscard]] const char* dead() const { return dead_; }  ///< null while all live
  /// Work waits and no iteration has finished for `bound`.
  [[nodiscard]] bool stalled(TimePoint now, Duration bound) const {
    return in_flight_ > 0 && now.time_since_epoch() - Duration(last_progress_.load()) > bound;
  }

 private:
  std::atomic<std::uint64_t> in_flight_{0};
  std::atomic<std::uint64_t> online_in_flight_{0};
  std::atomic<Duration::rep> last_progress_{0};
  std::atomic<const char*> dead_{nullptr};
};
using EngineStatusPtr = std::shared_ptr<EngineStatus>;

}  // namespace tandem
