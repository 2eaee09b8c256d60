// See latency_model.hpp.
#include "policy/latency_model.hpp"

#include <algorithm>
#include <cmath>

#include "core/check.hpp"

namespace tandem::policy {
namespace {

double number(std::int64_t count) { return static_cast<double>(count); }

/// The largest x >= 0 with a * x^2 + b * x <= room, where room >= 0. Stable as a goes to 0.
double largest_root(double a, double b, double room) {
  const double divisor = b + std::sqrt(b * b + 4 * a * room);
  return divisor > 0 ? 2 * room / divisor : HUGE_VAL;
}

bool all_valid(const LatencyCoefficients& k) {
  const double values[] = {k.fixed,   k.row,           k.row_above_knee,        k.attention,
                           k.cached,  k.prefill_token, k.prefill_token_squared, k.decode_context,
                           k.prefill, k.decode,        k.decode_context_squared};
  return std::all_of(std::begin(values), std::end(values),
                     [](double value) { return std::isfinite(value) && value >= 0; });
}

}  // namespace

IterationShape IterationShape::of(const Plan& plan) {
  IterationShape shape;
  for (const Slice& slice : plan.slices)
    shape.add(Tokens(slice.context), Tokens(slice.num_tokens), slice.decode);
  return shape;
}

std::string_view to_string(LatencyForm form) {
  return form == LatencyForm::hygen ? "hygen" : "context";
}

LatencyModel::LatencyModel(LatencyForm form, const LatencyCoefficients& coefficients,
                           const LatencyError& error)
    : form_(form), coefficients_(coefficients), error_(error) {
  TANDEM_CHECK(all_valid(coefficients), "costs are finite and at least zero");
}

double LatencyModel::predict_ms(const IterationShape& shape) const {
  const LatencyCoefficients& k = coefficients_;
  const double rows = number(shape.rows());
  if (form_ == LatencyForm::context)
    return k.fixed + k.row * rows + k.row_above_knee * std::max(0.0, rows - number(k.knee)) +
           k.attention * number(shape.attention()) + k.cached * number(shape.context());
  const double prefill = number(shape.prefill_tokens), decode = number(shape.decode_context);
  return k.fixed + (k.prefill_token + k.prefill_token_squared * prefill) * prefill +
         (k.decode_context + k.decode_context_squared * decode) * decode +
         k.prefill * number(shape.prefills) + k.decode * number(shape.decodes);
}

Tokens LatencyModel::tokens_that_fit(const IterationShape& shape, Tokens context, double budget_ms,
                                     Tokens limit) const {
  if (limit <= Tokens(0)) return Tokens(0);
  // The slice adds square * l^2 + linear * l + entry, and `bend` per row above the knee.
  const LatencyCoefficients& k = coefficients_;
  const bool hygen = form_ == LatencyForm::hygen;
  const double square = hygen ? k.prefill_token_squared : k.attention;
  const double linear =
      hygen ? k.prefill_token + 2 * k.prefill_token_squared * number(shape.prefill_tokens)
            : k.row + k.attention * number(context.value());
  const double entry = hygen ? k.prefill : k.cached * number(context.value());
  const double bend = hygen ? 0 : k.row_above_knee;
  double room = budget_ms - predict_ms(shape) - entry;
  if (!(room >= -1e-9 * budget_ms)) return Tokens(0);
  room = std::max(room, 0.0);  // rounding decides nothing here
  const double below = std::max(0.0, number(k.knee - shape.rows()));  // rows until the knee
  double tokens = largest_root(square, linear, room);
  if (bend > 0 && tokens > below) tokens = largest_root(square, linear + bend, room + bend * below);
  const std::int64_t most = limit.value();
  std::int64_t fitting =
      tokens < number(most) ? static_cast<std::int64_t>(std::max(tokens, 0.0)) : most;
  // Rounding may miss by one either way, or by all where tokens cost nothing; predict_ms has the
  // last word.
  const auto within = [&](std::int64_t l) {
    IterationShape with = shape;
    with.add(context, Tokens(l), false);
    return predict_ms(with) <= budget_ms;
  };
  if (fitting < most && within(fitting + 1)) return Tokens(fitting + 1);
  if (fitting == 0 || within(fitting)) return Tokens(fitting);
  return Tokens(within(fitting - 1) ? fitting - 1 : 0);
}

}  // namespace tandem::policy
