// Full mode: the actors that serve, all six of them, under CAF's test scheduler and clock. Calls go
// through request intake, offline work is pushed as batches into the offline queue with its store,
// the executor runs plans on a simulated device, and predictor and profiler watch. Slower than fast
// mode, which has the scheduler core alone; for the same workload both write the same log, as far
// as predictor and profiler do not change their minds (fast mode keeps to what is known at the
// start).
//
// Other than in fast mode
//   - a device error ends the process, as it does in service, so failure_share and death_share both
//     lead to a restart; what had failed under it counts against items by the store's PoisonRule;
//   - only callers go away (cancel_share): an offline item has none, and cannot be cancelled alone.
#pragma once

#include <vector>

#include "core/result.hpp"
#include "sim/run_observer.hpp"
#include "sim/run_options.hpp"

namespace tandem::sim {

/// What full mode does not offer: deadlines of offline items, since a batch would end at its
/// deadline where fast mode only counts what is late.
Result<void> check_full(const Workload& workload);

/// As run_fast(); the workload must have passed check_full() as well. Errors are of the disk that
/// the queue's store is on, or name an item that is too long for a line of a batch.
Result<TimePoint> run_full(const Workload& workload, const RunOptions& options,
                           const std::vector<RunObserver*>& observers);

}  // namespace tandem::sim
