// What the scheduler's mind takes in and gives out. Events are past tense, actions imperative; both
// are plain values, so a log of events replays a run exactly.
#pragma once

#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "core/plan.hpp"
#include "core/request.hpp"
#include "core/units.hpp"
#include "policy/snapshots.hpp"

namespace tandem::policy {

// Events.
struct Arrived {
  RequestPtr request;
};  ///< one request of either class (admitted by intake)
struct Supplied {
  std::vector<RequestPtr> items;
};                    ///< offline items, answering Refill; fewer than asked: the queue is empty
struct Available {};  ///< the offline queue has items again after it ran empty
struct Cancelled {
  RequestId id;
};  ///< unknown ids are ignored
struct Reported {
  ReportPtr report;
};  ///< every plan is reported, in order of launch; behind one that was not done, each is aborted
struct ModelUpdated {
  LatencySnapshotPtr model;
};
struct BudgetUpdated {
  BudgetSnapshotPtr budget;
};
struct Woken {};  ///< the time of a Wake has come
using Event = std::variant<Arrived, Supplied, Available, Cancelled, Reported, ModelUpdated,
                           BudgetUpdated, Woken>;

// Actions, in the order in which they are to be performed: Launch stands before Emit.
struct Launch {
  PlanPtr plan;
};
struct Emit {
  std::vector<TokenEvent> events;
};  ///< all of one report (or cancel) together
struct Refill {
  std::uint32_t count;
};  ///< ask the offline queue for this many items; one ask open at a time
struct Wake {
  TimePoint at;
};  ///< nothing is in flight, and the planner wants to be asked again then: answer with Woken
using Action = std::variant<Launch, Emit, Refill, Wake>;

}  // namespace tandem::policy
