// The hash that names a full KV block by its tokens and all tokens before them. Keyed, so that a
// client cannot prepare prompts that collide; 128 bits, so that none do by accident.
#pragma once

#include <cstdint>
#include <span>

#include "core/plan.hpp"
#include "core/units.hpp"
#include "policy/kv_ledger.hpp"

namespace tandem::policy {

/// SipHash with one round per word, three to finish and a 128-bit result, over the words
/// (namespace, parent.low, parent.high, tokens two by two). All inputs have one length, so no
/// length is mixed in. Source: Aumasson and Bernstein, "SipHash: a fast short-input PRF" (2012).
class BlockHasher {
 public:
  explicit BlockHasher(std::uint64_t key);

  [[nodiscard]] BlockHash hash(std::uint64_t cache_namespace, const BlockHash& parent,
                               std::span<const TokenId, kv_block_tokens> tokens) const;

 private:
  std::uint64_t key_low_, key_high_;
};

}  // namespace tandem::policy
