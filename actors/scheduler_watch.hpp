// Looks over the scheduler's shoulder: what its core takes in, what it decides, and the core itself
// after each event. Called on the scheduler's thread, in the order in which things happen; it must
// not call the core. For the simulator and for tests, which see a real run from where it is
// decided.
#pragma once

#include <memory>

#include "core/units.hpp"
#include "policy/events.hpp"
#include "policy/scheduler_core.hpp"

namespace tandem {

class SchedulerWatch {
 public:
  virtual ~SchedulerWatch() = default;
  /// The core is about to take `event` in.
  virtual void happens(const policy::Event& event, TimePoint now) = 0;
  /// It has decided on `action`, which is about to be carried out.
  virtual void decides(const policy::Action& action, TimePoint now) = 0;
  /// All actions of the event were carried out.
  virtual void settles(const policy::SchedulerCore& core, TimePoint now) = 0;
};
using SchedulerWatchPtr = std::shared_ptr<SchedulerWatch>;

}  // namespace tandem
