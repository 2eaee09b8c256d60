// Objectives as people write them, what they allow, the search for a budget and its adjustment.
#include "policy/slo_budget.hpp"

#include <catch2/catch.hpp>
#include <cmath>

namespace tandem::policy {
namespace {

LatencyStatistics measured(double ttft, double tbt) {
  LatencyStatistics statistics;
  statistics.ttft_samples = statistics.tbt_samples = 1000;
  statistics.ttft_ms_mean = statistics.ttft_ms_p50 = statistics.ttft_ms_p99 = ttft;
  statistics.tbt_ms_mean = statistics.tbt_ms_p50 = statistics.tbt_ms_p99 = tbt;
  return statistics;
}

Objective objective(const char* name, const char* text) {
  const std::string key = name;
  const auto quantity = key.starts_with("ttft") ? Quantity::ttft : Quantity::tbt;
  const auto statistic = key.ends_with("mean")  ? Statistic::mean
                         : key.ends_with("p50") ? Statistic::p50
                                                : Statistic::p99;
  return parse_objective(quantity, statistic, text, "slo_" + key).value().value();
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
}

TEST_CASE("control brings a statistic that follows the budget close below its limit") {
  SloOptions options;
  options.objectives = {objective("tbt_p99", "50ms")};
  options.budget_ms = GENERATE(5.0, 50.0, 200.0);
  options.least_ms = 2, options.most_ms = 500;
  BudgetControl control(options);
  for (int i = 0; i < 500; ++i) control.update(measured(0, 4 + 1.3 * *control.budget_ms()), true);
  const double felt = 4 + 1.3 * *control.budget_ms();
  CHECK(felt < 50);
  CHECK(felt > 45);
}

TEST_CASE("control falls at once after a miss, however long there was slack") {
  SloOptions options;
  options.objectives = {objective("tbt_p99", "50ms")};
  options.least_ms = 2, options.most_ms = 80;
  BudgetControl control(options);
  for (int i = 0; i < 1000; ++i) control.update(measured(0, 10), true);
  CHECK(*control.budget_ms() == 80);  // its bound: nothing is wound up beyond
  for (int i = 0; i < 3; ++i) control.update(measured(0, 100), true);
  CHECK(*control.budget_ms() < 80 * std::exp(-1.4));
}

TEST_CASE("prompts are cut as far as TBT needs it and TTFT has room for it") {
  SloOptions options;
  options.objectives = {objective("tbt_p99", "50ms"), objective("ttft_p99", "800ms")};
  options.least_ms = 2, options.most_ms = 300;
  BudgetControl control(options);
  CHECK_FALSE(control.budgets().online_iteration_ms.has_value());
  // A prompt of 400 ms in pieces: each piece is a gap, and each costs 5 ms more.
  const auto feel = [&](BudgetControl& by) {
    const double piece = by.budgets().online_iteration_ms.value_or(300);
    return measured(400 + 400 / piece * 5, piece);
  };
  for (int i = 0; i < 200; ++i) control.update(feel(control), false);
  CHECK(feel(control).tbt_ms_p99 == Approx(50));  // it can be met only just: not shorter than that
  CHECK(feel(control).ttft_ms_p99 < 800);

  // Where gaps are well anyway, a TTFT that is missed for another reason is given all there is.
  for (int i = 0; i < 200; ++i) control.update(measured(900, 20), false);
  CHECK_FALSE(control.budgets().online_iteration_ms.has_value());

  // Both missed: equally far.
  options.objectives = {objective("tbt_p99", "50ms"), objective("ttft_p99", "410ms")};
  BudgetControl torn(options);
  for (int i = 0; i < 400; ++i) torn.update(feel(torn), false);
  const auto felt = feel(torn);
  CHECK(slack({options.objectives[0]}, felt, {}) ==
        Approx(slack({options.objectives[1]}, felt, {})).margin(0.05));

  // Without one about TTFT, or without anything absolute about TBT, nothing is adjusted.
  options.objectives = {objective("tbt_p99", "50ms")};
  BudgetControl gaps(options);
  for (int i = 0; i < 50; ++i) gaps.update(measured(100, 200), false);
  CHECK(gaps.budgets().online_iteration_ms == 50.0);
  options.objectives = {objective("ttft_p99", "50ms"), objective("tbt_p99", "+10%")};
  options.baseline = measured(40, 20);
  BudgetControl relative(options);
  for (int i = 0; i < 50; ++i) relative.update(measured(40, 200), false);
  CHECK_FALSE(relative.budgets().online_iteration_ms.has_value());
  CHECK_FALSE(BudgetControl(SloOptions{}).budgets().limits_anything());
}

TEST_CASE("control does not rise while no offline work runs, nor when it is off") {
  SloOptions options;
  options.objectives = {objective("tbt_p99", "50ms")};
  BudgetControl idle(options);
  CHECK_FALSE(idle.update(measured(0, 10), false));
  CHECK(idle.update(measured(0, 100), false));
  CHECK(*idle.budget_ms() < 50);
  options.control = false;
  BudgetControl off(options);
  CHECK_FALSE(off.update(measured(0, 100), true));
  CHECK(*off.budget_ms() == 50);
}

}  // namespace tandem::policy
