// `tandem simulate`: brings device, model and workload together, runs every policy, reports.
// Standard output is the table; progress goes to standard error.
#include "cli/simulate.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <optional>
#include <spdlog/spdlog.h>

#include "cli/client/progress.hpp"
#include "cli/commands.hpp"
#include "cli/profile.hpp"
#include "cli/simulate_workload.hpp"
#include "config/profile_file.hpp"
#include "sim/event_log.hpp"
#include "sim/full_run.hpp"
#include "sim/report.hpp"

namespace tandem::cli {
namespace {

std::atomic<bool> interrupted{false};

Duration to_duration(double seconds) { return Duration(static_cast<Duration::rep>(seconds * 1e9)); }

Error wrong(std::string message, std::string param) {
  return error(Errc::invalid_value, std::move(message), std::move(param));
}

struct Plan {
  sim::Workload workload;
  std::optional<Tokens> max_context;
  sim::ComparisonOptions options;
  sim::SimulationReport report;
};

/// Times as measured; of what, the report says.
Result<void> take_profile(const SimulateArguments& a, Plan& plan) {
  const auto profile = config::read_profile(a.profile);
  if (!profile) return profile.error();
  if (!a.device.empty())
    return wrong("--profile and --device exclude each other: times are measured or computed",
                 "device");
  if (a.kv_tokens == 0)
    return wrong("--profile has times, not memory: --kv-tokens is needed with it", "kv_tokens");
  plan.options.run.device = sim::make_fitted_device(profile->latency);
  plan.report.device = profile->key.device + " as profiled";
  plan.report.model = profile->key.model;
  if (a.model.empty()) return {};
  const auto config = model::load_config(a.model);
  if (!config) return config.error();
  if (const std::string model = model_text(*config); model != profile->key.model)
    return wrong(a.profile.string() + " is of another model: " + profile->key.model + "; " +
                     a.model.string() + " is " + model,
                 "model");
  plan.options.run.vocab_size = config->vocab_size;
  plan.max_context = Tokens(config->max_position);
  return {};
}

Result<void> take_roofline(const SimulateArguments& a, Plan& plan) {
  const auto device = sim::load_device(a.device.empty() ? default_device : a.device);
  if (!device) return device.error();
  const std::filesystem::path folder = a.model.empty() ? default_model : a.model;
  const auto config = model::load_config(folder);
  if (!config) return config.error();
  const sim::ModelShape shape = sim::shape_of(*config);
  auto& run = plan.options.run;
  run.device = sim::make_roofline(*device, shape);
  run.vocab_size = shape.vocab;
  plan.max_context = Tokens(shape.max_context);
  plan.report.device = device->name;
  plan.report.model = folder.filename().string();
  if (a.kv_tokens > 0) return {};
  const auto blocks = sim::kv_blocks(*device, shape);
  if (!blocks) return blocks.error();
  run.scheduler.kv_blocks = *blocks;
  return {};
}

/// The device's times and its room for KV, and the longest request that it serves.
Result<void> take_machine(const SimulateArguments& a, Plan& plan) {
  if (a.kv_tokens > 0) plan.options.run.scheduler.kv_blocks = Blocks(a.kv_tokens / kv_block_tokens);
  if (auto taken = a.profile.empty() ? take_roofline(a, plan) : take_profile(a, plan); !taken)
    return taken;
  const Tokens fits(plan.options.run.scheduler.kv_blocks.value() * kv_block_tokens);
  plan.max_context = std::min(plan.max_context.value_or(fits), fits);
  if (a.max_context > 0) plan.max_context = std::min(*plan.max_context, Tokens(a.max_context));
  return {};
}

Result<void> take_workload(const SimulateArguments& a, Plan& plan) {
  auto traffic = read_traffic(a, *plan.max_context);
  if (!traffic) return traffic.error();
  auto& [online, offline, notes] = *traffic;
  if (plan.options.mode == sim::RunMode::full)
    if (auto checked = sim::check_full(offline); !checked) return checked;
  double seconds = a.duration;
  if (!(seconds > 0)) {
    if (online.requests.empty())
      return wrong("there is no --trace and no --rate: --duration says how long to run",
                   "duration");
    seconds = std::ceil(to_seconds(online.requests.back().arrival) + 1e-3);
  }
  auto& run = plan.options.run;
  run.horizon = a.offline_once && online.requests.empty() ? Duration{} : to_duration(seconds);
  run.endless_offline = !a.offline_once && !offline.requests.empty();
  plan.options.interval = std::max(to_duration(seconds / 120), to_duration(0.5));
  plan.workload = sim::merge(std::move(online), std::move(offline));
  if (plan.workload.requests.empty()) return wrong("the workload is empty", "trace");
  plan.report.workload = plan.workload.name;
  for (const auto& note : notes) std::fprintf(stderr, "tandem: %s\n", note.c_str());
  if (auto checked = sim::check(plan.workload); !checked) return checked;
  return sim::check_fits(plan.workload, run);
}

Result<policy::Objectives> objectives_of(const SimulateArguments& a) {
  policy::Objectives objectives;
  for (const auto quantity : {policy::Quantity::ttft, policy::Quantity::tbt})
    for (const auto statistic :
         {policy::Statistic::mean, policy::Statistic::p50, policy::Statistic::p99}) {
      const std::string name = policy::name_of(quantity, statistic);
      const auto given = a.objectives.find(name);
      if (given == a.objectives.end() || given->second.empty()) continue;
      const auto parsed = policy::parse_objective(quantity, statistic, given->second, name);
      if (!parsed) return parsed.error();
      if (*parsed) objectives.push_back(**parsed);
    }
  if (objectives.empty())
    for (const auto quantity : {policy::Quantity::ttft, policy::Quantity::tbt})
      objectives.push_back({quantity, policy::Statistic::p99, true, 0.1});
  return objectives;
}

Result<policy::OfflineOrderOptions> order_of(const SimulateArguments& a) {
  const auto rule = policy::parse_order_rule(a.offline_order);
  if (!rule) return rule.error();
  return policy::OfflineOrderOptions{.rule = *rule, .utility_ratio = a.offline_utility_ratio};
}

Result<Plan> make_plan(const SimulateArguments& a) {
  for (const auto& name : a.policies)
    if (const auto known = policy::make_planner(name); !known) return known.error();
  Plan plan;
  if (a.mode == "full") plan.options.mode = sim::RunMode::full;
  plan.report.mode = plan.options.mode;
  if (auto taken = take_machine(a, plan); !taken) return taken.error();
  auto& run = plan.options.run;
  run.scheduler.max_iteration_tokens = Tokens(a.max_iteration_tokens);
  run.scheduler.row_quantum = a.row_quantum;
  run.scheduler.max_sequences = a.max_sequences;
  run.scheduler.prefix_cache = !a.no_prefix_cache;
  run.scheduler.hash_key = 1;
  const auto order = order_of(a);
  if (!order) return order.error();
  run.offline_order = *order;
  run.faults = a.faults;
  run.seed = a.seed;
  plan.options.precision = a.precision;
  if (auto taken = take_workload(a, plan); !taken) return taken.error();
  auto objectives = objectives_of(a);
  if (!objectives) return objectives.error();
  plan.report.objectives = std::move(*objectives);
  plan.options.objectives = plan.report.objectives;
  plan.report.kv_blocks = run.scheduler.kv_blocks;
  plan.report.max_iteration_tokens = run.scheduler.max_iteration_tokens;
  plan.report.seed = a.seed;
  return plan;
}

/// What is running, how far it is, and whether Ctrl-C was pressed.
class Watch {
 public:
  explicit Watch(Duration horizon) : horizon_(horizon) {}

  bool operator()(const sim::Trial& trial, Duration at) {
    if (at == Duration{}) ++runs_;
    const auto total = std::max(horizon_, at);
    std::string note = "run " + std::to_string(runs_) + ", " + trial.policy;
    if (trial.budget_ms > 0) note += " " + sim::fixed(trial.budget_ms, 2) + " ms";
    if (trial.rate > 0) note += " " + sim::fixed(trial.rate, 0) + " tokens/s";
    bar_.update(static_cast<std::int64_t>(to_seconds(at)),
                std::max<std::int64_t>(1, static_cast<std::int64_t>(to_seconds(total))),
                note + ", virtual seconds");
    return !interrupted;
  }

 private:
  Duration horizon_;
  int runs_ = 0;
  client::Progress bar_{"simulate"};
};

bool has_class(const sim::Workload& workload, RequestClass request_class) {
  return std::any_of(workload.requests.begin(), workload.requests.end(),
                     [&](const auto& each) { return each.request_class == request_class; });
}

sim::PolicyRow run_policy(const SimulateArguments& a, const std::string& name, bool with_online,
                          sim::Comparison& comparison, const policy::Objectives& objectives) {
  sim::PolicyRow row;
  row.trial.policy = name;
  const bool searched = with_online && ((name == "hygen" && !(a.budget_ms > 0) && !a.control) ||
                                        (name == "fixed_rate" && !(a.offline_rate > 0)));
  if (!searched) {
    if (name == "hygen") row.trial = sim::hygen_trial(a.budget_ms, objectives);
    if (name == "hygen" && a.control)
      row.trial = {.policy = name, .budget_ms = a.budget_ms, .controlled = true};
    if (name == "fixed_rate")
      row.trial.rate = a.offline_rate > 0 ? a.offline_rate : comparison.ceiling();
    row.measured = comparison.run(row.trial);
    return row;
  }
  const auto found =
      name == "hygen" ? comparison.best_hygen(objectives) : comparison.best_fixed_rate(objectives);
  return {found.trial, true, found.met, found.runs, found.measured};
}

Result<void> run_all(const SimulateArguments& a, Plan& plan) {
  Watch watch(plan.options.run.horizon);
  plan.options.progress = std::ref(watch);
  sim::Comparison comparison(plan.workload, plan.options);
  auto& report = plan.report;
  report.model_mape = comparison.model().error().mape;
  const bool with_online = has_class(plan.workload, RequestClass::online);
  const bool with_offline = has_class(plan.workload, RequestClass::offline);
  if (with_online) report.baseline = sim::statistics_of(*comparison.baseline());
  if (!with_online) report.objectives.clear();
  if (with_online && !comparison.stopped()) {
    const auto checked =
        policy::check_objectives(report.objectives, &report.baseline, comparison.model());
    if (!checked) return checked.error();
  }
  if (with_offline && !comparison.stopped()) report.ceiling = comparison.ceiling();
  for (const auto& name : a.policies) {
    if (comparison.stopped()) break;
    auto row = run_policy(a, name, with_online, comparison, report.objectives);
    if (!comparison.stopped()) report.rows.push_back(std::move(row));
  }
  if (comparison.failure()) return *comparison.failure();
  return {};
}

/// Before a run that may take long: whether its results can be written where they are to go.
Result<void> check_outputs(const SimulateArguments& a) {
  for (const auto& [file, flag] :
       {std::pair(a.json, "json"), std::pair(a.svg, "svg"), std::pair(a.log, "log")})
    if (!file.empty() && !std::ofstream(file, std::ios::binary | std::ios::app))
      return wrong(file.string() + ": cannot be written", flag);
  return {};
}

bool write_file(const std::filesystem::path& file, const std::string& text) {
  if (file.empty()) return true;
  std::ofstream out(file, std::ios::binary | std::ios::trunc);
  out << text;
  if (out.flush()) return true;
  print_error(file.string() + ": cannot be written");
  return false;
}

/// Runs the last policy once more, with a log.
bool write_log(const SimulateArguments& a, const Plan& plan) {
  if (a.log.empty() || plan.report.rows.empty()) return true;
  std::ofstream out(a.log, std::ios::binary | std::ios::trunc);
  sim::EventLog log([&out](std::string_view line) { out << line; });
  sim::Comparison comparison(plan.workload, plan.options);
  comparison.run(plan.report.rows.back().trial, {&log});
  if (out.flush() && !comparison.failure()) return true;
  print_error(comparison.failure() ? comparison.failure()->message
                                   : a.log.string() + ": cannot be written");
  return false;
}

}  // namespace

int simulate(const SimulateArguments& arguments) {
  auto plan = make_plan(arguments);
  const auto writable = plan ? check_outputs(arguments) : Result<void>();
  if (!plan || !writable) {
    print_error(plan ? writable.error().message : plan.error().message);
    return exit_usage;
  }
  // Actors log what the faults of a run do to them; the report and --log tell of it.
  spdlog::set_level(spdlog::level::off);
  interrupted = false;
  // Either way out is an orderly one: full mode has a folder to remove.
  const auto interrupt = [](int) { interrupted = true; };
  const auto on_int = std::signal(SIGINT, interrupt), on_term = std::signal(SIGTERM, interrupt);
  const auto ran = run_all(arguments, *plan);
  std::signal(SIGINT, on_int);
  std::signal(SIGTERM, on_term);
  if (!ran) {
    print_error(ran.error().message);
    return exit_usage;
  }
  std::fputs(sim::report_table(plan->report).c_str(), stdout);
  plan->options.progress = nullptr;
  const bool written = write_file(arguments.json, sim::report_json(plan->report)) &&
                       write_file(arguments.svg, sim::report_svg(plan->report)) &&
                       write_log(arguments, *plan);
  if (interrupted) return 130;
  return written ? exit_ok : exit_failed;
}

}  // namespace tandem::cli
