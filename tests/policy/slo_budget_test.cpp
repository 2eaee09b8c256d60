// Objectives as people write them, what they allow, and the search for a budget.
#include "policy/slo_budget.hpp"

#include <catch2/catch.hpp>
#include <cmath>

#include "tests/policy/objectives.hpp"

namespace tandem::policy {
namespace {

LatencyStatistics measured(double ttft, double tbt) {
  LatencyStatistics statistics;
  statistics.ttft_samples = statistics.tbt_samples = 1000;
  statistics.ttft_ms_mean = statistics.ttft_ms_p50 = statistics.ttft_ms_p99 = ttft;
  statistics.tbt_ms_mean = statistics.tbt_ms_p50 = statistics.tbt_ms_p99 = tbt;
  return statistics;
}

LatencyModel model_of(double fixed_ms, double row_ms) {
  LatencyCoefficients k;
  k.fixed = fixed_ms;
  k.row = row_ms;
  return {LatencyForm::context, k, {1000, 0.01, 0.02}};
}

}  // namespace

TEST_CASE("objectives are absolute or relative, and anything else is named") {
  CHECK(objective("ttft_p99", "250ms") == Objective{Quantity::ttft, Statistic::p99, false, 250});
  CHECK(objective("tbt_mean", "+10%") == Objective{Quantity::tbt, Statistic::mean, true, 0.1});
  CHECK(objective("tbt_mean", "+0%").value == 0);
  CHECK(to_string(objective("tbt_p50", "+12.5%")) == "+12.5%");
  CHECK(to_string(objective("tbt_p50", "0.5ms")) == "0.5ms");
  CHECK_FALSE(parse_objective(Quantity::tbt, Statistic::p99, "none", "x").value().has_value());
  CHECK_FALSE(parse_objective(Quantity::tbt, Statistic::p99, "", "x").value().has_value());
  for (const char* bad : {"250", "ms", "-5ms", "0ms", "+ms", "10%", "+-1%", "+1", "1e3ms", "nanms",
                          "infms", "+nan%", "3600001ms", "+10001%", " 5ms", "5 ms"}) {
    INFO(bad);
    const auto parsed = parse_objective(Quantity::tbt, Statistic::p99, bad, "slo_tbt_p99");
    REQUIRE(parsed.has_error());
    CHECK(parsed.error().param == "slo_tbt_p99");
    CHECK_THAT(parsed.error().message, Catch::Contains(bad) && Catch::Contains("250ms"));
  }
}

TEST_CASE("of several objectives the strictest decides the slack") {
  const auto baseline = measured(100, 20);
  const Objectives both{objective("ttft_p99", "+50%"), objective("tbt_mean", "40ms")};
  CHECK(slack({}, measured(1e9, 1e9), baseline) == 1);
  CHECK(slack(both, measured(75, 30), baseline) == Approx(0.25));
  CHECK(slack(both, measured(120, 20), baseline) == Approx(0.2));
  CHECK(slack(both, measured(300, 20), baseline) == Approx(-1));
  CHECK(slack(both, LatencyStatistics(), baseline) == 1);  // nothing was felt
}

TEST_CASE("what not even one online token meets is refused, and so is a share of nothing") {
  const auto model = model_of(12, 0.1);
  const auto ok = check_objectives({objective("tbt_p99", "13ms")}, nullptr, model);
  CHECK(ok.has_value());
  const auto impossible = check_objectives({objective("tbt_p99", "12ms")}, nullptr, model);
  REQUIRE(impossible.has_error());
  CHECK(impossible.error().param == "slo_tbt_p99");
  CHECK_THAT(impossible.error().message, Catch::Contains("12 ms") && Catch::Contains("12.1 ms"));
  const auto relative = check_objectives({objective("ttft_mean", "+5%")}, nullptr, model);
  REQUIRE(relative.has_error());
  CHECK_THAT(relative.error().message, Catch::Contains("baseline"));
  const auto baseline = measured(100, 20);
  CHECK(check_objectives({objective("ttft_mean", "+5%")}, &baseline, model).has_value());
  CHECK(check_objectives({objective("tbt_p99", "1ms")}, nullptr, LatencyModel()).has_value());
}

TEST_CASE("a budget binds what the objectives are about") {
  const auto tbt = budget_of(30, {objective("tbt_p99", "+10%")});
  CHECK(tbt.iteration_ms == 30.0);
  CHECK_FALSE(tbt.offline_iteration_ms.has_value());
  CHECK_FALSE(tbt.online_iteration_ms.has_value());
  const auto both = budget_of(30, {objective("ttft_mean", "+10%"), objective("tbt_p99", "50ms"),
                                   objective("tbt_mean", "40ms")});
  CHECK(both.offline_iteration_ms == 30.0);
  // A cut prompt has its first token later.
  CHECK_FALSE(both.online_iteration_ms.has_value());
  const auto gaps = budget_of(30, {objective("tbt_p99", "50ms"), objective("tbt_mean", "40ms")});
  CHECK_FALSE(gaps.offline_iteration_ms.has_value());
  CHECK(gaps.online_iteration_ms == 40.0);
}

TEST_CASE("the search finds the largest budget that meets everything, in a few probes") {
  for (const double truth : {1.001, 1.5, 7.0, 33.3, 99.9}) {
    BudgetSearch search(1, 100, 0.02);
    while (const auto budget = search.next()) search.observe(*budget <= truth);
    REQUIRE(search.result().has_value());
    CHECK(*search.result() <= truth);
    CHECK(*search.result() >= truth / 1.021);
    CHECK(search.probes().size() <= 11);
    CHECK(search.probes()[0].budget_ms == 100);
  }
}

TEST_CASE("a search ends at once where all or nothing meets the objectives") {
  BudgetSearch all(1, 100);
  all.observe(true);
  CHECK_FALSE(all.next().has_value());
  CHECK(all.result() == 100.0);
  BudgetSearch nothing(1, 100);
  nothing.observe(false);
  CHECK(nothing.next() == 1.0);
  nothing.observe(false);
  CHECK_FALSE(nothing.next().has_value());
  CHECK_FALSE(nothing.result().has_value());
  const auto range = BudgetSearch::over(model_of(10, 0.1), Tokens(500));
  CHECK(range.next() == Approx(2 * 1.02 * 60));
}

TEST_CASE("service starts from the budget that was found, else from a careful guess") {
  SloOptions options;
  CHECK_FALSE(initial_budget(options).has_value());
  options.objectives = {objective("tbt_p99", "50ms"), objective("ttft_p99", "400ms")};
  CHECK(initial_budget(options) == 50.0);
  options.objectives.push_back(objective("ttft_mean", "100ms"));
  CHECK(initial_budget(options) == 25.0);
  options.budget_ms = 31;
  CHECK(initial_budget(options) == 31.0);
  // Of a relative one, what it may grow by counts.
  options = {.objectives = {objective("ttft_p99", "+10%")}};
  CHECK_FALSE(initial_budget(options).has_value());
  options.baseline = measured(500, 20);
  CHECK(*initial_budget(options) == Approx(25));
}

}  // namespace tandem::policy
