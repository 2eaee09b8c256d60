// Fits latency models to measured iterations: non-negative least squares on relative errors, made
// robust by Huber weights, with errors from cross-validation. The forms stand in latency_model.hpp.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "policy/latency_model.hpp"

namespace tandem::policy {

/// One measured iteration.
struct LatencySample {
  IterationShape shape;
  double ms = 0;      ///< above 0
  double weight = 1;  ///< above 0; how much it counts against others

  friend bool operator==(const LatencySample&, const LatencySample&) = default;
};

/// Fewer samples than this say nothing of a model's error.
inline constexpr std::size_t least_samples_for_error = 32;

/// The model that minimises the weighted sum of Huber losses of relative errors (iteratively
/// reweighted, two rounds), all coefficients being at least zero. Without `form`, the form of the
/// lower cross-validated error. Samples without rows or time are left out; without any, the model
/// that knows nothing. Every fourth sample is one fold: errors are measured on the fold that the
/// coefficients were not fitted to. 80,000 samples take under 50 ms.
LatencyModel fit_latency(std::span<const LatencySample> samples,
                         std::optional<LatencyForm> form = std::nullopt);

/// The error of `model` on `samples`, as if all of them were new to it.
LatencyError measure_error(const LatencyModel& model, std::span<const LatencySample> samples);

}  // namespace tandem::policy
