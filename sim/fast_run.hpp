// Fast mode: the real SchedulerCore driven by an event loop in virtual time. No actors, no threads;
// one hour of traffic costs what its iterations cost the core. The shell around the core is that of
// actors/scheduler.cpp and actors/executor.cpp in the same order: a device that runs one plan at a
// time and starts the next before the last report is looked at, and a queue that answers a Refill.
// Full mode (full_run.hpp) runs those actors themselves.
#pragma once

#include <vector>

#include "sim/run_observer.hpp"
#include "sim/run_options.hpp"

namespace tandem::sim {

/// The virtual time at which the run ended. The workload and options must have passed check() and
/// check_fits().
TimePoint run_fast(const Workload& workload, const RunOptions& options,
                   const std::vector<RunObserver*>& observers);

}  // namespace tandem::sim
