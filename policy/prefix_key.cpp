// See prefix_key.hpp.
#include "policy/prefix_key.hpp"

#include <algorithm>
#include <array>

namespace tandem::policy {
namespace {

constexpr std::array<std::int64_t, max_landmarks> landmarks = [] {
  std::array<std::int64_t, max_landmarks> blocks{};
  std::int64_t at = 0;
  for (auto& landmark : blocks) {
    at += std::max<std::int64_t>(1, at / 16);
    landmark = at;
  }
  return blocks;
}();
static_assert(landmarks[31] == 32 && landmarks[32] == 34 && landmarks.back() >= 1 << 20);

}  // namespace

Blocks landmark_blocks(std::size_t index) { return Blocks(landmarks.at(index)); }

PrefixKey make_prefix_key(const BlockHasher& hasher, std::uint64_t cache_namespace,
                          std::span<const TokenId> prompt) {
  const auto full_blocks = static_cast<std::int64_t>(prompt.size()) / kv_block_tokens;
  const auto count = static_cast<std::size_t>(
      std::upper_bound(landmarks.begin(), landmarks.end(), full_blocks) - landmarks.begin());
  PrefixKey key;
  key.reserve(count);
  BlockHash hash{};
  std::int64_t block = 0;
  for (std::size_t i = 0; i < count; ++i) {
    for (; block < landmarks[i]; ++block)
      hash = hasher.hash(cache_namespace, hash,
                         prompt.subspan(static_cast<std::size_t>(block * kv_block_tokens))
                             .first<kv_block_tokens>());
    key.push_back(static_cast<std::uint32_t>(hash.low));
  }
  return key;
}

}  // namespace tandem::policy
