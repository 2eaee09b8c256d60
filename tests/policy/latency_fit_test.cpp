// Fitting: known coefficients come back from noisy samples, of either form; outliers do not sway
// it; and the error that it states is the one that new samples show.
#include "policy/latency_fit.hpp"

#include <catch2/catch.hpp>
#include <random>
#include <vector>

#include "policy/nonnegative_least_squares.hpp"

namespace tandem::policy {
namespace {

/// An iteration as a busy service has them: decodes, and up to two chunks of prompts.
IterationShape random_shape(std::mt19937_64& random) {
  const auto below = [&](std::int64_t bound) {
    return static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(bound));
  };
  IterationShape shape;
  for (auto decodes = below(4) == 0 ? 0 : below(200); decodes > 0; --decodes)
    shape.add(Tokens(below(4000)), Tokens(1), true);
  for (auto prefills = shape.empty() ? 1 + below(2) : below(3); prefills > 0; --prefills)
    shape.add(Tokens(below(2) == 0 ? 0 : below(8000)), Tokens(1 + below(1000)), false);
  return shape;
}

std::vector<LatencySample> samples_of(const LatencyModel& truth, std::size_t count, double noise,
                                      std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal;
  std::vector<LatencySample> samples;
  while (samples.size() < count) {
    const auto shape = random_shape(random);
    samples.push_back({shape, truth.predict_ms(shape) * (1 + noise * normal(random))});
  }
  return samples;
}

LatencyModel hygen_truth() {
  LatencyCoefficients k;
  k.fixed = 6, k.prefill_token = 0.02, k.prefill_token_squared = 5e-6, k.decode_context = 3e-5;
  k.decode_context_squared = 1e-12, k.prefill = 0.3, k.decode = 0.02;
  return {LatencyForm::hygen, k};
}

LatencyModel context_truth() {
  LatencyCoefficients k;
  k.fixed = 7, k.row = 0.004, k.row_above_knee = 0.02, k.knee = 192, k.attention = 2e-6;
  k.cached = 4e-5;
  return {LatencyForm::context, k};
}

double mape(const LatencyModel& model, const std::vector<LatencySample>& samples) {
  return measure_error(model, samples).mape;
}

}  // namespace

TEST_CASE("known coefficients come back from samples without noise") {
  const LatencyModel truth = GENERATE(hygen_truth(), context_truth());
  const auto model = fit_latency(samples_of(truth, 4000, 0, 1));
  CHECK(model.form() == truth.form());
  CHECK(mape(model, samples_of(truth, 2000, 0, 2)) < 1e-4);
  CHECK(model.coefficients().fixed == Approx(truth.coefficients().fixed).epsilon(0.01));
  CHECK(model.coefficients().knee == truth.coefficients().knee);
}

TEST_CASE("with known coefficients and 2 % noise, new samples are predicted to 2.5 %") {
  const LatencyModel truth = GENERATE(hygen_truth(), context_truth());
  const auto model = fit_latency(samples_of(truth, 4000, 0.02, 3));
  const auto fresh = samples_of(truth, 4000, 0.02, 4);
  CHECK(mape(model, fresh) <= 0.025);
  CHECK(mape(model, samples_of(truth, 4000, 0, 5)) <= 0.005);  // and the truth behind the noise
  CHECK(model.error().samples == 4000);
  CHECK(model.error().mape == Approx(mape(model, fresh)).epsilon(0.1));
  CHECK(model.error().margin == Approx(1.645 * 0.02).epsilon(0.15));
}

TEST_CASE("one sample in ten being up to thrice as long does not sway the fit") {
  const LatencyModel truth = GENERATE(hygen_truth(), context_truth());
  auto samples = samples_of(truth, 4000, 0.01, 6);
  std::mt19937_64 random(7);
  for (std::size_t i = 0; i < samples.size(); i += 10)
    samples[i].ms *= 1.5 + 1.5 * static_cast<double>(random() >> 11) * 0x1p-53;
  CHECK(mape(fit_latency(samples, truth.form()), samples_of(truth, 2000, 0, 8)) < 0.01);
}

TEST_CASE("the form can be prescribed, and costs are never negative") {
  const auto samples = samples_of(context_truth(), 2000, 0.05, 9);
  CHECK(fit_latency(samples, LatencyForm::hygen).form() == LatencyForm::hygen);
  CHECK(fit_latency(samples, LatencyForm::context).form() == LatencyForm::context);
  // Times that fall with size: the best that non-negative costs can say is a constant.
  std::vector<LatencySample> falling;
  for (int i = 1; i <= 100; ++i) {
    IterationShape shape;
    shape.add(Tokens(0), Tokens(i), false);
    falling.push_back({shape, 200.0 - i});
  }
  for (const auto form : {LatencyForm::hygen, LatencyForm::context}) {
    const auto model = fit_latency(falling, form);
    CHECK(model.predict_ms(falling[0].shape) == Approx(model.predict_ms(falling[99].shape)));
    CHECK(model.predict_ms(falling[50].shape) == Approx(145).epsilon(0.1));
  }
}

TEST_CASE("samples that mean nothing are left out, and none leave a model that knows nothing") {
  CHECK_FALSE(fit_latency({}).error_is_known());
  std::vector<LatencySample> samples(100);
  samples[1].ms = -1, samples[2].ms = HUGE_VAL, samples[3].ms = NAN;
  CHECK(fit_latency(samples) == fit_latency({}));
  const auto few = samples_of(context_truth(), least_samples_for_error - 1, 0.01, 10);
  CHECK_FALSE(fit_latency(few).error_is_known());
}

TEST_CASE("a heavier sample counts for more") {
  IterationShape shape;
  shape.add(Tokens(0), Tokens(10), false);
  std::vector<LatencySample> samples;
  for (int i = 0; i < 50; ++i) {
    samples.push_back({shape, 10, 1});
    samples.push_back({shape, 12, 1000});
  }
  CHECK(fit_latency(samples).predict_ms(shape) == Approx(12).epsilon(0.01));
}

TEST_CASE("least squares over supports finds what a fine grid finds") {
  std::mt19937_64 random(11);
  std::normal_distribution<double> normal;
  for (int round = 0; round < 200; ++round) {
    NormalEquations<2> sums;
    for (int i = 0; i < 20; ++i) {
      const double a = normal(random), b = normal(random);
      sums.add({a, b}, 0.7 * a - 0.3 * b * (round % 2) + 0.2 * normal(random), 1);
    }
    const auto loss = [&](double x, double y) {
      return sums.yy - 2 * (x * sums.xy[0] + y * sums.xy[1]) + x * x * sums.xx[0][0] +
             2 * x * y * sums.xx[0][1] + y * y * sums.xx[1][1];
    };
    const auto best = solve_nonnegative(sums, 3);
    CHECK(loss(best.x[0], best.x[1]) == Approx(best.loss).margin(1e-9));
    for (double x = 0; x < 2; x += 0.1)
      for (double y = 0; y < 2; y += 0.1) REQUIRE(loss(x, y) >= best.loss - 1e-9);
  }
}

}  // namespace tandem::policy
