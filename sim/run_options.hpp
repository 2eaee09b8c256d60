// What a run of the simulator is told, in either mode.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>

#include "core/result.hpp"
#include "core/units.hpp"
#include "policy/iteration_planner.hpp"
#include "policy/latency_learner.hpp"
#include "policy/offline_order.hpp"
#include "policy/scheduler_core.hpp"
#include "policy/slo_budget.hpp"
#include "sim/device_model.hpp"
#include "sim/faults.hpp"
#include "sim/workload.hpp"

namespace tandem::sim {

/// fast: the scheduler core alone. full: all actors that serve.
enum class RunMode : std::uint8_t { fast, full };

struct RunOptions {
  policy::SchedulerOptions scheduler;
  std::function<policy::PlannerPtr()> make_planner;  ///< once for each life of the process
  policy::OfflineOrderOptions offline_order;
  DeviceModelPtr device;
  std::int64_t vocab_size = 32000;
  /// Requests that arrive later are left out. The run goes on until all online requests ended, at
  /// most for as long again; 0: until everything ended, offline items too.
  Duration horizon{0};
  bool endless_offline = false;  ///< the offline set is gone over again and again; needs a horizon
  FaultOptions faults;
  std::uint64_t seed = 0;
  /// What is known of iteration times at the start. Fast mode keeps to it; in full mode the latency
  /// predictor learns on, as in service.
  policy::LearnerOptions learner;
  /// The budget at the start, and whether and how it is adjusted.
  policy::SloOptions slo;
  std::uint32_t item_attempts = 8;  ///< fast mode: an offline item that failed so often is given up
  std::filesystem::path scratch;    ///< full mode: where its queue keeps files; empty: a temporary
                                    ///< folder of the system
  /// Called now and then with the virtual time since the start; false ends the run.
  std::function<bool(Duration)> progress;
};

/// A request that can never run on `options`' KV cache, by its place in the workload.
Result<void> check_fits(const Workload& workload, const RunOptions& options);

}  // namespace tandem::sim
