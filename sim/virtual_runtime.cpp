// See virtual_runtime.hpp.
#include "sim/virtual_runtime.hpp"

#include <caf/send.hpp>

#include "core/check.hpp"

namespace tandem::sim {

VirtualRuntime::Config::Config() { set("scheduler.policy", caf::atom("testing")); }

VirtualRuntime::VirtualRuntime()
    : scheduler_(dynamic_cast<caf::scheduler::test_coordinator&>(system_.scheduler())) {
  scheduler_.clock().current_time = {};  // CAF begins at one nanosecond
}

VirtualRuntime::~VirtualRuntime() {
  for (const auto& actor : owned_) caf::anon_send_exit(actor, caf::exit_reason::kill);
  run();
  scheduler_.clock().cancel_all();
  owned_.clear();
  run();
}

TimePoint VirtualRuntime::now() const {
  return TimePoint(
      std::chrono::duration_cast<Duration>(scheduler_.clock().current_time.time_since_epoch()));
}

std::optional<TimePoint> VirtualRuntime::next_timer() const {
  if (!scheduler_.has_pending_timeout()) return std::nullopt;
  const auto due = scheduler_.clock().schedule().begin()->first;
  return TimePoint(std::chrono::duration_cast<Duration>(due.time_since_epoch()));
}

void VirtualRuntime::move_to(TimePoint at) {
  TANDEM_CHECK(at >= now(), "virtual time does not run backwards");
  scheduler_.clock().current_time = caf::actor_clock::time_point(at.time_since_epoch());
}

std::size_t VirtualRuntime::run() { return scheduler_.run(); }

std::size_t VirtualRuntime::advance(Duration duration) {
  auto turns = run();
  auto& clock = scheduler_.clock();
  const auto end = clock.current_time + duration;
  while (scheduler_.has_pending_timeout()) {
    const auto due = clock.schedule().begin()->first;
    if (due > end) break;
    // CAF's own advance_time jumps first and fires then: chained timers would all see the end.
    clock.current_time = std::max(clock.current_time, due);
    clock.trigger_expired_timeouts();
    turns += run();
  }
  clock.current_time = end;
  return turns;
}

}  // namespace tandem::sim
