// Every policy on the same workload, in the simulator: for each online load, each statistic and
// each tolerance, what hygen and fixed_rate harvest at best within the objective, beside
// online_first and the offline-only ceiling (HyGen, arXiv 2501.14808, §5). Objectives are relative
// to online-only service. docs/benchmarks/simulator.md has the figures and the commands.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "sim/report.hpp"
#include "sim/trace_reader.hpp"
#include "sim/workload_scaling.hpp"

namespace tandem {
namespace {

using namespace sim;

struct Arguments {
  std::string device = "config/devices/h200.yaml", model = "config/models/llama-3.1-8b";
  std::string trace, offline;
  std::vector<double> loads = {1};
  std::vector<double> tolerances = {5, 10, 20, 30, 50};
  double seconds = 3600, noise = 0, precision = 0.05;
  std::int64_t max_iteration_tokens = 2048;
  std::uint32_t max_sequences = 256;
  std::uint64_t seed = 1;
  std::vector<std::int64_t> ceiling_tokens = {512, 1024, 2048, 4096, 8192};
};

Duration to_duration(double seconds) { return Duration(static_cast<Duration::rep>(seconds * 1e9)); }

/// `load` times the trace's rate: below 1 a share of its requests, above 1 the same ones faster.
Result<Workload> at_load(const Workload& trace, double load, std::uint64_t seed) {
  std::vector<std::string> notes;
  Scaling scaling;
  scaling.keep = std::min(load, 1.0);
  scaling.speed = std::max(load, 1.0);
  scaling.seed = seed;
  return scaled(trace, scaling, notes);
}

struct Setting {
  Arguments arguments;
  ComparisonOptions options;
  std::string device;
  double ceiling = 0;
  std::int64_t ceiling_tokens = 0;
};

/// Offline work alone with the chunk size that suits it best.
void find_ceiling(Setting& setting, const Workload& offline) {
  std::vector<std::vector<std::string>> rows = {{"iteration tokens", "offline tokens/s"}};
  for (const std::int64_t tokens : setting.arguments.ceiling_tokens) {
    ComparisonOptions options = setting.options;
    options.run.scheduler.max_iteration_tokens = Tokens(tokens);
    options.run.horizon = std::min(options.run.horizon, to_duration(900));
    Comparison comparison(offline, options);
    const double reached = comparison.ceiling();
    rows.push_back({std::to_string(tokens), fixed(reached, 0)});
    if (reached <= setting.ceiling) continue;
    setting.ceiling = reached;
    setting.ceiling_tokens = tokens;
  }
  std::printf("Offline work alone, steady state\n%s\n", text_table(rows).c_str());
}

struct Named {
  policy::Quantity quantity;
  policy::Statistic statistic;
};
constexpr Named statistics[] = {{policy::Quantity::ttft, policy::Statistic::mean},
                                {policy::Quantity::ttft, policy::Statistic::p99},
                                {policy::Quantity::tbt, policy::Statistic::mean},
                                {policy::Quantity::tbt, policy::Statistic::p99}};

policy::Objective objective_of(const Named& named, double tolerance) {
  return {named.quantity, named.statistic, true, tolerance / 100};
}

class Load {
 public:
  Load(const Setting& setting, const Workload& workload, double load)
      : setting_(setting), load_(load), comparison_(workload, setting.options) {}

  void print() {
    const auto started = std::chrono::steady_clock::now();
    const Measured& alone = *comparison_.baseline();
    const Measured& first = *comparison_.run({.policy = "online_first"});
    const double rate = static_cast<double>(alone.online.requests) / alone.seconds;
    std::printf("== load %.3g: %.2f online requests/s over %.0f s ==\n", load_, rate,
                alone.seconds);
    std::printf(
        "online alone: %.0f tokens/s, device busy %.0f %%; latency model off by %.1f %%\n\n",
        alone.online_tokens_per_s(), 100 * alone.busy_share,
        100 * comparison_.model().error().mape);
    rows_ = {{"objective", "limit", "online_first", "hygen", "budget", "offline/s", "of ceiling",
              "total x", "fixed_rate", "offline/s", "hygen x"}};
    for (const Named& named : statistics)
      for (const double tolerance : setting_.arguments.tolerances)
        add_row(objective_of(named, tolerance), alone, first);
    std::printf("%s\n", text_table(rows_).c_str());
    print_policies(alone);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - started;
    std::fprintf(stderr, "load %.3g took %.0f s\n", load_, took.count());
    std::fflush(stdout);
  }

 private:
  void add_row(const policy::Objective& objective, const Measured& alone, const Measured& first) {
    const auto value = [&](const Measured& m) {
      return policy::statistic_of(statistics_of(m), objective.quantity, objective.statistic);
    };
    const auto hygen = comparison_.best_hygen({objective});
    const auto fixed_rate = comparison_.best_fixed_rate({objective});
    const double online = alone.online_tokens_per_s();
    const auto shown = [&](const Comparison::Found& found) {
      return fixed(value(*found.measured), 2) + (found.met ? "" : " !");
    };
    const bool first_met = comparison_.met({objective}, first);
    const double harvested = hygen.measured->offline_tokens_per_s();
    const double capped = fixed_rate.measured->offline_tokens_per_s();
    rows_.push_back({policy::name_of(objective.quantity, objective.statistic) + " " +
                         policy::to_string(objective),
                     fixed(policy::limit_ms(objective, statistics_of(alone)), 2),
                     fixed(value(first), 2) + (first_met ? "" : " !"), shown(hygen),
                     fixed(hygen.trial.budget_ms, 2), hygen.met ? fixed(harvested, 0) : "-",
                     hygen.met ? fixed(100 * harvested / setting_.ceiling, 1) + " %" : "-",
                     hygen.met ? fixed(hygen.measured->total_tokens_per_s() / online, 2) : "-",
                     shown(fixed_rate), fixed_rate.met ? fixed(capped, 0) : "-",
                     hygen.met && fixed_rate.met ? fixed(harvested / capped, 2) : "-"});
    std::string line;
    for (const std::string& cell : rows_.back()) line += cell + "  ";
    std::fprintf(stderr, "%s\n", line.c_str());
  }

  /// All four statistics at once, at 10 %.
  void print_policies(const Measured& alone) {
    SimulationReport report;
    report.objectives.clear();
    for (const Named& named : statistics) report.objectives.push_back(objective_of(named, 10));
    report.baseline = statistics_of(alone);
    report.ceiling = setting_.ceiling;
    report.device = setting_.device;
    report.model = setting_.arguments.model;
    report.workload = "all four objectives at once, tolerance 10 %";
    report.model_mape = comparison_.model().error().mape;
    report.kv_blocks = setting_.options.run.scheduler.kv_blocks;
    report.max_iteration_tokens = setting_.options.run.scheduler.max_iteration_tokens;
    report.seed = setting_.arguments.seed;
    for (const char* policy : {"online_only", "online_first"})
      report.rows.push_back({.trial = {.policy = policy}, .measured = nullptr});
    for (PolicyRow& row : report.rows) row.measured = comparison_.run(row.trial);
    const auto add = [&](const Comparison::Found& found) {
      report.rows.push_back({found.trial, true, found.met, found.runs, found.measured});
    };
    add(comparison_.best_fixed_rate(report.objectives));
    add(comparison_.best_hygen(report.objectives));
    std::printf("%s\n", report_table(report).c_str());
  }

  const Setting& setting_;
  double load_;
  Comparison comparison_;
  std::vector<std::vector<std::string>> rows_;
};

int fail(const Error& reason) {
  std::fprintf(stderr, "colocate: %s\n", reason.message.c_str());
  return 2;
}

bool has_prefixes(const Workload& workload) {
  return std::any_of(workload.requests.begin(), workload.requests.end(), [](const auto& each) {
    return !each.prompt.empty() || !each.prefix_ids.empty();
  });
}

int run(const Arguments& a) {
  TraceOptions of_offline;
  of_offline.request_class = RequestClass::offline;
  const auto online = read_trace(a.trace, {});
  if (!online) return fail(online.error());
  auto offline = read_trace(a.offline, of_offline);
  if (!offline) return fail(offline.error());
  const auto device = load_device(a.device);
  if (!device) return fail(device.error());
  const auto config = model::load_config(a.model);
  if (!config) return fail(config.error());
  const ModelShape shape = shape_of(*config);
  const auto blocks = kv_blocks(*device, shape);
  if (!blocks) return fail(blocks.error());

  Setting setting;
  setting.arguments = a;
  setting.device = device->name;
  RunOptions& run = setting.options.run;
  run.scheduler.max_iteration_tokens = Tokens(a.max_iteration_tokens);
  run.scheduler.max_sequences = a.max_sequences;
  run.scheduler.kv_blocks = *blocks;
  run.scheduler.hash_key = 1;
  // Traces of lengths alone share no prefix: looking for one would only cost time.
  run.scheduler.prefix_cache = has_prefixes(online->workload) || has_prefixes(offline->workload);
  run.device = make_roofline(*device, shape);
  run.vocab_size = shape.vocab;
  run.horizon = to_duration(a.seconds);
  run.endless_offline = true;
  run.faults.noise = a.noise;
  run.seed = a.seed;
  setting.options.precision = a.precision;
  std::printf("%s, %s, %s + %s; iterations of up to %lld tokens\n", device->name.c_str(),
              a.model.c_str(), online->workload.name.c_str(), offline->workload.name.c_str(),
              static_cast<long long>(a.max_iteration_tokens));
  std::printf("milliseconds; ! marks a missed objective\n\n");
  find_ceiling(setting, offline->workload);
  for (const double load : a.loads) {
    auto scaled_online = at_load(online->workload, load, a.seed);
    if (!scaled_online) return fail(scaled_online.error());
    const Workload workload = merge(std::move(*scaled_online), offline->workload);
    if (const auto fits = check_fits(workload, run); !fits) return fail(fits.error());
    Load(setting, workload, load).print();
  }
  return 0;
}

}  // namespace
}  // namespace tandem

int main(int argc, char** argv) {
  tandem::Arguments a;
  CLI::App app("Every policy on the same workload, in the simulator.");
  app.add_option("--trace", a.trace, "Online traffic")->required();
  app.add_option("--offline", a.offline, "Offline set, endlessly repeated")->required();
  app.add_option("--device", a.device, "Device file")->capture_default_str();
  app.add_option("--model", a.model, "Folder with config.json")->capture_default_str();
  app.add_option("--loads", a.loads, "Times the trace's rate")->delimiter(',');
  app.add_option("--tolerances", a.tolerances, "Percent")->delimiter(',');
  app.add_option("--seconds", a.seconds, "Of traffic")->check(CLI::Range(1.0, 1e6));
  app.add_option("--noise", a.noise, "Sigma of every iteration's time")
      ->check(CLI::Range(0.0, 1.0));
  app.add_option("--precision", a.precision, "Of budgets and rates")->check(CLI::Range(0.001, 1.0));
  app.add_option("--max-iteration-tokens", a.max_iteration_tokens)->check(CLI::Range(16, 1 << 20));
  app.add_option("--max-sequences", a.max_sequences)->check(CLI::Range(1, 1 << 16));
  app.add_option("--seed", a.seed);
  CLI11_PARSE(app, argc, argv);
  return tandem::run(a);
}
