// From logits to a token. Pure: the draw depends on the logits, the parameters, the tokens so far
// and the position alone, so that a request gives the same tokens whatever shares its iterations.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "core/plan.hpp"
#include "core/request.hpp"

namespace tandem::model {

/// One sequence's memory for penalties and the random stream; lives in a device's slot.
class SamplerState {
 public:
  SamplerState() = default;
  SamplerState(const SamplingParams& params, std::span<const TokenId> prompt,
               std::span<const TokenId> output);

  /// Draws the next token from `logits` (vocab), which it overwrites, and remembers it.
  /// Random numbers are a function of (seed, number of tokens drawn so far) only.
  /// `slice` of the result is left 0.
  Sample sample(std::span<float> logits);

  [[nodiscard]] const SamplingParams& params() const { return params_; }

 private:
  SamplingParams params_;
  std::uint64_t drawn_ = 0;
  std::unordered_map<TokenId, std::uint32_t> output_counts_;
  std::unordered_map<TokenId, bool> in_prompt_;
  std::vector<std::pair<float, TokenId>> candidates_;  ///< scratch, kept to avoid allocation
};

}  // namespace tandem::model
