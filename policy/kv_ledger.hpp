// Who holds which KV block. Blocks are reference-counted; full blocks of computed tokens are known
// by a hash that chains over all tokens before them, so equal prefixes share them; blocks that
// nobody holds stay findable until they are evicted, least recently used first; but those that
// waiting sequences expect to share are evicted only when nothing else is left.
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

/// The leading blocks of a chain that are in the cache right now.
struct PrefixMatch {
  Blocks cached{0};
  Blocks unheld{0};  ///< of them, those that nobody holds: sharing takes these from available()

  friend bool operator==(const PrefixMatch&, const PrefixMatch&) = default;
};

class KvLedger {
 public:
  explicit KvLedger(const LedgerOptions& options);
  ~KvLedger();
  KvLedger(KvLedger&&) noexcept;

  /// The hashes of the full blocks of `tokens`, continuing `known` (already computed ones are
  /// kept). Without a prefix cache `known` stays as it is.
  void extend_hashes(std::uint64_t cache_namespace, std::span<const TokenId> tokens,
                     std::vector<BlockHash>& known) const;
  /// How many leading blocks of `hashes` are cached with these very tokens.
  [[nodiscard]] PrefixMatch cached_prefix(std::span<const BlockHash> hashes,
                                          std::span<const TokenId> tokens) const;
  /// Takes a reference on each of the first `count` blocks of `hashes` and returns them; stops at
  /// the first that is not cached or holds other tokens, so the result may be shorter.
  std::vector<BlockId> share(std::span<const BlockHash> hashes, std::span<const TokenId> tokens,
                             Blocks count);
  /// Takes `count` fresh blocks, evicting cached ones if need be. Caller has checked available().
  void take(Blocks count, std::vector<BlockId>& into);
  /// Gives references back (a sequence's whole table). Blocks that were published stay cached; the
  /// table's last block becomes the first to be evicted, since it is of use only with those before.
  void release(std::span<const BlockId> blocks);
  /// Declares that `block`, held by the caller, now contains the KV of the full block `hash` (its
  /// report came back); `parent` is the hash of the block before it, {} for the first. If that hash
  /// is cached under another block already, the first one stays and this one is left uncached.
  void publish(BlockId block, const BlockHash& parent, const BlockHash& hash,
               std::span<const TokenId> block_tokens);

  /// Somebody waits who would share the blocks of `hashes`, cached or still to be computed. That
  /// pins nothing: eviction takes them last, and available() counts them as before. Taken back by
  /// forget() with the same hashes, when he starts or leaves.
  void expect(std::span<const BlockHash> hashes);
  void forget(std::span<const BlockHash> hashes);
  /// Somebody runs who will publish the blocks of `hashes`; taken back by withdraw(), one by one as
  /// he does, or all that are left when he stops. Who would share such a block had better wait.
  void announce(std::span<const BlockHash> hashes);
  void withdraw(std::span<const BlockHash> hashes);
  [[nodiscard]] bool is_announced(const BlockHash& hash) const;
  struct Demand {
    std::uint64_t expected = 0, announced = 0;  ///< sums over all hashes
  };
  [[nodiscard]] Demand demand() const;

  [[nodiscard]] Blocks total() const;
  [[nodiscard]] Blocks available() const;  ///< free or evictable
  [[nodiscard]] Blocks held() const;       ///< referenced by somebody
  [[nodiscard]] Blocks cached() const;     ///< findable by hash, held or not
  [[nodiscard]] std::uint32_t references(BlockId block) const;
  /// Changes whenever a block that stays held gained or lost a holder: as long as it does not, a
  /// table's number of blocks with one holder changes only by what was taken for it.
  [[nodiscard]] std::uint64_t sharing_version() const;
  /// Walks everything and aborts on a broken invariant; for tests.
  void check() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tandem::policy
