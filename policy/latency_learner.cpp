// See latency_learner.hpp.
#include "policy/latency_learner.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <utility>

namespace tandem::policy {
namespace {

constexpr std::uint64_t first_refits_every = 16, refit_every = 64;
constexpr std::size_t error_window = 512;
/// Drift: over so many iterations of kinds that are known the median error is beyond this bound,
/// and beyond three times the size that errors had before.
constexpr std::uint64_t drift_window = 64;
constexpr double least_drift = 0.1;

std::uint32_t log2_of(std::int64_t count) {
  return static_cast<std::uint32_t>(std::bit_width(static_cast<std::uint64_t>(count)));
}

std::uint32_t region_of(const IterationShape& shape) {
  return log2_of(shape.prefill_tokens) | log2_of(shape.decodes) << 8 |
         log2_of(shape.context()) / 2 << 16;
}

}  // namespace

void SampleBank::add(const IterationShape& shape, double ms) {
  const std::uint32_t key = region_of(shape);
  if (!regions_.contains(key) && regions_.size() == most_regions)
    regions_.erase(std::min_element(
        regions_.begin(), regions_.end(),
        [](const auto& a, const auto& b) { return a.second.last_at < b.second.last_at; }));
  Region& region = regions_[key];
  const Aged aged{{shape, ms, 1}, ++count_};
  region.last_at = count_;
  if (region.ring.size() < samples_per_region) {
    region.ring.push_back(aged);
    return;
  }
  region.ring[region.next] = aged;
  region.next = (region.next + 1) % samples_per_region;
}

std::vector<LatencySample> SampleBank::samples() const {
  std::vector<Aged> all;
  for (const auto& [key, region] : regions_)
    all.insert(all.end(), region.ring.begin(), region.ring.end());
  // In order of time: folds then mix regions, and equal histories give equal fits.
  std::sort(all.begin(), all.end(), [](const Aged& a, const Aged& b) { return a.at < b.at; });
  std::vector<LatencySample> result;
  result.reserve(all.size());
  for (Aged& aged : all) {
    aged.sample.weight =
        std::max(std::exp2(-static_cast<double>(count_ - aged.at) / half_life), 1.0 / 16);
    result.push_back(aged.sample);
  }
  return result;
}

void SampleBank::rescale_older(std::uint64_t recent, double factor) {
  for (auto& [key, region] : regions_)
    for (Aged& aged : region.ring)
      if (aged.at + recent <= count_) aged.sample.ms *= factor;
}

bool SampleBank::knows(const IterationShape& shape) const {
  const auto region = regions_.find(region_of(shape));
  return region != regions_.end() && region->second.ring.size() >= samples_per_region / 2;
}

std::size_t SampleBank::size() const {
  std::size_t sum = 0;
  for (const auto& [key, region] : regions_) sum += region.ring.size();
  return sum;
}

LatencyLearner::LatencyLearner(const LearnerOptions& options)
    : options_(options), model_(options.initial), refit_at_(first_refits_every) {
  for (const LatencySample& sample : options_.samples) bank_.add(sample.shape, sample.ms);
  options_.samples.clear();
  changed_ = model_.error_is_known();
}

std::optional<double> LatencyLearner::add(const IterationShape& shape, Duration elapsed) {
  const double ms = to_ms(elapsed);
  if (shape.empty() || ms <= 0) return std::nullopt;
  ++samples_;
  sum_ms_ += ms;
  std::optional<double> error;
  if (const double predicted = model_.predict_ms(shape); predicted > 0) {
    error = predicted / ms - 1;
    if (errors_.size() < error_window)
      errors_.push_back(*error);
    else
      errors_[num_errors_ % error_window] = *error;
    ++num_errors_;
  }
  const bool familiar = error && bank_.knows(shape);
  bank_.add(shape, ms);
  if (familiar) watch_for_drift(*error);
  if (samples_ >= refit_at_) refit();
  return error;
}

void LatencyLearner::refit() {
  const auto model = fit_latency(bank_.samples(), options_.form);
  if (options_.initial.error_is_known() && !model.error_is_known()) {
    refit_at_ = samples_ + first_refits_every;
    return;
  }
  // What was predicted while serving says more of the error than cross-validation on a bank that
  // gives rare iterations as much room as common ones.
  LatencyError error = model.error();
  if (num_errors_ >= least_samples_for_error) {
    std::vector<double> ratios;
    for (const double e : errors_) ratios.push_back(1 + e);
    const auto low = ratios.begin() + static_cast<std::ptrdiff_t>(ratios.size() / 20);
    std::nth_element(ratios.begin(), low, ratios.end());
    error = {num_errors_, recent_mape(), std::max(0.0, 1 / std::max(*low, 1e-3) - 1)};
  }
  model_ = LatencyModel(model.form(), model.coefficients(), error);
  refit_at_ = samples_ + (model_.error_is_known() ? refit_every : first_refits_every);
  changed_ = true;
}

/// A device that is slower is so for all kinds of iterations, as far as we know: older samples are
/// scaled, and the model with them at once.
void LatencyLearner::watch_for_drift(double error) {
  if (familiar_errors_.empty()) familiar_since_ = samples_;
  familiar_errors_.push_back(error);
  if (familiar_errors_.size() < drift_window) return;
  auto errors = std::exchange(familiar_errors_, {});
  drift_mape_ = 0;
  for (const double e : errors) drift_mape_ += std::abs(e) / static_cast<double>(errors.size());
  const auto middle = errors.begin() + static_cast<std::ptrdiff_t>(errors.size() / 2);
  std::nth_element(errors.begin(), middle, errors.end());
  drift_bias_ = *middle;
  drifting_ = std::abs(drift_bias_) > std::max(least_drift, 3 * calm_mape_);
  if (!drifting_) {
    calm_mape_ = drift_mape_;
    return;
  }
  bank_.rescale_older(samples_ - familiar_since_ + 1, 1 / (1 + drift_bias_));
  errors_.clear();
  num_errors_ = 0;
  refit();
}

LatencySnapshot LatencyLearner::snapshot() const {
  return {model_, samples_, samples_ > 0 ? sum_ms_ / static_cast<double>(samples_) : 0};
}

bool LatencyLearner::changed() { return std::exchange(changed_, false); }

double LatencyLearner::recent_mape() const {
  double sum = 0;
  for (const double error : errors_) sum += std::abs(error);
  return errors_.empty() ? 0 : sum / static_cast<double>(errors_.size());
}

}  // namespace tandem::policy
