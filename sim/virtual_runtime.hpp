// The real actors under CAF's test scheduler and clock: nothing runs until the driver says so, and
// time stands still until it is advanced. Equal inputs give equal runs; an hour of virtual time
// costs what its messages cost. For tests, examples and the simulator.
#pragma once

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/scheduler/test_coordinator.hpp>
#include <cstddef>
#include <optional>
#include <vector>

#include "core/units.hpp"

namespace tandem::sim {

class VirtualRuntime {
 public:
  VirtualRuntime();
  /// Ends every owned actor, delivers what that causes, and only then lets the actor system go:
  /// under the test scheduler nobody else would, and its destructor would wait for ever.
  ~VirtualRuntime();
  VirtualRuntime(const VirtualRuntime&) = delete;
  VirtualRuntime& operator=(const VirtualRuntime&) = delete;

  [[nodiscard]] caf::actor_system& system() { return system_; }
  [[nodiscard]] TimePoint now() const;

  /// Remembers an actor to be ended with this object. Returns the handle.
  template <class Handle>
  Handle own(Handle handle) {
    owned_.push_back(caf::actor_cast<caf::strong_actor_ptr>(handle));
    return handle;
  }

  /// Delivers messages until every mailbox is empty; time stands still. Returns how many turns it
  /// took.
  std::size_t run();
  /// When the earliest timer is due; nothing without any. It may be in the past of move_to().
  [[nodiscard]] std::optional<TimePoint> next_timer() const;
  /// It is `at` from now on, which is not before now(); nothing runs. Timers that are due by then
  /// fire with the next advance(): a driver that knows of other things that happen at `at` decides
  /// which come first.
  void move_to(TimePoint at);
  /// run(), then lets time pass, firing timers one due time after the other and running after each.
  std::size_t advance(Duration duration);

 private:
  struct Config : caf::actor_system_config {
    Config();
  };
  Config config_;
  caf::actor_system system_{config_};
  caf::scheduler::test_coordinator& scheduler_;
  std::vector<caf::strong_actor_ptr> owned_;
};

}  // namespace tandem::sim
