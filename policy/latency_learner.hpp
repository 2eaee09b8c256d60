// Learns the latency model while serving. Keeps a bounded sample of recent iterations, spread over
// the kinds of iterations that occur, and refits from it; each iteration is predicted before it is
// learned from, and those errors are the model's stated error. A device that has become slower or
// faster everywhere is noticed.
#pragma once

#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

#include "core/units.hpp"
#include "policy/latency_fit.hpp"
#include "policy/latency_model.hpp"
#include "policy/slo_statistics.hpp"
#include "policy/snapshots.hpp"

namespace tandem::policy {

/// The latest iterations of each region, a region being iterations with about as many prefill
/// tokens, decodes and cached positions (powers of two; of four for positions). Bounded: a region
/// has few samples, and the region that was not seen for longest makes way for a new one.
class SampleBank {
 public:
  static constexpr std::size_t samples_per_region = 24;
  static constexpr std::size_t most_regions = 256;

  void add(const IterationShape& shape, double ms);
  /// Weights halve every `half_life` iterations of age, down to a sixteenth: what was not seen
  /// lately counts little where there is something newer to say, but is not forgotten.
  [[nodiscard]] std::vector<LatencySample> samples() const;
  /// Iterations of this kind were seen before.
  [[nodiscard]] bool knows(const IterationShape& shape) const;
  /// Times of all samples but the latest `recent` are multiplied by `factor`.
  void rescale_older(std::uint64_t recent, double factor);
  [[nodiscard]] std::size_t size() const;
  [[nodiscard]] std::size_t num_regions() const { return regions_.size(); }

 private:
  static constexpr double half_life = 512;
  struct Aged {
    LatencySample sample;
    std::uint64_t at = 0;
  };
  struct Region {
    std::vector<Aged> ring;
    std::size_t next = 0;
    std::uint64_t last_at = 0;
  };
  std::unordered_map<std::uint32_t, Region> regions_;
  std::uint64_t count_ = 0;
};

struct LearnerOptions {
  std::optional<LatencyForm> form;     ///< none: the one with the lower error
  LatencyModel initial;                ///< of a profile; kept until a fit's error is known, too
  std::vector<LatencySample> samples;  ///< of that profile: taken in first
};

class LatencyLearner {
 public:
  explicit LatencyLearner(const LearnerOptions& options = {});

  /// Takes in a finished iteration; shapes without rows and times of zero are left out. Returns
  /// predicted / measured - 1 of the model before, if there was one.
  std::optional<double> add(const IterationShape& shape, Duration elapsed);
  [[nodiscard]] LatencySnapshot snapshot() const;
  /// The snapshot's model is another than at the last call of this.
  bool changed();

  /// Set while iterations take persistently longer or shorter than predicted.
  [[nodiscard]] bool drifting() const { return drifting_; }
  /// Of the errors, predicted / measured - 1, that drifting() was last decided on: their median,
  /// and the mean of their sizes.
  [[nodiscard]] double drift_bias() const { return drift_bias_; }
  [[nodiscard]] double drift_mape() const { return drift_mape_; }

 private:
  void refit();
  [[nodiscard]] double recent_mape() const;
  void watch_for_drift(double error);

  LearnerOptions options_;
  SampleBank bank_;
  LatencyModel model_;
  std::vector<double> errors_;  ///< ring of the latest predicted / measured - 1
  std::uint64_t num_errors_ = 0;
  std::uint64_t samples_ = 0;
  std::uint64_t refit_at_ = 0;
  std::vector<double> familiar_errors_;  ///< of kinds of iterations that were seen before, latest
  std::uint64_t familiar_since_ = 0;     ///< value of samples_ at the first of them
  double calm_mape_ = 0;                 ///< of the last such errors without drift
  double drift_bias_ = 0, drift_mape_ = 0;
  double sum_ms_ = 0;
  bool drifting_ = false, changed_ = false;
};

}  // namespace tandem::policy
