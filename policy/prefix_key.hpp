// What the offline order keeps of a prompt: fingerprints of its beginnings, at landmarks. A
// fingerprint is 32 bits of the chained hash of all blocks up to its landmark, so equal
// fingerprints mean equal beginnings. The first 32 blocks (512 tokens) are landmarks each; after
// them, landmarks lie a sixteenth of their depth apart. So common beginnings are known exactly up
// to 512 tokens and to 6 % beyond, and a prompt of 128K tokens takes 508 bytes. Two prompts that
// collide (1 in 4 billion per pair at one place) are taken to be alike: that costs order, never
// correctness, since the KV cache compares 128 bits and the tokens.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/units.hpp"
#include "policy/block_hash.hpp"

namespace tandem::policy {

using PrefixKey = std::vector<std::uint32_t>;

/// Blocks up to landmark `index`, which is below max_landmarks.
Blocks landmark_blocks(std::size_t index);
/// As many as 2^20 blocks (16M tokens) have; what lies beyond is not looked at.
inline constexpr std::size_t max_landmarks = 208;

/// The key of a prompt's full blocks. O(tokens).
PrefixKey make_prefix_key(const BlockHasher& hasher, std::uint64_t cache_namespace,
                          std::span<const TokenId> prompt);

}  // namespace tandem::policy
