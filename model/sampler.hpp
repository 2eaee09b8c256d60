// From logits to a token. Pure: the draw depends on the logits, the parameters, the tokens so far
// and the position alone, so that a request gives the same tokens whatever shares its iterations.
//
// In this order: repetition penalty (tokens of prompt and output), frequency and presence penalty
// (output), logit bias; then, at temperature 0, the highest logit; else temperature, min_p, top_k,
// top_p (each over what the one before left, renormalised) and a draw. Equal logits: the lower id
// goes first, everywhere. Log-probabilities are those of the model's own logits, before all of it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/plan.hpp"
#include "core/request.hpp"
#include "model/sampling_math.hpp"

namespace tandem::model {

/// What `Sample` reports for a log-probability below it, minus infinity included: JSON has none.
inline constexpr float lowest_logprob = -9999.0F;

/// One sequence's memory for penalties and the random stream; lives in a device's slot.
class SamplerState {
 public:
  SamplerState() = default;
  SamplerState(const SamplingParams& params, std::span<const TokenId> prompt,
               std::span<const TokenId> output);

  /// Draws the next token from `logits` (vocab), which it overwrites, and remembers it.
  /// Random numbers are a function of (seed, number of tokens drawn so far) only.
  /// `slice` of the result is left 0.
  /// A NaN counts as minus infinity; if nothing else is there, the token is 0. Several plus
  /// infinities: the lowest id. Allocates nothing once its thread has seen the vocabulary's size
  /// and the sequence has room for its distinct tokens, but for the reported alternatives.
  Sample sample(std::span<float> logits);

  [[nodiscard]] const SamplingParams& params() const { return params_; }

 private:
  /// A token that penalties apply to.
  struct Seen {
    TokenId token = 0;
    std::uint32_t output_count = 0;
  };

  void remember(TokenId token);
  void apply_penalties(std::span<float> logits) const;

  SamplingParams params_;
  std::uint64_t drawn_ = 0;
  bool penalizes_ = false;
  std::vector<Seen> seen_;  ///< ascending by token; empty unless penalizes_
};

}  // namespace tandem::model
