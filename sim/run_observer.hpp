// Whoever watches a run: measurements, the event log, the invariant checker. Called in the order in
// which things happen, with virtual times that never fall.
#pragma once

#include <cstdint>
#include <vector>

#include "core/plan.hpp"
#include "core/request.hpp"
#include "core/units.hpp"
#include "policy/scheduler_core.hpp"

namespace tandem::sim {

class RunObserver {
 public:
  virtual ~RunObserver() = default;
  /// A request reached the engine; `index` is its place in the workload. An offline item that was
  /// given back comes again, under a new id.
  virtual void arrived(const Request& request, std::size_t index, TimePoint now) = 0;
  virtual void launched(const Plan& plan, TimePoint now) = 0;
  /// Not done, or done behind one that was not: it committed nothing.
  virtual void reported(const Plan& plan, const IterationReport& report, TimePoint now) = 0;
  virtual void emitted(const std::vector<TokenEvent>& events, TimePoint now) = 0;
  /// An item's request ended, but the item goes back to the queue and will come again.
  virtual void given_back(RequestId id, TimePoint now) = 0;
  /// An item that was given back will not come again: the queue gave it up.
  virtual void given_up(std::size_t index, TimePoint now) = 0;
  /// The process died: nothing that it held goes on. Requests that it had not ended come as emitted
  /// (online) or given_back (offline) right before.
  virtual void died(TimePoint now) = 0;
  /// The scheduler core has taken an event in and its actions are carried out.
  virtual void settled(const policy::SchedulerCore& core, TimePoint now) = 0;
  /// The run is over. `drained`: everything ended, nothing was cut off.
  virtual void finished(bool drained, TimePoint now) = 0;
};

/// The token that every simulated device samples for `request` behind `context` positions.
constexpr TokenId simulated_token(RequestId request, std::uint64_t context,
                                  std::int64_t vocab_size) {
  std::uint64_t z = raw(request) * 0x9e3779b97f4a7c15ULL + context;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  return static_cast<TokenId>((z >> 20) % static_cast<std::uint64_t>(vocab_size));
}

/// What a device samples in `plan`; its requests' ids are greater by `id_offset`.
std::vector<Sample> simulated_samples(const Plan& plan, std::int64_t vocab_size,
                                      std::uint64_t id_offset = 0);

}  // namespace tandem::sim
