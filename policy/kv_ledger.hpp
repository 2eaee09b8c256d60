// Who holds which KV block. Blocks are reference-counted; full blocks of computed tokens are known
// by a hash that chains over all tokens before them, so equal prefixes share them; blocks that
// nobody holds stay findable until they are evicted, least recently used first.
// Invariant: free + cached-but-unheld + held == total, after every call.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/plan.hpp"
#include "core/units.hpp"

namespace tandem::policy {

/// 128 bits, keyed, over namespace, parent and the block's 16 tokens; tokens are compared on a hit.
struct BlockHash {
  std::uint64_t low = 0, high = 0;
  friend bool operator==(const BlockHash&, const BlockHash&) = default;
};

struct LedgerOptions {
  Blocks num_blocks{0};
  bool prefix_cache = true;
  std::uint64_t hash_key = 0x9e3779b97f4a7c15ULL;  ///< shells draw a random one per process
};

class KvLedger {
 public:
  explicit KvLedger(const LedgerOptions& options);
  ~KvLedger();
  KvLedger(KvLedger&&) noexcept;

  /// The hashes of the full blocks of `tokens`, continuing `known` (already computed ones are
  /// kept).
  void extend_hashes(std::uint64_t cache_namespace, std::span<const TokenId> tokens,
                     std::vector<BlockHash>& known) const;
  /// How many leading blocks of `hashes` are in the cache right now.
  [[nodiscard]] Blocks cached_prefix(std::span<const BlockHash> hashes) const;
  /// Takes a reference on the first `count` cached blocks of `hashes` (they must be cached).
  std::vector<BlockId> share(std::span<const BlockHash> hashes, std::span<const TokenId> tokens,
                             Blocks count);
  /// Takes `count` fresh blocks, evicting cached ones if need be. Caller has checked available().
  void take(Blocks count, std::vector<BlockId>& into);
  /// Gives references back (a sequence's whole table). Blocks that were published stay cached.
  void release(std::span<const BlockId> blocks);
  /// Declares that `block` now holds the KV of the full block `hash` (its report came back).
  void publish(BlockId block, const BlockHash& hash, std::span<const TokenId> block_tokens);

  [[nodiscard]] Blocks total() const;
  [[nodiscard]] Blocks available() const;  ///< free or evictable
  [[nodiscard]] Blocks held() const;       ///< referenced by somebody
  [[nodiscard]] std::uint32_t references(BlockId block) const;
  /// Walks everything and aborts on a broken invariant; for tests.
  void check() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tandem::policy
