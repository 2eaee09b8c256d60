// Fast mode: the real SchedulerCore driven by an event loop in virtual time. No actors, no threads;
// one hour of traffic costs what its iterations cost the core. The shell around the core is that of
// actors/scheduler.cpp and actors/executor.cpp in the same order: a device that runs one plan at a
// time and starts the next before the last report is looked at, and a queue that answers a Refill.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "core/result.hpp"
#include "core/units.hpp"
#include "policy/iteration_planner.hpp"
#include "policy/scheduler_core.hpp"
#include "policy/snapshots.hpp"
#include "sim/device_model.hpp"
#include "sim/faults.hpp"
#include "sim/run_observer.hpp"
#include "sim/workload.hpp"

namespace tandem::sim {

struct RunOptions {
  policy::SchedulerOptions scheduler;
  std::function<policy::PlannerPtr()> make_planner;  ///< once for each life of the process
  DeviceModelPtr device;
  std::int64_t vocab_size = 32000;
  /// Requests that arrive later are left out. The run goes on until all online requests ended, at
  /// most for as long again; 0: until everything ended, offline items too.
  Duration horizon{0};
  bool endless_offline = false;  ///< the offline set is gone over again and again; needs a horizon
  std::uint32_t item_attempts = 8;  ///< an offline item that failed so often is given up
  FaultOptions faults;
  std::uint64_t seed = 0;
  policy::LatencySnapshotPtr model;  ///< told to the core at the start, if set
  policy::BudgetSnapshotPtr budget;  ///< likewise
  /// Called now and then with the virtual time since the start; false ends the run.
  std::function<bool(Duration)> progress;
};

/// A request that can never run on `options`' KV cache, by its place in the workload.
Result<void> check_fits(const Workload& workload, const RunOptions& options);

/// The virtual time at which the run ended. The workload and options must have passed check() and
/// check_fits().
TimePoint run_fast(const Workload& workload, const RunOptions& options,
                   const std::vector<RunObserver*>& observers);

}  // namespace tandem::sim
