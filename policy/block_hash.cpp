// See block_hash.hpp.
#include "policy/block_hash.hpp"

#include <bit>

namespace tandem::policy {
namespace {

struct SipState {
  std::uint64_t a, b, c, d;

  void round() {
    a += b;
    c += d;
    b = std::rotl(b, 13) ^ a;
    d = std::rotl(d, 16) ^ c;
    a = std::rotl(a, 32);
    c += b;
    a += d;
    b = std::rotl(b, 17) ^ c;
    d = std::rotl(d, 21) ^ a;
    c = std::rotl(c, 32);
  }

  void absorb(std::uint64_t word) {
    d ^= word;
    round();
    a ^= word;
  }

  /// Three rounds, then the four lanes folded into one word.
  std::uint64_t squeeze() {
    for (int i = 0; i < 3; ++i) round();
    return a ^ b ^ c ^ d;
  }
};

/// Spreads a 64-bit key over a second word (a multiply-xorshift finalizer).
std::uint64_t spread(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15ULL;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

std::uint64_t pair(TokenId low, TokenId high) {
  return static_cast<std::uint64_t>(static_cast<std::uint32_t>(low)) |
         static_cast<std::uint64_t>(static_cast<std::uint32_t>(high)) << 32;
}

}  // namespace

BlockHasher::BlockHasher(std::uint64_t key) : key_low_(key), key_high_(spread(key)) {}

BlockHash BlockHasher::hash(std::uint64_t cache_namespace, const BlockHash& parent,
                            std::span<const TokenId, kv_block_tokens> tokens) const {
  SipState state{key_low_ ^ 0x736f6d6570736575ULL, key_high_ ^ 0x646f72616e646f6dULL ^ 0xeeULL,
                 key_low_ ^ 0x6c7967656e657261ULL, key_high_ ^ 0x7465646279746573ULL};
  state.absorb(cache_namespace);
  state.absorb(parent.low);
  state.absorb(parent.high);
  for (std::size_t i = 0; i < tokens.size(); i += 2) state.absorb(pair(tokens[i], tokens[i + 1]));
  state.c ^= 0xee;
  const std::uint64_t low = state.squeeze();
  state.b ^= 0xdd;
  return {low, state.squeeze()};
}

}  // namespace tandem::policy
