// How long an iteration takes, as a function of a few sums over its slices. A LatencyModel is an
// immutable value: the latency predictor fits and publishes it, planners evaluate it by plain
// calls, the simulator may run on it. Two forms, of which the fit chooses (latency_fit.hpp):
//   hygen    HyGen (arXiv 2501.14808) §3: fixed + S_p + S_p^2 + S_d + S_d^2 + N_p + N_d
//   context  ConServe (arXiv 2410.01228): fixed + P + attention + C. Ours takes attention as the
//            sum of l * (l + context) per slice, so that a late chunk of a long prompt costs what
//            it reads, and lets P bend once: below the knee a device waits for its weights.
// All coefficients are at least zero, so a prediction never falls when work is added.
#pragma once

#include <cstdint>
#include <string_view>

#include "core/plan.hpp"
#include "core/units.hpp"

namespace tandem::policy {

/// The sums that an iteration's time depends on. Whole numbers: what was added can be taken back.
struct IterationShape {
  std::int64_t prefill_tokens = 0;   ///< S_p: tokens of slices that are no decodes
  std::int64_t prefills = 0;         ///< N_p: such slices
  std::int64_t decode_context = 0;   ///< S_d: positions that decodes attend to, their own included
  std::int64_t decodes = 0;          ///< N_d: slices of one generated token
  std::int64_t prefill_context = 0;  ///< positions cached before the prefill slices
  std::int64_t prefill_attention = 0;  ///< sum of l * (l + context) of prefill slices of l tokens

  /// One more slice: `tokens` behind `context` cached positions. A decode has one token.
  constexpr void add(Tokens context, Tokens tokens, bool decode) {
    count(context, tokens, decode, 1);
  }
  /// Takes back a slice that was added with the same arguments.
  constexpr void remove(Tokens context, Tokens tokens, bool decode) {
    count(context, tokens, decode, -1);
  }
  static IterationShape of(const Plan& plan);

  [[nodiscard]] constexpr bool empty() const { return prefills == 0 && decodes == 0; }
  /// P: rows of the forward pass.
  [[nodiscard]] constexpr std::int64_t rows() const { return prefill_tokens + decodes; }
  /// C: positions that were cached before, of all slices.
  [[nodiscard]] constexpr std::int64_t context() const {
    return prefill_context + decode_context - decodes;
  }
  /// Sum of l * (l + context) over all slices.
  [[nodiscard]] constexpr std::int64_t attention() const {
    return prefill_attention + decode_context;
  }

  friend bool operator==(const IterationShape&, const IterationShape&) = default;

 private:
  constexpr void count(Tokens context, Tokens tokens, bool decode, std::int64_t times) {
    const std::int64_t l = tokens.value(), before = context.value();
    if (decode) {
      decodes += times;
      decode_context += times * (before + 1);
      return;
    }
    prefills += times;
    prefill_tokens += times * l;
    prefill_context += times * before;
    prefill_attention += times * l * (l + before);
  }
};

enum class LatencyForm : std::uint8_t { hygen, context };
std::string_view to_string(LatencyForm form);

/// Milliseconds per unit of each sum. Those that a form does not have are zero.
struct LatencyCoefficients {
  double fixed = 0;  ///< both forms: launch, sampling, reading the weights once
  // context
  double row = 0;             ///< per row
  double row_above_knee = 0;  ///< more per row above `knee` rows
  double attention = 0;       ///< per l * (l + context)
  double cached = 0;          ///< per cached position
  // hygen
  double prefill_token = 0, prefill_token_squared = 0;
  double decode_context = 0, decode_context_squared = 0;
  double prefill = 0, decode = 0;  ///< per slice
  std::int64_t knee = 0;           ///< rows; of row_above_knee

  friend bool operator==(const LatencyCoefficients&, const LatencyCoefficients&) = default;
};

/// What is known of a model's error, on iterations that were not used to fit it.
struct LatencyError {
  std::uint64_t samples = 0;  ///< 0: nothing is known, planners stay on the safe side
  double mape = 0;            ///< mean |predicted / measured - 1|
  double margin = 0;  ///< measured / predicted - 1 that 19 of 20 iterations stay below; at least 0

  friend bool operator==(const LatencyError&, const LatencyError&) = default;
};

class LatencyModel {
 public:
  /// Predicts 0 and knows no error: nothing was measured.
  LatencyModel() = default;
  /// Coefficients are finite and at least zero.
  LatencyModel(LatencyForm form, const LatencyCoefficients& coefficients,
               const LatencyError& error = {});

  [[nodiscard]] LatencyForm form() const { return form_; }
  [[nodiscard]] const LatencyCoefficients& coefficients() const { return coefficients_; }
  [[nodiscard]] const LatencyError& error() const { return error_; }
  [[nodiscard]] bool error_is_known() const { return error_.samples > 0; }

  /// Milliseconds of an iteration of this shape, its rows not being zero. Under 100 ns.
  [[nodiscard]] double predict_ms(const IterationShape& shape) const;
  /// The same with the margin on top: 19 of 20 iterations take no longer.
  [[nodiscard]] double upper_ms(const IterationShape& shape) const {
    return predict_ms(shape) * (1 + error_.margin);
  }
  /// The largest number of prefill tokens, up to `limit`, that a further slice behind `context`
  /// cached positions may have so that predict_ms stays within `budget_ms`. Closed form: the root
  /// of a quadratic, after ConServe's can_schedule; no search.
  [[nodiscard]] Tokens tokens_that_fit(const IterationShape& shape, Tokens context,
                                       double budget_ms, Tokens limit) const;

  friend bool operator==(const LatencyModel&, const LatencyModel&) = default;

 private:
  LatencyForm form_ = LatencyForm::context;
  LatencyCoefficients coefficients_;
  LatencyError error_;
};

}  // namespace tandem::policy
