// See latency_estimate.hpp.
#include "policy/latency_estimate.hpp"

#include <algorithm>

namespace tandem::policy {
namespace {
constexpr double forgetting = 0.999;
}

void LatencyEstimate::add(Tokens rows, Duration elapsed) {
  const auto x = static_cast<double>(rows.value());
  const double y = to_ms(elapsed);
  weight_ = weight_ * forgetting + 1;
  x_ = x_ * forgetting + x;
  y_ = y_ * forgetting + y;
  xx_ = xx_ * forgetting + x * x;
  xy_ = xy_ * forgetting + x * y;
  ++samples_;
}

LatencySnapshot LatencyEstimate::snapshot() const {
  LatencySnapshot result{.samples = samples_};
  if (samples_ == 0) return result;
  const double mean_x = x_ / weight_;
  const double mean_y = y_ / weight_;
  const double variance = xx_ / weight_ - mean_x * mean_x;
  const double covariance = xy_ / weight_ - mean_x * mean_y;
  // Both parts of a cost are at least zero: a line that says otherwise goes through the mean
  // instead.
  result.ms_per_token = variance > 1e-9 ? std::max(0.0, covariance / variance) : 0.0;
  result.fixed_ms = mean_y - result.ms_per_token * mean_x;
  if (result.fixed_ms < 0) {
    result.fixed_ms = 0;
    result.ms_per_token = mean_x > 0 ? mean_y / mean_x : 0;
  }
  result.mean_iteration_ms = mean_y;
  return result;
}

}  // namespace tandem::policy
