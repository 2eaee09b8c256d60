// See profile_slo.hpp.
#include "cli/profile_slo.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "cli/client/progress.hpp"
#include "cli/profile.hpp"
#include "cli/trace_workload.hpp"
#include "policy/slo_budget.hpp"
#include "sim/comparison.hpp"
#include "sim/synthetic.hpp"

namespace tandem::cli {
namespace {

constexpr std::uint64_t workload_seed = 1;
/// The offline set where none is given: lengths from an eighth to a half of the context, at most
/// so many tokens, gone over again and again.
constexpr std::int64_t most_offline_tokens = 2048;
constexpr std::size_t offline_items = 4096;
/// Of a log-normal factor whose mean absolute deviation is 1.
const double sigma_of_deviation = std::sqrt(std::acos(-1.0) / 2);

Error wrong(const std::string& message, const std::string& param) {
  return error(Errc::invalid_value, message, param);
}

sim::Workload made_up_offline(std::int64_t max_context) {
  const auto longest = std::min(most_offline_tokens, max_context / 2);
  const auto tokens = [](std::int64_t count) { return Tokens(std::max<std::int64_t>(count, 1)); };
  return sim::synthetic_offline(offline_items, {tokens(longest / 4), tokens(longest)},
                                {tokens(longest / 16), tokens(longest / 4)}, workload_seed);
}

Result<sim::Workload> make_workload(const ProfileArguments& a, std::int64_t max_context) {
  std::vector<std::string> notes;
  auto online =
      read_trace_workload(a.slo_online, RequestClass::online, max_context, workload_seed, notes);
  if (!online) return online.error();
  if (online->requests.empty())
    return wrong("--slo-trace: no request of it is left to replay", "slo_trace");
  auto offline = a.slo_offline.file.empty()
                     ? Result<sim::Workload>(made_up_offline(max_context))
                     : read_trace_workload(a.slo_offline, RequestClass::offline, max_context,
                                           workload_seed, notes);
  if (!offline) return offline.error();
  for (auto& item : offline->requests) item.arrival = {};
  for (const auto& note : notes) std::fprintf(stderr, "tandem: %s\n", note.c_str());
  auto workload = sim::merge(std::move(*online), std::move(*offline));
  if (auto checked = sim::check(workload); !checked) return checked.error();
  return workload;
}

sim::RunOptions run_options(const config::Config& config, const gpu::DeviceLimits& limits,
                            const policy::LatencyModel& latency, const sim::Workload& workload) {
  sim::RunOptions run;
  run.scheduler = config.runtime.scheduler;
  run.scheduler.kv_blocks = limits.kv_blocks;
  run.scheduler.max_sequences = limits.max_sequences;
  run.device = sim::make_fitted_device(latency);
  run.vocab_size = limits.vocab_size;
  if (const auto rule = policy::parse_order_rule(config.runtime.offline_order))
    run.offline_order.rule = *rule;
  run.offline_order.utility_ratio = config.runtime.offline_utility_ratio;
  run.faults.noise = latency.error().mape * sigma_of_deviation;
  run.seed = workload_seed;
  run.horizon = std::chrono::milliseconds(1);
  for (const auto& request : workload.requests)
    run.horizon = std::max(run.horizon, request.arrival + std::chrono::milliseconds(1));
  run.endless_offline = true;
  return run;
}

/// "ttft_p99 812.40" for each objective.
std::string measured_text(const policy::Objectives& objectives,
                          const policy::LatencyStatistics& statistics) {
  std::string text;
  char part[64];
  for (const auto& each : objectives) {
    const double value = policy::statistic_of(statistics, each.quantity, each.statistic);
    std::snprintf(part, sizeof part, "%s%s %.2f", text.empty() ? "" : ", ",
                  policy::name_of(each.quantity, each.statistic).c_str(), value);
    text += part;
  }
  return text + " ms";
}

/// The same for what each may be.
std::string limits_text(const policy::Objectives& objectives,
                        const policy::LatencyStatistics& baseline) {
  std::string text;
  char part[96];
  for (const auto& each : objectives) {
    std::snprintf(part, sizeof part, "%s%s %.2f (%s)", text.empty() ? "" : ", ",
                  policy::name_of(each.quantity, each.statistic).c_str(),
                  policy::limit_ms(each, baseline), policy::to_string(each).c_str());
    text += part;
  }
  return text + " ms";
}

}  // namespace

Result<void> check_slo_arguments(const ProfileArguments& a, const config::Config& config) {
  const bool traces = !a.slo_online.file.empty() || !a.slo_offline.file.empty();
  if (!a.slo && !traces) return {};
  if (!a.slo)
    return wrong("--slo-trace and --slo-offline-trace are of the search that --slo asks for",
                 "slo");
  if (a.slo_online.file.empty())
    return wrong("--slo needs the traffic that objectives are to hold for: --slo-trace FILE",
                 "slo_trace");
  if (config.runtime.slo.objectives.empty())
    return wrong("--slo needs an objective, such as --slo-ttft-p99 +10% or --slo-tbt-p99 50ms",
                 "slo_ttft_p99");
  return {};
}

Result<policy::BudgetFinding> find_budget(const ProfileArguments& a, const config::Config& config,
                                          const gpu::DeviceLimits& limits,
                                          const policy::LatencyModel& latency) {
  const auto& objectives = config.runtime.slo.objectives;
  const auto workload = make_workload(a, limits.max_context.value());
  if (!workload) return workload.error();
  sim::ComparisonOptions options;
  options.run = run_options(config, limits, latency, *workload);
  options.precision = a.slo_precision;
  if (auto fits = sim::check_fits(*workload, options.run); !fits) return fits.error();

  client::Progress bar("slo");
  const auto horizon = static_cast<std::int64_t>(std::ceil(to_seconds(options.run.horizon)));
  options.progress = [&](const sim::Trial& trial, Duration at) {
    const auto done = static_cast<std::int64_t>(to_seconds(at));
    bar.update(std::min(done, horizon), horizon, trial.policy + ", virtual seconds");
    return true;
  };
  options.probed = [&](const sim::Trial& trial, const sim::Measured& measured, bool met) {
    bar.around([&] {
      std::printf("budget %8.3f ms: %s, offline %.0f tokens/s: %s\n", trial.budget_ms,
                  measured_text(objectives, sim::statistics_of(measured)).c_str(),
                  measured.offline_tokens_per_s(), met ? "met" : "missed");
    });
  };
  sim::Comparison comparison(*workload, options);
  policy::BudgetFinding finding;
  finding.baseline = sim::statistics_of(*comparison.baseline());
  bar.around([&] {
    std::printf("online alone:       %s\nobjectives:         %s\n",
                measured_text(objectives, finding.baseline).c_str(),
                limits_text(objectives, finding.baseline).c_str());
  });
  if (auto possible = policy::check_objectives(objectives, &finding.baseline, latency); !possible)
    return possible.error();
  const auto found = comparison.best_hygen(objectives);
  if (!found.met)
    return error(Errc::invalid_value,
                 "no budget meets the objectives on this trace: the least, an iteration of one "
                 "online token, gives " +
                     measured_text(objectives, sim::statistics_of(*found.measured)) +
                     ", allowed are " + limits_text(objectives, finding.baseline),
                 "slo");
  finding.objectives = texts_of(objectives);
  finding.trace = a.slo_online.file.filename().string();
  finding.max_iteration_tokens = options.run.scheduler.max_iteration_tokens.value();
  finding.budget_ms = found.trial.budget_ms;
  return finding;
}

}  // namespace tandem::cli
