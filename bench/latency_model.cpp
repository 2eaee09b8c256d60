// What the latency model costs: fitting 80,000 samples (both forms, robust, cross-validated; goal
// 50 ms), one prediction (goal 100 ns), one closed-form sizing.
#include "policy/latency_model.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <random>
#include <vector>

#include "policy/latency_fit.hpp"

namespace tandem::policy {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::size_t num_samples = 80000;
constexpr int repeats = 9;

double milliseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

std::vector<LatencySample> make_samples(const LatencyModel& truth) {
  std::mt19937_64 random(1);
  std::normal_distribution<double> normal;
  const auto below = [&](std::int64_t bound) {
    return static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(bound));
  };
  std::vector<LatencySample> samples(num_samples);
  for (auto& sample : samples) {
    for (auto decodes = below(100); decodes >= 0; --decodes)
      sample.shape.add(Tokens(below(4000)), Tokens(1), true);
    if (below(2) == 0) sample.shape.add(Tokens(below(8000)), Tokens(1 + below(1000)), false);
    sample.ms = truth.predict_ms(sample.shape) * (1 + 0.02 * normal(random));
  }
  return samples;
}

template <class Work>
double median_ms(Work work) {
  std::vector<double> times;
  for (int i = 0; i < repeats; ++i) {
    const auto start = Clock::now();
    work();
    times.push_back(milliseconds_since(start));
  }
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

void run() {
  LatencyCoefficients k;
  k.fixed = 7, k.row = 0.004, k.row_above_knee = 0.02, k.knee = 192, k.attention = 2e-6;
  k.cached = 4e-5;
  const LatencyModel truth(LatencyForm::context, k);
  const auto samples = make_samples(truth);
  LatencyModel model;
  std::printf("%zu samples, median of %d\n", samples.size(), repeats);
  const auto row = [](const char* what, double value, const char* unit) {
    std::printf("%-44s %10.2f %s\n", what, value, unit);
  };
  row("fit, form chosen by cross-validation", median_ms([&] { model = fit_latency(samples); }),
      "ms");
  row("fit, hygen", median_ms([&] { (void)fit_latency(samples, LatencyForm::hygen); }), "ms");
  row("fit, context", median_ms([&] { model = fit_latency(samples, LatencyForm::context); }), "ms");
  const auto hygen = fit_latency(samples, LatencyForm::hygen);
  const double per_sample = 1e6 / static_cast<double>(samples.size());
  double sum = 0;
  for (const LatencyModel* one : {static_cast<const LatencyModel*>(&model), &hygen})
    row(one == &model ? "predict, context" : "predict, hygen",
        median_ms([&] {
          for (const auto& sample : samples) sum += one->predict_ms(sample.shape);
        }) * per_sample,
        "ns");
  for (const LatencyModel* one : {static_cast<const LatencyModel*>(&model), &hygen})
    row(one == &model ? "tokens that fit, context" : "tokens that fit, hygen",
        median_ms([&] {
          for (const auto& sample : samples)
            sum += static_cast<double>(
                one->tokens_that_fit(sample.shape, Tokens(100), sample.ms + 5, Tokens(4096))
                    .value());
        }) * per_sample,
        "ns");
  std::printf("cross-validated error of the fit: %.2f %% (the samples' noise is 2 %%)\n",
              100 * model.error().mape);
  if (sum == 0) std::printf("\n");  // keeps what is measured
}

}  // namespace
}  // namespace tandem::policy

int main() { tandem::policy::run(); }
