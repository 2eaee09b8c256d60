// See synthetic.hpp. The distributions are written out, since those of the standard library may
// draw differently on another one.
#include "sim/synthetic.hpp"

#include <cmath>
#include <numbers>
#include <random>

#include "core/check.hpp"

namespace tandem::sim {
namespace {

using Random = std::mt19937_64;

/// Even in (0, 1].
double draw(Random& random) { return (static_cast<double>(random() >> 11) + 1) * 0x1.0p-53; }

double draw_normal(Random& random) {
  const double radius = std::sqrt(-2 * std::log(draw(random)));
  return radius * std::cos(2 * std::numbers::pi * draw(random));
}

/// Marsaglia and Tsang, "A simple method for generating gamma variables" (2000); scale 1.
double draw_gamma(Random& random, double shape) {
  if (shape < 1) return draw_gamma(random, shape + 1) * std::pow(draw(random), 1 / shape);
  const double d = shape - 1.0 / 3, c = 1 / std::sqrt(9 * d);
  while (true) {
    const double x = draw_normal(random);
    const double v = std::pow(1 + c * x, 3);
    if (v > 0 && std::log(draw(random)) < x * x / 2 + d - d * v + d * std::log(v)) return d * v;
  }
}

Tokens draw_length(Random& random, LengthRange range) {
  TANDEM_CHECK(Tokens(1) <= range.low && range.low <= range.high, "a range of lengths holds one");
  const auto span = static_cast<std::uint64_t>((range.high - range.low).value()) + 1;
  return range.low + Tokens(static_cast<std::int64_t>(random() % span));
}

std::string text(double value) {
  std::string digits = std::to_string(value);
  digits.erase(digits.find_last_not_of('0') + 1);
  if (digits.back() == '.') digits.pop_back();
  return digits;
}

}  // namespace

Result<Workload> synthetic_online(const SyntheticOptions& options) {
  if (!(options.rate > 0) || options.rate > 1e6)
    return error(Errc::invalid_value, "a rate is over 0 and at most 1000000 requests per second",
                 "rate");
  if (!(options.cv >= 0.01) || options.cv > 100)
    return error(Errc::invalid_value, "a coefficient of variation is from 0.01 to 100", "cv");
  if (options.count == 0 && options.duration <= Duration{})
    return error(Errc::invalid_value, "a generated workload needs a duration or a count", "count");
  Workload workload;
  workload.name = (options.cv == 1 ? "Poisson, " : "Gamma (cv " + text(options.cv) + "), ") +
                  text(options.rate) + " requests/s";
  Random random(options.seed);
  const double shape = 1 / (options.cv * options.cv);
  double at = 0;
  while (options.count == 0 || workload.requests.size() < options.count) {
    at += draw_gamma(random, shape) / (shape * options.rate);
    if (at > 1e9) break;
    WorkloadRequest request;
    request.arrival = Duration(static_cast<Duration::rep>(at * 1e9));
    if (options.duration > Duration{} && request.arrival >= options.duration) break;
    request.prompt_tokens = draw_length(random, options.prompt);
    request.output_tokens = draw_length(random, options.output);
    workload.requests.push_back(std::move(request));
  }
  return workload;
}

Workload synthetic_offline(std::size_t count, LengthRange prompt, LengthRange output,
                           std::uint64_t seed) {
  Workload workload;
  workload.name = std::to_string(count) + " generated items";
  Random random(seed);
  for (std::size_t i = 0; i < count; ++i) {
    WorkloadRequest request;
    request.request_class = RequestClass::offline;
    request.prompt_tokens = draw_length(random, prompt);
    request.output_tokens = draw_length(random, output);
    workload.requests.push_back(std::move(request));
  }
  return workload;
}

}  // namespace tandem::sim
