// Immutable facts that the predictor and the profiler publish and the scheduler reads by plain
// calls.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "core/units.hpp"
#include "policy/latency_model.hpp"

namespace tandem::policy {

/// How long iterations take, as far as is known.
struct LatencySnapshot {
  LatencyModel model;
  std::uint64_t samples = 0;  ///< iterations seen by whoever published it
  double mean_iteration_ms = 0;
};
using LatencySnapshotPtr = std::shared_ptr<const LatencySnapshot>;

/// What online requests felt: TTFT and TBT, the latter over all gaps, pooled. 0 without samples.
struct LatencyStatistics {
  std::uint64_t ttft_samples = 0;
  std::uint64_t tbt_samples = 0;
  double ttft_ms_mean = 0, ttft_ms_p50 = 0, ttft_ms_p99 = 0;
  double tbt_ms_mean = 0, tbt_ms_p50 = 0, tbt_ms_p99 = 0;

  friend bool operator==(const LatencyStatistics&, const LatencyStatistics&) = default;
};

/// What one iteration may take, and what was observed of the objectives' statistics: online TTFT
/// and TBT (every gap, pooled). Limits in milliseconds of predicted time; none: unlimited. They
/// bound what is added to an iteration: an online decode is never left out for one.
struct BudgetSnapshot : LatencyStatistics {
  std::optional<double> iteration_ms;          ///< offline work joins online work up to here
  std::optional<double> offline_iteration_ms;  ///< an iteration without online work
  std::optional<double> online_iteration_ms;   ///< online prompts are cut to keep to it

  /// Something is asked for online requests.
  [[nodiscard]] bool limits_anything() const {
    return iteration_ms || offline_iteration_ms || online_iteration_ms;
  }
};
using BudgetSnapshotPtr = std::shared_ptr<const BudgetSnapshot>;

}  // namespace tandem::policy
