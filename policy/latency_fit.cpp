// See latency_fit.hpp. Each sample becomes a row of features divided by its time, and the target 1,
// so that squared errors are relative ones. Rows are summed into normal equations, one set per
// fold: all further steps (both forms, every knee, every fold) are on those few sums.
#include "policy/latency_fit.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "policy/nonnegative_least_squares.hpp"

namespace tandem::policy {
namespace {

constexpr std::size_t folds = 4;
constexpr int reweighting_rounds = 2;
/// Huber's constant: 95 % as efficient as least squares where errors are normal.
constexpr double huber = 1.345;

double number(std::int64_t count) { return static_cast<double>(count); }

/// Features are scaled to about 1 for an iteration of some hundred rows.
struct HygenForm {
  static constexpr LatencyForm form = LatencyForm::hygen;
  static constexpr std::size_t size = 7;
  using Row = std::array<double, size>;

  static Row features(const IterationShape& s) {
    const double prefill = number(s.prefill_tokens) / 256,
                 decode = number(s.decode_context) / 65536;
    return {1,
            prefill,
            prefill * prefill,
            decode,
            decode * decode,
            number(s.prefills) / 8,
            number(s.decodes) / 64};
  }
  static LatencyCoefficients coefficients(const Row& x) {
    LatencyCoefficients k;
    k.fixed = x[0];
    k.prefill_token = x[1] / 256;
    k.prefill_token_squared = x[2] / 65536;
    k.decode_context = x[3] / 65536;
    k.decode_context_squared = x[4] / 65536 / 65536;
    k.prefill = x[5] / 8;
    k.decode = x[6] / 64;
    return k;
  }
  static LatencyCoefficients solve(const NormalEquations<size>& sums) {
    return coefficients(solve_nonnegative(sums, (1U << size) - 1).x);
  }
};

struct ContextForm {
  static constexpr LatencyForm form = LatencyForm::context;
  static constexpr std::array<std::int64_t, 9> knees{8, 16, 32, 64, 128, 192, 256, 512, 1024};
  static constexpr std::size_t size = 4 + knees.size();
  using Row = std::array<double, size>;

  static Row features(const IterationShape& s) {
    const double rows = number(s.rows());
    Row row{1, rows / 256, number(s.attention()) / (1 << 20), number(s.context()) / 65536};
    for (std::size_t i = 0; i < knees.size(); ++i)
      row[4 + i] = std::max(0.0, rows - number(knees[i])) / 256;
    return row;
  }
  /// The knee is the one of least loss; without one if none helps.
  static LatencyCoefficients solve(const NormalEquations<size>& sums) {
    auto best = solve_nonnegative(sums, 0xF);
    std::size_t bend = size;
    for (std::size_t i = 4; i < size; ++i) {
      const auto bent = solve_nonnegative(sums, 0xF | 1U << i);
      if (bent.loss >= best.loss) continue;
      best = bent;
      bend = i;
    }
    LatencyCoefficients k;
    k.fixed = best.x[0];
    k.row = best.x[1] / 256;
    k.attention = best.x[2] / (1 << 20);
    k.cached = best.x[3] / 65536;
    if (bend == size) return k;
    k.row_above_knee = best.x[bend] / 256;
    k.knee = knees[bend - 4];
    return k;
  }
};

bool usable(const LatencySample& sample) {
  return !sample.shape.empty() && sample.ms > 0 && std::isfinite(sample.ms) && sample.weight > 0;
}

/// The scale of relative errors: what the median of their sizes would be for a normal one.
double error_scale(const LatencyModel& model, std::span<const LatencySample> samples) {
  constexpr std::size_t enough = 4096;
  const std::size_t step = std::max<std::size_t>(1, samples.size() / enough);
  std::vector<double> errors;
  errors.reserve(samples.size() / step + 1);
  for (std::size_t i = 0; i < samples.size(); i += step)
    if (usable(samples[i]))
      errors.push_back(std::abs(model.predict_ms(samples[i].shape) / samples[i].ms - 1));
  if (errors.empty()) return 0;
  const auto middle = errors.begin() + static_cast<std::ptrdiff_t>(errors.size() / 2);
  std::nth_element(errors.begin(), middle, errors.end());
  return 1.4826 * *middle;
}

/// One form, fitted in rounds; `weigh_with` is null in the first.
template <class Form>
class FormFit {
 public:
  using Sums = NormalEquations<Form::size>;

  explicit FormFit(std::span<const LatencySample> samples) : samples_(samples) {
    add_all(nullptr);
    model_ = LatencyModel(Form::form, Form::solve(all()));
    for (int round = 0; round < reweighting_rounds; ++round) {
      add_all(&model_);
      model_ = LatencyModel(Form::form, Form::solve(all()));
    }
  }

  /// The model of all samples, with the error that the models of three folds have on the fourth.
  [[nodiscard]] LatencyModel result() const {
    if (samples_.size() < least_samples_for_error) return model_;
    std::vector<double> ratios(samples_.size(), 0.0);
    for (std::size_t fold = 0; fold < folds; ++fold) {
      Sums others = all();
      others.accumulate(sums_[fold], -1);
      const LatencyModel model(Form::form, Form::solve(others));
      for (std::size_t i = fold; i < samples_.size(); i += folds)
        if (usable(samples_[i])) ratios[i] = model.predict_ms(samples_[i].shape) / samples_[i].ms;
    }
    return {Form::form, model_.coefficients(), error_of(ratios)};
  }

  /// Of predicted / measured; zeros are left out.
  static LatencyError error_of(std::vector<double>& ratios) {
    std::erase_if(ratios, [](double ratio) { return !(ratio > 0); });
    if (ratios.size() < least_samples_for_error) return {};
    LatencyError error;
    error.samples = ratios.size();
    for (const double ratio : ratios) error.mape += std::abs(ratio - 1);
    error.mape /= static_cast<double>(ratios.size());
    // Measured / predicted stays below its 95th percentile where this ratio is above its 5th.
    const auto low = ratios.begin() + static_cast<std::ptrdiff_t>(ratios.size() / 20);
    std::nth_element(ratios.begin(), low, ratios.end());
    error.margin = std::max(0.0, 1 / *low - 1);
    return error;
  }

 private:
  void add_all(const LatencyModel* weigh_with) {
    sums_ = {};
    // Below a tenth of a percent nothing is an outlier: such samples are exact.
    const double bound =
        weigh_with ? huber * std::max(error_scale(*weigh_with, samples_), 1e-3) : 0;
    for (std::size_t i = 0; i < samples_.size(); ++i) {
      const LatencySample& sample = samples_[i];
      if (!usable(sample)) continue;
      double weight = sample.weight;
      if (weigh_with) {
        const double error = std::abs(weigh_with->predict_ms(sample.shape) / sample.ms - 1);
        if (error > bound) weight *= bound / error;
      }
      auto row = Form::features(sample.shape);
      const double per_ms = 1 / sample.ms;
      for (double& value : row) value *= per_ms;
      sums_[i % folds].add(row, 1, weight);
    }
  }
  [[nodiscard]] Sums all() const {
    Sums sum = sums_[0];
    for (std::size_t fold = 1; fold < folds; ++fold) sum.accumulate(sums_[fold], 1);
    return sum;
  }

  std::span<const LatencySample> samples_;
  std::array<Sums, folds> sums_{};
  LatencyModel model_;
};

}  // namespace

LatencyModel fit_latency(std::span<const LatencySample> samples, std::optional<LatencyForm> form) {
  if (form == LatencyForm::hygen) return FormFit<HygenForm>(samples).result();
  const LatencyModel context = FormFit<ContextForm>(samples).result();
  if (form) return context;
  const LatencyModel hygen = FormFit<HygenForm>(samples).result();
  return hygen.error().mape < context.error().mape ? hygen : context;
}

LatencyError measure_error(const LatencyModel& model, std::span<const LatencySample> samples) {
  std::vector<double> ratios;
  ratios.reserve(samples.size());
  for (const LatencySample& sample : samples)
    if (usable(sample)) ratios.push_back(model.predict_ms(sample.shape) / sample.ms);
  return FormFit<ContextForm>::error_of(ratios);
}

}  // namespace tandem::policy
