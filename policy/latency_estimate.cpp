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
  if (samples_ == 0) return {};
  const double mean_x = x_ / weight_;
  const double mean_y = y_ / weight_;
  const double variance = xx_ / weight_ - mean_x * mean_x;
  const double covariance = xy_ / weight_ - mean_x * mean_y;
  // Both parts of a cost are at least zero: a line that says otherwise goes through the mean
  // instead.
  LatencyCoefficients line;
  line.row = variance > 1e-9 ? std::max(0.0, covariance / variance) : 0.0;
  line.fixed = mean_y - line.row * mean_x;
  if (line.fixed < 0) {
    line.fixed = 0;
    line.row = mean_x > 0 ? mean_y / mean_x : 0;
  }
  return {LatencyModel(LatencyForm::context, line), samples_, mean_y};
}

}  // namespace tandem::policy
