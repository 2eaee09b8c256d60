// Immutable facts that the predictor and the profiler publish and the scheduler reads by plain
// calls.
#pragma once

#include <cstdint>
#include <memory>

#include "core/units.hpp"

namespace tandem::policy {

/// A running estimate of how long iterations take. Later: the fitted models of HyGen and ConServe.
struct LatencySnapshot {
  std::uint64_t samples = 0;  ///< iterations seen
  double fixed_ms = 0;        ///< cost of an iteration that does next to nothing
  double ms_per_token = 0;    ///< of a row in the forward pass
  double mean_iteration_ms = 0;

  [[nodiscard]] double predict_ms(Tokens rows) const {
    return fixed_ms + ms_per_token * static_cast<double>(rows.value());
  }
};
using LatencySnapshotPtr = std::shared_ptr<const LatencySnapshot>;

/// What was observed of the objectives' statistics: online TTFT and TBT (every gap, pooled).
struct BudgetSnapshot {
  std::uint64_t ttft_samples = 0;
  std::uint64_t tbt_samples = 0;
  double ttft_ms_p50 = 0, ttft_ms_p99 = 0;
  double tbt_ms_p50 = 0, tbt_ms_p99 = 0;
};
using BudgetSnapshotPtr = std::shared_ptr<const BudgetSnapshot>;

}  // namespace tandem::policy
