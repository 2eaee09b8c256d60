// Policies side by side on one workload: the question is how much offline work can be harvested
// beside this traffic under this objective. Each policy is given its chance: `hygen` the largest
// budget that meets the objective, `fixed_rate` the largest rate, both found by bisection over runs
// (HyGen, arXiv 2501.14808, §3.4); objectives may be relative to what online requests feel when
// they have the engine to themselves; the ceiling is the steady-state tail of offline work alone.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "policy/slo_budget.hpp"
#include "sim/measurements.hpp"
#include "sim/run_options.hpp"

namespace tandem::sim {

/// A model fitted to what the device model takes for `samples` mixed iterations, noise included,
/// and these samples: in a simulation the counterpart of profiling a device. Error-free devices
/// still get an error, since a fit has one.
policy::LearnerOptions profile_device(const DeviceModel& device, const FaultOptions& faults,
                                      Tokens max_iteration_tokens, std::uint32_t max_sequences,
                                      std::size_t samples, std::uint64_t seed);

policy::LatencyStatistics statistics_of(const Measured& measured);

/// What one run was told.
struct Trial {
  std::string policy;
  double budget_ms = 0;     ///< hygen; 0: none
  bool controlled = false;  ///< hygen: the budget is adjusted for ComparisonOptions::objectives
  double rate = 0;          ///< fixed_rate: offline tokens per second
  bool about_ttft = false;  ///< hygen: an objective that the budget is for is about TTFT
  double tbt_limit_ms = 0;  ///< hygen: the strictest absolute one about TBT; 0: none is

  friend auto operator<=>(const Trial&, const Trial&) = default;
};

/// hygen with a fixed budget for these objectives.
Trial hygen_trial(double budget_ms, const policy::Objectives& objectives);

struct ComparisonOptions {
  RunMode mode = RunMode::fast;
  RunOptions run;                 ///< make_planner, learner and slo are the comparison's own
  policy::Objectives objectives;  ///< of controlled trials
  double tail = 0.25;             ///< of an offline-only run, from where on it is steady
  double precision = 0.02;        ///< of searched budgets and rates, relative
  Duration interval = std::chrono::seconds(10);  ///< of the curves
  /// Called when a run begins, and with its virtual time; false ends everything early.
  std::function<bool(const Trial&, Duration)> progress;
  /// Called for each probe of a search, with whether it met the objectives.
  std::function<void(const Trial&, const Measured&, bool)> probed;
};

using MeasuredPtr = std::shared_ptr<const Measured>;

/// Runs trials on demand and remembers them: searches for several objectives share their probes.
class Comparison {
 public:
  /// `workload` must outlive this, have passed check() and check_fits() (and check_full(), for full
  /// mode), and have requests of both classes, for what is asked of it.
  Comparison(const Workload& workload, const ComparisonOptions& options);

  MeasuredPtr run(const Trial& trial);
  /// Runs it anew, with others watching.
  MeasuredPtr run(const Trial& trial, const std::vector<RunObserver*>& observers);
  /// Online requests alone: what relative objectives are relative to.
  MeasuredPtr baseline() { return run({.policy = "online_only"}); }
  /// Offline work alone, tokens per second in its steady state.
  double ceiling();

  struct Found {
    Trial trial;
    MeasuredPtr measured;
    bool met = false;  ///< false: not even the least budget or rate does; `measured` is of that one
    std::size_t runs = 0;  ///< that the search asked for, remembered ones included
  };
  Found best_hygen(const policy::Objectives& objectives);
  Found best_fixed_rate(const policy::Objectives& objectives);
  /// Whether `measured` meets the objectives, relative ones taken of the baseline.
  bool met(const policy::Objectives& objectives, const Measured& measured);

  /// A run was cut short by `progress`, or failed: what was measured is of no use.
  [[nodiscard]] bool stopped() const { return stopped_; }
  /// Why a run failed, if one did.
  [[nodiscard]] const std::optional<Error>& failure() const { return failure_; }
  [[nodiscard]] const policy::LatencyModel& model() const { return learner_.initial; }

 private:
  policy::SloOptions slo_of(const Trial& trial);
  Found search(policy::BudgetSearch search, const policy::Objectives& objectives,
               const std::function<Trial(double)>& trial_of);

  const Workload& workload_;
  ComparisonOptions options_;
  policy::LearnerOptions learner_;
  std::map<Trial, MeasuredPtr> done_;
  std::optional<double> ceiling_;
  bool stopped_ = false;
  std::optional<Error> failure_;
};

}  // namespace tandem::sim
