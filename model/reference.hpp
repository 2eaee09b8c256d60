// The truth: a plain f32 forward pass with contiguous caches, written to be obviously right. Every
// device is tested against it; nothing serves from it.
#pragma once

#include <span>
#include <vector>

#include "core/units.hpp"
#include "model/weights.hpp"

namespace tandem::model {

class Reference {
 public:
  explicit Reference(WeightsPtr weights);

  /// Appends `tokens` to the sequence; returns the logits after each, (tokens.size(), vocab).
  std::vector<float> forward(std::span<const TokenId> tokens);
  /// Forgets the sequence.
  void reset();

 private:
  WeightsPtr weights_;
  std::vector<std::vector<float>> keys_;    ///< per layer, (length, kv_heads*head_dim)
  std::vector<std::vector<float>> values_;  ///< per layer, (length, kv_heads*head_dim)
  std::int64_t length_ = 0;
};

}  // namespace tandem::model
