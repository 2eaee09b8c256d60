// See comparison.hpp.
#include "sim/comparison.hpp"

#include <algorithm>
#include <cmath>
#include <random>
#include <utility>

#include "core/check.hpp"
#include "policy/latency_fit.hpp"
#include "sim/fast_run.hpp"
#include "sim/full_run.hpp"

namespace tandem::sim {
namespace {

/// Even on a logarithmic scale over 1 .. most.
std::int64_t log_even(std::mt19937_64& random, double most) {
  const double share = static_cast<double>(random() >> 11) * 0x1.0p-53;
  return static_cast<std::int64_t>(std::exp(share * std::log(std::max(most, 1.0))));
}

/// A mix that serving may come to run: some decodes, some chunks, each behind some context.
Plan random_plan(std::mt19937_64& random, std::int64_t max_rows, std::int64_t max_sequences) {
  constexpr std::int64_t longest_context = 16384;
  Plan plan;
  std::int64_t rows = log_even(random, static_cast<double>(max_rows));
  const std::int64_t decodes =
      random() % 4 == 0 ? 0 : std::min(rows, log_even(random, static_cast<double>(max_sequences)));
  const auto add = [&](std::int64_t context, std::int64_t tokens, bool decode) {
    Slice slice;
    slice.decode = slice.samples = decode;
    slice.context = static_cast<std::uint32_t>(context);
    slice.num_tokens = static_cast<std::uint32_t>(tokens);
    plan.slices.push_back(slice);
    rows -= tokens;
  };
  const double spread = static_cast<double>(log_even(random, longest_context));
  for (std::int64_t i = 0; i < decodes; ++i) add(log_even(random, spread) + 1, 1, true);
  while (rows > 0 && static_cast<std::int64_t>(plan.slices.size()) < max_sequences) {
    const std::int64_t tokens = std::min(rows, 1 + log_even(random, 2 * static_cast<double>(rows)));
    add(random() % 2 == 0 ? 0 : log_even(random, longest_context), tokens, false);
    plan.slices.back().samples = random() % 2 == 0;
  }
  return plan;
}

policy::PlannerPtr make_planner(const Trial& trial) {
  policy::PlannerOptions options;
  if (trial.rate > 0) options.offline_tokens_per_second = trial.rate;
  auto planner = policy::make_planner(trial.policy, options);
  TANDEM_CHECK(planner.has_value(), "policies are known by name before they are compared");
  return std::move(*planner);
}

}  // namespace

policy::LearnerOptions profile_device(const DeviceModel& device, const FaultOptions& faults,
                                      Tokens max_iteration_tokens, std::uint32_t max_sequences,
                                      std::size_t samples, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  const Faults noise({.noise = faults.noise}, seed ^ 0x9e3779b97f4a7c15ULL);
  policy::LearnerOptions learner;
  learner.samples.reserve(samples);
  for (std::size_t i = 0; i < samples; ++i) {
    Plan plan = random_plan(random, max_iteration_tokens.value(), max_sequences);
    plan.id = IterationId{i};
    const Duration took = noise.cost(plan, 0, device.cost(plan));
    learner.samples.push_back({.shape = policy::IterationShape::of(plan), .ms = to_ms(took)});
  }
  learner.initial = policy::fit_latency(learner.samples);
  return learner;
}

Trial hygen_trial(double budget_ms, const policy::Objectives& objectives) {
  Trial trial{.policy = "hygen", .budget_ms = budget_ms};
  for (const policy::Objective& each : objectives) {
    if (each.quantity == policy::Quantity::ttft) trial.about_ttft = true;
    if (each.quantity != policy::Quantity::tbt || each.relative) continue;
    if (trial.tbt_limit_ms == 0 || each.value < trial.tbt_limit_ms) trial.tbt_limit_ms = each.value;
  }
  return trial;
}

policy::LatencyStatistics statistics_of(const Measured& measured) {
  policy::LatencyStatistics statistics;
  statistics.ttft_samples = measured.ttft.count;
  statistics.tbt_samples = measured.tbt.count;
  statistics.ttft_ms_mean = measured.ttft.mean;
  statistics.ttft_ms_p50 = measured.ttft.p50;
  statistics.ttft_ms_p99 = measured.ttft.p99;
  statistics.tbt_ms_mean = measured.tbt.mean;
  statistics.tbt_ms_p50 = measured.tbt.p50;
  statistics.tbt_ms_p99 = measured.tbt.p99;
  return statistics;
}

Comparison::Comparison(const Workload& workload, const ComparisonOptions& options)
    : workload_(workload),
      options_(options),
      learner_(profile_device(*options.run.device, options.run.faults,
                              options.run.scheduler.max_iteration_tokens,
                              options.run.scheduler.max_sequences, 4000, options.run.seed)) {}

policy::SloOptions Comparison::slo_of(const Trial& trial) {
  policy::SloOptions slo;
  if (trial.budget_ms > 0) slo.budget_ms = trial.budget_ms;
  slo.control = trial.controlled;
  if (trial.controlled) {
    slo.objectives = options_.objectives;
    slo.baseline = statistics_of(*baseline());
    const auto ends =
        policy::budget_ends(learner_.initial, options_.run.scheduler.max_iteration_tokens);
    slo.least_ms = ends.least_ms;
    slo.most_ms = ends.most_ms;
    return slo;
  }
  if (!slo.budget_ms) return slo;
  // Those that say what the budget bounds (policy::budget_of).
  using policy::Quantity;
  if (trial.about_ttft) slo.objectives.push_back({.quantity = Quantity::ttft, .relative = true});
  if (trial.tbt_limit_ms > 0)
    slo.objectives.push_back({.quantity = Quantity::tbt, .value = trial.tbt_limit_ms});
  return slo;
}

MeasuredPtr Comparison::run(const Trial& trial) {
  if (const auto found = done_.find(trial); found != done_.end()) return found->second;
  auto measured = run(trial, {});
  if (!stopped_) done_.emplace(trial, measured);
  return measured;
}

MeasuredPtr Comparison::run(const Trial& trial, const std::vector<RunObserver*>& observers) {
  RunOptions run = options_.run;
  run.make_planner = [trial] { return make_planner(trial); };
  run.learner = learner_;
  run.slo = slo_of(trial);
  run.progress = [&](Duration at) {
    const bool go_on = !options_.progress || options_.progress(trial, at);
    stopped_ = stopped_ || !go_on;
    return go_on;
  };
  // Where online requests wait for ever there is nothing to wait for behind the horizon.
  Workload offline_alone;
  const bool alone = trial.policy == "offline_only";
  if (alone) {
    offline_alone.name = workload_.name;
    offline_alone.prefix_id_tokens = workload_.prefix_id_tokens;
    for (const auto& request : workload_.requests)
      if (request.request_class == RequestClass::offline) offline_alone.requests.push_back(request);
  }
  const Workload& workload = alone ? offline_alone : workload_;
  Measurements measurements(workload, run.horizon, options_.interval);
  std::vector<RunObserver*> all = observers;
  all.push_back(&measurements);
  if (!run.progress(Duration{})) return std::make_shared<const Measured>();
  if (options_.mode == RunMode::fast) {
    run_fast(workload, run, all);
  } else if (const auto ran = run_full(workload, run, all); !ran) {
    failure_ = ran.error();
    stopped_ = true;
  }
  return std::make_shared<const Measured>(measurements.result());
}

double Comparison::ceiling() {
  if (!ceiling_) ceiling_ = run({.policy = "offline_only"})->offline_tail_per_s(options_.tail);
  return *ceiling_;
}

bool Comparison::met(const policy::Objectives& objectives, const Measured& measured) {
  return policy::slack(objectives, statistics_of(measured), statistics_of(*baseline())) >= 0;
}

Comparison::Found Comparison::search(policy::BudgetSearch search,
                                     const policy::Objectives& objectives,
                                     const std::function<Trial(double)>& trial_of) {
  Found found;
  while (const auto value = search.next()) {
    const Trial trial = trial_of(*value);
    const MeasuredPtr measured = run(trial);
    if (stopped_) return found;
    ++found.runs;
    const bool is_met = met(objectives, *measured);
    search.observe(is_met);
    if (options_.probed) options_.probed(trial, *measured, is_met);
    if (!is_met && found.met) continue;
    // Probes that meet the objectives rise; before the first of them the least counts.
    found.trial = trial;
    found.measured = measured;
    found.met = is_met;
  }
  if (search.result()) {
    found.trial = trial_of(*search.result());
    found.measured = run(found.trial);
  }
  return found;
}

Comparison::Found Comparison::best_hygen(const policy::Objectives& objectives) {
  const auto trial_of = [&](double budget) { return hygen_trial(budget, objectives); };
  const Tokens full = options_.run.scheduler.max_iteration_tokens;
  return search(policy::BudgetSearch::over(learner_.initial, full, options_.precision), objectives,
                trial_of);
}

Comparison::Found Comparison::best_fixed_rate(const policy::Objectives& objectives) {
  const double most = std::max(ceiling(), 1.0);
  return search(policy::BudgetSearch(most * 1e-3, most, options_.precision), objectives,
                [](double rate) { return Trial{.policy = "fixed_rate", .rate = rate}; });
}

}  // namespace tandem::sim
