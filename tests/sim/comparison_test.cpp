// Policies side by side: what is searched for meets the objectives, and reports say what was run.
#include "sim/comparison.hpp"

#include <boost/json.hpp>
#include <catch2/catch.hpp>
#include <spdlog/spdlog.h>

#include "sim/report.hpp"
#include "tests/sim/support.hpp"

namespace tandem::sim {
namespace {

using namespace std::chrono_literals;
using policy::Objective;
using policy::Quantity;
using policy::Statistic;

/// Light traffic in bursts, and more offline work than there is time for.
Workload mixed_workload(Duration duration = 20s, std::size_t items = 50) {
  auto online = synthetic_online({.rate = 8,
                                  .cv = 2,
                                  .duration = duration,
                                  .prompt = {Tokens(20), Tokens(100)},
                                  .output = {Tokens(10), Tokens(40)},
                                  .seed = 4});
  return merge(std::move(*online),
               synthetic_offline(items, {Tokens(50), Tokens(200)}, {Tokens(10), Tokens(30)}, 5));
}

ComparisonOptions options_of(const RunOptions& run) {
  ComparisonOptions options;
  options.run = run;
  options.run.horizon = 20s;
  options.run.endless_offline = true;
  options.run.scheduler.max_iteration_tokens = Tokens(256);
  options.run.scheduler.max_sequences = 32;
  options.run.scheduler.kv_blocks = Blocks(600);
  options.interval = 2s;
  return options;
}

/// For longer runs, on a device whose iterations scatter and take 8 ms and 0.1 ms a row.
ComparisonOptions noisy_options(Duration horizon) {
  auto options = options_of(test::small_run());
  options.run.horizon = horizon;
  options.run.faults.noise = 0.05;
  policy::LatencyCoefficients coefficients;
  coefficients.fixed = 8;
  coefficients.row = 0.1;
  options.run.device = make_fitted_device({policy::LatencyForm::context, coefficients});
  return options;
}

SimulationReport report_of(Comparison& comparison, const policy::Objectives& objectives) {
  SimulationReport report;
  report.device = "a <small> device";
  report.model = "tiny";
  report.workload = "generated & mixed";
  report.objectives = objectives;
  report.baseline = statistics_of(*comparison.baseline());
  report.ceiling = comparison.ceiling();
  report.rows.push_back({.trial = {.policy = "online_only"}, .measured = comparison.baseline()});
  const auto found = comparison.best_hygen(objectives);
  report.rows.push_back({found.trial, true, found.met, found.runs, found.measured});
  return report;
}

}  // namespace

TEST_CASE("a profiled device is predicted within its noise") {
  const auto exact = profile_device(*test::small_device(), {}, Tokens(256), 32, 1000, 1);
  CHECK(exact.initial.error().mape < 0.001);
  const auto noisy =
      profile_device(*test::small_device(), {.noise = 0.05}, Tokens(256), 32, 2000, 1);
  CHECK(noisy.initial.error().mape < 0.06);
  CHECK(noisy.initial.error().margin > 0.03);
}

TEST_CASE("the budget that is found meets the objective, and a larger one does not") {
  const auto workload = mixed_workload();
  const auto options = options_of(test::small_run());
  Comparison comparison(workload, options);
  const policy::Objectives objectives{{Quantity::tbt, Statistic::p99, true, 0.3}};
  const auto first = comparison.run({.policy = "online_first"});
  CHECK_FALSE(comparison.met(objectives, *first));
  const auto found = comparison.best_hygen(objectives);
  REQUIRE(found.met);
  CHECK(comparison.met(objectives, *found.measured));
  CHECK(found.measured->offline_tokens_per_s() > 0);
  Trial larger = found.trial;
  larger.budget_ms *= 1 + 2 * options.precision;
  CHECK_FALSE(comparison.met(objectives, *comparison.run(larger)));
  CHECK(found.measured->offline_tokens_per_s() <= comparison.ceiling());
}

TEST_CASE("an absolute objective about TBT cuts online prompts to its own limit, not shorter") {
  const auto workload = mixed_workload();
  Comparison comparison(workload, options_of(test::small_run()));
  const auto ttft = [&](double tbt_ms) {
    const auto trial = hygen_trial(3, {{Quantity::tbt, Statistic::p99, false, tbt_ms}});
    return comparison.run(trial)->ttft.mean;
  };
  // 1000 ms never bind. 3 ms are 100 rows; shorter iterations only delay prompts.
  Trial unbound = hygen_trial(3, {});
  CHECK(ttft(1000) == comparison.run(unbound)->ttft.mean);
  CHECK(ttft(3) < 1.1 * ttft(1000));
  CHECK(ttft(1.4) > 1.1 * ttft(1000));
}

TEST_CASE("the rate that is found meets the objective too, and is kept to") {
  const auto workload = mixed_workload();
  Comparison comparison(workload, options_of(test::small_run()));
  const policy::Objectives objectives{{Quantity::tbt, Statistic::mean, true, 0.3}};
  const auto found = comparison.best_fixed_rate(objectives);
  REQUIRE(found.met);
  CHECK(comparison.met(objectives, *found.measured));
  CHECK(found.measured->offline_tokens_per_s() == Approx(found.trial.rate).epsilon(0.1));
}

TEST_CASE(
    "fast and full mode agree on throughput within 2 %, though in full mode models learn on") {
  spdlog::set_level(spdlog::level::off);
  const auto workload = mixed_workload(180s, 400);
  auto options = noisy_options(180s);
  options.objectives = {{Quantity::tbt, Statistic::p99, true, 0.3}};
  Comparison fast(workload, options);
  options.mode = RunMode::full;
  Comparison full(workload, options);
  const auto within = [](double a, double b) { return std::abs(a - b) <= 0.02 * b; };
  for (const Trial& trial : {hygen_trial(12, {}), hygen_trial(25, {}),
                             Trial{.policy = "hygen", .budget_ms = 20, .controlled = true}}) {
    INFO("budget " << trial.budget_ms << (trial.controlled ? ", adjusted" : ""));
    const auto expected = fast.run(trial);
    const auto measured = full.run(trial);
    REQUIRE_FALSE(full.failure().has_value());
    CHECK(expected->offline_tokens_per_s() > 1000);
    CHECK(within(measured->offline_tokens_per_s(), expected->offline_tokens_per_s()));
    CHECK(within(measured->online_tokens_per_s(), expected->online_tokens_per_s()));
    CHECK(within(measured->total_tokens_per_s(), expected->total_tokens_per_s()));
    CHECK(measured->iterations != expected->iterations);  // the predictor did learn
  }
  spdlog::set_level(spdlog::level::info);
}

TEST_CASE(
    "a budget that is adjusted meets objectives with most of what the best fixed one harvests") {
  const auto workload = mixed_workload(600s, 400);
  auto options = noisy_options(600s);
  const Objective tbt_p99{Quantity::tbt, Statistic::p99, true, 0.3};
  const Objective ttft_p99{Quantity::ttft, Statistic::p99, true, 0.3};
  const Objective tbt_mean{Quantity::tbt, Statistic::mean, true, 0.3};
  options.objectives = GENERATE_COPY(policy::Objectives{tbt_p99}, policy::Objectives{tbt_mean},
                                     policy::Objectives{tbt_p99, ttft_p99});
  INFO(policy::to_string(options.objectives.front()) << ", " << options.objectives.size());
  Comparison comparison(workload, options);
  const auto found = comparison.best_hygen(options.objectives);
  REQUIRE(found.met);
  const auto adjusted = comparison.run({.policy = "hygen", .controlled = true});
  CHECK(comparison.met(options.objectives, *adjusted));
  CHECK(adjusted->offline_tokens_per_s() > 0.6 * found.measured->offline_tokens_per_s());

  auto report = report_of(comparison, options.objectives);
  report.rows = {{.trial = {.policy = "hygen", .controlled = true}, .measured = adjusted}};
  CHECK_THAT(report_table(report), Catch::Contains("adjusted") &&
                                       Catch::Contains("Within the objectives hygen harvests"));
  report.baseline.tbt_ms_mean = report.baseline.tbt_ms_p99 = 1e-3;
  CHECK_THAT(report_table(report), Catch::Contains("Missing 1 of "));
}

TEST_CASE("an objective that nothing meets is said to be missed") {
  const auto workload = mixed_workload();
  Comparison comparison(workload, options_of(test::small_run()));
  const policy::Objectives objectives{{Quantity::ttft, Statistic::mean, true, 1e-6}};
  const auto found = comparison.best_hygen(objectives);
  CHECK_FALSE(found.met);
  REQUIRE(found.measured != nullptr);
  auto report = report_of(comparison, objectives);
  CHECK_THAT(report_table(report), Catch::Contains("No budget meets the objectives"));
}

TEST_CASE("equal trials are run once") {
  const auto workload = mixed_workload();
  auto options = options_of(test::small_run());
  int runs = 0;
  options.progress = [&runs](const Trial&, Duration at) {
    runs += at == Duration{} ? 1 : 0;
    return true;
  };
  Comparison comparison(workload, options);
  const auto once = comparison.run({.policy = "online_first"});
  const auto again = comparison.run({.policy = "online_first"});
  CHECK(once == again);
  CHECK(runs == 1);
}

TEST_CASE("a run that is stopped is not taken for a result") {
  const auto workload = mixed_workload();
  auto options = options_of(test::small_run());
  options.progress = [](const Trial&, Duration) { return false; };
  Comparison comparison(workload, options);
  const auto found = comparison.best_hygen({{Quantity::tbt, Statistic::p99, true, 0.3}});
  CHECK(comparison.stopped());
  CHECK_FALSE(found.met);
}

TEST_CASE("table, JSON and picture tell of the same run") {
  const auto workload = mixed_workload();
  Comparison comparison(workload, options_of(test::small_run()));
  const auto report = report_of(comparison, {{Quantity::tbt, Statistic::p99, true, 0.3}});
  const Measured& hygen = *report.rows[1].measured;

  const std::string table = report_table(report);
  CHECK_THAT(table, Catch::Contains("tbt_p99 at most"));
  CHECK_THAT(table, Catch::Contains(fixed(hygen.offline_tokens_per_s(), 0)));
  CHECK_THAT(table, Catch::Contains("Within the objectives hygen harvests"));

  const auto json = boost::json::parse(report_json(report));
  const auto& policies = json.at("policies").as_array();
  REQUIRE(policies.size() == 2);
  CHECK(policies[1].at("offline_tokens_per_s").as_double() == hygen.offline_tokens_per_s());
  CHECK(policies[1].at("met").as_bool());
  CHECK(policies[1].at("curves").at("arrivals").as_array().size() == 10);

  const std::string svg = report_svg(report);
  CHECK_THAT(svg, Catch::StartsWith("<svg xmlns") && Catch::EndsWith("</svg>\n"));
  CHECK_THAT(svg, Catch::Contains("a &lt;small&gt; device"));
  CHECK_THAT(svg, Catch::Contains("generated &amp; mixed"));
  CHECK(svg.find("nan") == std::string::npos);
  CHECK(svg.find("href") == std::string::npos);
}

TEST_CASE("the tail of a run is its steady state") {
  Measured measured;
  measured.seconds = 35;
  measured.interval_seconds = 10;
  measured.intervals.resize(4);
  for (int i = 0; i < 4; ++i) measured.intervals[static_cast<std::size_t>(i)].offline = 100 * i;
  CHECK(measured.offline_tail_per_s(0.5) == Approx((200 + 300) / 15.0));
}

}  // namespace tandem::sim
