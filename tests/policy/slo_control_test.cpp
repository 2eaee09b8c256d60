// The budget while serving, against plants whose answer to a budget is known.
#include "policy/slo_control.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <numeric>
#include <random>
#include <vector>

#include "tests/policy/objectives.hpp"

namespace tandem::policy {
namespace {

constexpr bool offline_work = true;

Duration from_ms(double ms) { return Duration(static_cast<Duration::rep>(ms * 1e6)); }

void gap(BudgetControl& control, double ms) {
  control.observe({RequestClass::online, false, from_ms(ms)});
}
void first_token(BudgetControl& control, double ms) {
  control.observe({RequestClass::online, true, from_ms(ms)});
}

SloOptions options_for(std::initializer_list<Objective> objectives) {
  SloOptions options;
  options.objectives = objectives;
  options.least_ms = 2;
  options.most_ms = 500;
  return options;
}

/// Iterations whose gaps follow the budget, with noise that all gaps of an iteration share.
struct Gaps {
  std::mt19937_64 random{7};
  std::normal_distribution<double> noise{0, 0.2};
  int per_iteration = 1;
  std::vector<double> felt;

  void run(BudgetControl& control, int iterations) {
    for (int i = 0; i < iterations; ++i) {
      const double ms = 4 + 1.3 * *control.budget_ms() * std::exp(noise(random));
      for (int g = 0; g < per_iteration; ++g) {
        gap(control, ms);
        felt.push_back(ms);
      }
      control.iteration_ended(offline_work);
    }
  }
  [[nodiscard]] double share_above(double ms) const {
    const auto above = std::count_if(felt.begin(), felt.end(), [&](double g) { return g > ms; });
    return static_cast<double>(above) / static_cast<double>(felt.size());
  }
  [[nodiscard]] double mean() const {
    return std::accumulate(felt.begin(), felt.end(), 0.0) / static_cast<double>(felt.size());
  }
};

}  // namespace

TEST_CASE("a p99 is met by little, from wherever control starts and however gaps cluster") {
  auto options = options_for({objective("tbt_p99", "50ms")});
  const double start = GENERATE(0.0, 5.0, 25.0, 200.0);
  if (start > 0) options.budget_ms = start;
  BudgetControl control(options);
  Gaps gaps;
  gaps.per_iteration = GENERATE(1, 16);
  gaps.run(control, 20000);  // the way there
  gaps.felt.clear();
  gaps.run(control, 100000);
  CHECK(gaps.share_above(50) < 0.01);
  CHECK(gaps.share_above(50) > 0.008);
}

TEST_CASE("the whole run meets a p99 where the first budget was found for it, or is a guess") {
  auto options = options_for({objective("tbt_p99", "50ms")});
  if (GENERATE(false, true)) options.budget_ms = 22;  // e^(2.33 * 0.2) * 1.3 * 22 + 4 = 49.6
  BudgetControl control(options);
  Gaps gaps;
  gaps.run(control, 30000);
  CHECK(gaps.share_above(50) < 0.01);
}

TEST_CASE("a median and a mean are met by little") {
  Gaps gaps;
  SECTION("p50") {
    BudgetControl control(options_for({objective("tbt_p50", "50ms")}));
    gaps.run(control, 50000);
    CHECK(gaps.share_above(50) < 0.5);
    CHECK(gaps.share_above(50) > 0.4);
  }
  SECTION("mean") {
    BudgetControl control(options_for({objective("tbt_mean", "50ms")}));
    gaps.run(control, 50000);
    CHECK(gaps.mean() < 50);
    CHECK(gaps.mean() > 46);
  }
}

TEST_CASE("control falls at once after misses, however long there was slack") {
  auto options = options_for({objective("tbt_p99", "50ms")});
  options.most_ms = 80;
  BudgetControl control(options);
  for (int i = 0; i < 100000; ++i) gap(control, 10), control.iteration_ended(offline_work);
  CHECK(*control.budget_ms() == Approx(80));  // its bound: nothing is wound up beyond
  for (int i = 0; i < 100; ++i) gap(control, 100), control.iteration_ended(offline_work);
  CHECK(*control.budget_ms() < 80 * std::exp(-1.4));
}

TEST_CASE("the strictest objective holds, and a short dip of one does not hold the others down") {
  auto options = options_for({objective("tbt_p99", "50ms"), objective("ttft_p99", "400ms")});
  options.budget_ms = 20;
  BudgetControl control(options);
  const auto serve = [&](int iterations, double gap_ms, double ttft_ms) {
    for (int i = 0; i < iterations; ++i) {
      gap(control, gap_ms);
      if (i % 100 == 0) first_token(control, ttft_ms);
      control.iteration_ended(offline_work);
    }
  };
  serve(1000, 10, 1000);  // ten first tokens in a row are late
  const double low = *control.budget_ms();
  CHECK(low < 20 * std::exp(-1));
  serve(10000, 10, 100);  // gaps alone would allow e^2 times as much by now
  CHECK(*control.budget_ms() < 1.5 * low);

  BudgetControl dipped(options);
  const auto tokens = [&](int iterations, double gap_ms) {
    for (int i = 0; i < iterations; ++i) {
      gap(dipped, gap_ms);
      if (i % 100 == 0) first_token(dipped, 100);
      dipped.iteration_ended(offline_work);
    }
  };
  tokens(70, 100);
  CHECK(*dipped.budget_ms() < 20 * std::exp(-1));
  tokens(8000, 10);
  CHECK(*dipped.budget_ms() > 19);
}

TEST_CASE("prompts are cut as far as TBT needs it where offline work has given way already") {
  const auto options = options_for({objective("tbt_p99", "50ms"), objective("ttft_p99", "800ms")});
  // A prompt of 400 ms in pieces: each piece is a gap, and each costs 5 ms more.
  const auto serve = [](BudgetControl& control, int prompts) {
    for (int i = 0; i < prompts; ++i) {
      const double piece = control.budgets().online_iteration_ms.value_or(300);
      const int pieces = static_cast<int>(std::ceil(400 / piece));
      for (int p = 0; p < pieces; ++p) {
        gap(control, piece * 0.9999);
        if (p + 1 == pieces) first_token(control, 400 + 5 * pieces);
        control.iteration_ended(offline_work);
      }
    }
  };
  BudgetControl control(options);
  CHECK_FALSE(control.budgets().online_iteration_ms.has_value());
  gap(control, 100), control.iteration_ended(offline_work);
  CHECK_FALSE(control.budgets().online_iteration_ms.has_value());  // offline work gives way first
  serve(control, 500);
  CHECK(*control.budgets().online_iteration_ms == Approx(50));  // just as short as it must be

  // Where gaps are well anyway, a TTFT that is missed for another reason is given all there is.
  for (int i = 0; i < 200; ++i) {
    gap(control, 20), first_token(control, 900);
    control.iteration_ended(offline_work);
  }
  CHECK_FALSE(control.budgets().online_iteration_ms.has_value());

  // Both missed: between the two.
  auto torn_options = options;
  torn_options.objectives[1] = objective("ttft_p99", "410ms");
  BudgetControl torn(torn_options);
  serve(torn, 2000);
  const auto cut = torn.budgets().online_iteration_ms;
  REQUIRE(cut.has_value());
  CHECK(*cut > 55);

  // Without one about TTFT, or without anything absolute about TBT, nothing is adjusted.
  BudgetControl gaps(options_for({objective("tbt_p99", "50ms")}));
  for (int i = 0; i < 500; ++i) gap(gaps, 200), gaps.iteration_ended(offline_work);
  CHECK(gaps.budgets().online_iteration_ms == 50.0);
  auto relative = options_for({objective("ttft_p99", "50ms"), objective("tbt_p99", "+10%")});
  relative.baseline = LatencyStatistics{.ttft_samples = 1, .tbt_samples = 1, .tbt_ms_p99 = 20};
  BudgetControl whole(relative);
  for (int i = 0; i < 500; ++i) gap(whole, 200), whole.iteration_ended(offline_work);
  CHECK_FALSE(whole.budgets().online_iteration_ms.has_value());
  CHECK_FALSE(BudgetControl(SloOptions{}).budgets().limits_anything());
}

TEST_CASE("control does not rise without offline work, nor move when it is off") {
  auto options = options_for({objective("tbt_p99", "50ms")});
  BudgetControl idle(options);
  gap(idle, 10), idle.iteration_ended(false);
  CHECK(*idle.budget_ms() == Approx(50));
  gap(idle, 100), idle.iteration_ended(false);
  CHECK(*idle.budget_ms() < 50);
  const double low = *idle.budget_ms();
  for (int i = 0; i < 300; ++i) gap(idle, 10), idle.iteration_ended(false);
  CHECK(*idle.budget_ms() == low);
  idle.observe({RequestClass::offline, false, from_ms(1)}), idle.iteration_ended(offline_work);
  CHECK(*idle.budget_ms() == low);  // offline tokens say nothing
  gap(idle, 10), idle.iteration_ended(offline_work);
  CHECK(*idle.budget_ms() > low);

  options.control = false;
  BudgetControl off(options);
  gap(off, 100), off.iteration_ended(offline_work);
  CHECK(*off.budget_ms() == 50);
}

TEST_CASE("misses at the least budget are made up for, and an overload is forgotten in time") {
  const char* name = GENERATE("tbt_p99", "tbt_mean");
  INFO(name);
  BudgetControl control(options_for({objective(name, "50ms")}));
  const auto serve = [&](int iterations, double ms) {
    for (int i = 0; i < iterations; ++i) gap(control, ms), control.iteration_ended(offline_work);
  };
  serve(5000, 100);
  CHECK(*control.budget_ms() == Approx(2));
  serve(500, 10);
  CHECK(*control.budget_ms() == Approx(2));
  serve(20000, 10);
  CHECK(*control.budget_ms() > 3);
}

}  // namespace tandem::policy
