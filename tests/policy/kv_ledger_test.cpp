// The ledger by itself: what is shared, what is evicted and in which order, and that blocks are
// conserved over random histories.
#include "policy/kv_ledger.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <map>
#include <numeric>
#include <random>
#include <set>

#include "policy/block_hash.hpp"
#include "tests/support/death.hpp"

namespace tandem::policy {
namespace {

using test::last_words;

std::vector<TokenId> tokens_from(TokenId first, std::size_t count) {
  std::vector<TokenId> tokens(count);
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

KvLedger make_ledger(std::int64_t blocks) {
  return KvLedger({.num_blocks = Blocks(blocks), .prefix_cache = true, .hash_key = 7});
}

std::vector<BlockHash> hashes_of(const KvLedger& ledger, std::span<const TokenId> tokens,
                                 std::uint64_t cache_namespace = 0) {
  std::vector<BlockHash> hashes;
  ledger.extend_hashes(cache_namespace, tokens, hashes);
  return hashes;
}

/// Takes blocks for all full blocks of `tokens` and publishes them.
std::vector<BlockId> compute(KvLedger& ledger, std::span<const TokenId> tokens) {
  const auto hashes = hashes_of(ledger, tokens);
  std::vector<BlockId> blocks;
  ledger.take(Blocks(static_cast<std::int64_t>(hashes.size())), blocks);
  for (std::size_t i = 0; i < hashes.size(); ++i)
    ledger.publish(blocks[i], i == 0 ? BlockHash{} : hashes[i - 1], hashes[i],
                   tokens.subspan(i * 16, 16));
  return blocks;
}

Blocks cached(const KvLedger& ledger, std::span<const TokenId> tokens) {
  return ledger.cached_prefix(hashes_of(ledger, tokens), tokens).cached;
}

}  // namespace

TEST_CASE("a new ledger has all blocks free") {
  const KvLedger ledger = make_ledger(5);
  CHECK(ledger.total() == Blocks(5));
  CHECK(ledger.available() == Blocks(5));
  CHECK(ledger.held() == Blocks(0));
  ledger.check();
}

TEST_CASE("taken blocks are distinct, and come back when released") {
  KvLedger ledger = make_ledger(5);
  std::vector<BlockId> blocks;
  ledger.take(Blocks(5), blocks);
  CHECK(std::set<BlockId>(blocks.begin(), blocks.end()).size() == 5);
  CHECK(ledger.available() == Blocks(0));
  CHECK(ledger.held() == Blocks(5));
  ledger.release(blocks);
  CHECK(ledger.available() == Blocks(5));
  ledger.check();
}

TEST_CASE("hashes are of full blocks, and known ones are kept") {
  const KvLedger ledger = make_ledger(1);
  const auto tokens = tokens_from(0, 47);
  auto hashes = hashes_of(ledger, tokens);
  REQUIRE(hashes.size() == 2);
  auto longer = tokens;
  longer.push_back(47);
  std::vector<BlockHash> extended = {BlockHash{1, 2}};
  ledger.extend_hashes(0, longer, extended);
  REQUIRE(extended.size() == 3);
  CHECK(extended[0] == BlockHash{1, 2});
  CHECK(extended[1] != hashes[1]);  // it continues what was known
  ledger.extend_hashes(0, longer, hashes);
  CHECK(hashes.size() == 3);
  CHECK(hashes == hashes_of(ledger, longer));
}

TEST_CASE("a block's hash depends on every token, on what is before it, namespace and key") {
  const KvLedger ledger = make_ledger(1);
  const auto tokens = tokens_from(100, 32);
  const auto hashes = hashes_of(ledger, tokens);
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    auto other = tokens;
    other[i] += 1;
    const auto changed = hashes_of(ledger, other);
    CHECK((changed[0] == hashes[0]) == (i >= 16));
    CHECK(changed[1] != hashes[1]);
  }
  CHECK(hashes_of(ledger, tokens, 1)[0] != hashes[0]);
  const KvLedger other({.num_blocks = Blocks(1), .prefix_cache = true, .hash_key = 8});
  CHECK(hashes_of(other, tokens)[0] != hashes[0]);
}

TEST_CASE("both halves of the hash are well mixed") {
  // Each input bit flips close to half of the 128 output bits; a lane that ignored its input or
  // repeated the other would not.
  const BlockHasher hasher(3);
  std::array<TokenId, 16> tokens{};
  const BlockHash base = hasher.hash(0, {}, tokens);
  int low = 0, high = 0, differing = 0;
  for (std::size_t bit = 0; bit < 512; ++bit) {
    auto other = tokens;
    other[bit / 32] ^= static_cast<TokenId>(1U << (bit % 32));
    const BlockHash hash = hasher.hash(0, {}, other);
    low += std::popcount(hash.low ^ base.low);
    high += std::popcount(hash.high ^ base.high);
    differing += std::popcount(hash.low ^ base.low ^ hash.high ^ base.high);
  }
  for (const int flips : {low, high, differing}) {
    CHECK(flips > 512 * 30);
    CHECK(flips < 512 * 34);
  }
}

TEST_CASE("published blocks are shared while held and after") {
  KvLedger ledger = make_ledger(8);
  const auto tokens = tokens_from(0, 40);
  const auto hashes = hashes_of(ledger, tokens);
  const auto blocks = compute(ledger, tokens);
  CHECK(ledger.cached_prefix(hashes, tokens) == PrefixMatch{Blocks(2), Blocks(0)});
  const auto shared = ledger.share(hashes, tokens, Blocks(2));
  CHECK(shared == blocks);
  CHECK(ledger.references(blocks[0]) == 2);
  ledger.release(blocks);
  CHECK(ledger.held() == Blocks(2));
  ledger.release(shared);
  CHECK(ledger.held() == Blocks(0));
  CHECK(ledger.available() == Blocks(8));
  CHECK(ledger.cached() == Blocks(2));
  CHECK(ledger.cached_prefix(hashes, tokens) == PrefixMatch{Blocks(2), Blocks(2)});
  CHECK(ledger.share(hashes, tokens, Blocks(1)) == std::vector{blocks[0]});
  CHECK(ledger.available() == Blocks(7));
  ledger.check();
}

TEST_CASE("unpublished blocks are not found") {
  KvLedger ledger = make_ledger(8);
  const auto tokens = tokens_from(0, 32);
  std::vector<BlockId> blocks;
  ledger.take(Blocks(2), blocks);
  CHECK(cached(ledger, tokens) == Blocks(0));
  ledger.release(blocks);
  CHECK(cached(ledger, tokens) == Blocks(0));
}

TEST_CASE("a match ends at the first block that is missing") {
  KvLedger ledger = make_ledger(8);
  const auto tokens = tokens_from(0, 48);
  const auto hashes = hashes_of(ledger, tokens);
  std::vector<BlockId> blocks;
  ledger.take(Blocks(3), blocks);
  ledger.publish(blocks[0], {}, hashes[0], std::span(tokens).subspan(0, 16));
  ledger.publish(blocks[2], hashes[1], hashes[2], std::span(tokens).subspan(32, 16));
  CHECK(cached(ledger, tokens) == Blocks(1));
  CHECK(ledger.share(hashes, tokens, Blocks(3)).size() == 1);
}

TEST_CASE("the first block published under a hash stays; a second is left uncached") {
  KvLedger ledger = make_ledger(8);
  const auto tokens = tokens_from(0, 16);
  const auto hashes = hashes_of(ledger, tokens);
  const auto first = compute(ledger, tokens);
  const auto second = compute(ledger, tokens);
  CHECK(ledger.share(hashes, tokens, Blocks(1)) == first);
  CHECK(ledger.cached() == Blocks(1));
  ledger.release(second);  // free at once, not cached
  ledger.release(first);
  ledger.release(first);
  ledger.check();
  CHECK(ledger.cached() == Blocks(1));
}

TEST_CASE("equal hashes with other tokens or another parent are no match") {
  KvLedger ledger = make_ledger(8);
  const auto tokens = tokens_from(0, 16), other = tokens_from(50, 16);
  const std::vector<BlockHash> forged = {{11, 12}};
  std::vector<BlockId> blocks;
  ledger.take(Blocks(2), blocks);
  ledger.publish(blocks[0], {}, forged[0], tokens);
  CHECK(ledger.cached_prefix(forged, tokens).cached == Blocks(1));
  CHECK(ledger.cached_prefix(forged, other).cached == Blocks(0));
  CHECK(ledger.share(forged, other, Blocks(1)).empty());
  CHECK(ledger.references(blocks[0]) == 1);

  const std::vector<BlockHash> chain = {{11, 12}, {21, 22}};
  auto both = tokens;
  both.insert(both.end(), other.begin(), other.end());
  ledger.publish(blocks[1], BlockHash{99, 99}, chain[1], other);
  CHECK(ledger.cached_prefix(chain, both).cached == Blocks(1));
  // Same low half, other high half.
  CHECK(ledger.cached_prefix(std::vector<BlockHash>{{11, 13}}, tokens).cached == Blocks(0));
}

TEST_CASE("free blocks are taken before cached ones are evicted") {
  KvLedger ledger = make_ledger(4);
  const auto tokens = tokens_from(0, 32);
  ledger.release(compute(ledger, tokens));
  std::vector<BlockId> blocks;
  ledger.take(Blocks(2), blocks);
  CHECK(cached(ledger, tokens) == Blocks(2));
  ledger.take(Blocks(1), blocks);
  CHECK(cached(ledger, tokens) == Blocks(1));  // the end of a prefix goes before its start
  ledger.take(Blocks(1), blocks);
  CHECK(cached(ledger, tokens) == Blocks(0));
  ledger.check();
}

TEST_CASE("what has been idle for longest is evicted first, and use renews") {
  KvLedger ledger = make_ledger(3);
  const auto a = tokens_from(100, 16), b = tokens_from(200, 16), c = tokens_from(300, 16);
  ledger.release(compute(ledger, a));
  ledger.release(compute(ledger, b));
  ledger.release(compute(ledger, c));
  ledger.release(ledger.share(hashes_of(ledger, a), a, Blocks(1)));  // now b is the oldest
  std::vector<BlockId> blocks;
  ledger.take(Blocks(1), blocks);
  CHECK(cached(ledger, a) == Blocks(1));
  CHECK(cached(ledger, b) == Blocks(0));
  CHECK(cached(ledger, c) == Blocks(1));
  ledger.take(Blocks(1), blocks);
  CHECK(cached(ledger, a) == Blocks(1));
  CHECK(cached(ledger, c) == Blocks(0));
}

TEST_CASE("held blocks are never evicted") {
  KvLedger ledger = make_ledger(3);
  const auto a = tokens_from(100, 16);
  const auto held = compute(ledger, a);
  std::vector<BlockId> blocks;
  ledger.take(Blocks(2), blocks);
  CHECK(ledger.available() == Blocks(0));
  CHECK(cached(ledger, a) == Blocks(1));
  CHECK(std::find(blocks.begin(), blocks.end(), held[0]) == blocks.end());
}

TEST_CASE("without a prefix cache nothing is hashed, published or found") {
  KvLedger ledger({.num_blocks = Blocks(4), .prefix_cache = false, .hash_key = 7});
  const auto tokens = tokens_from(0, 32);
  CHECK(hashes_of(ledger, tokens).empty());
  std::vector<BlockId> blocks;
  ledger.take(Blocks(1), blocks);
  ledger.publish(blocks[0], {}, BlockHash{1, 2}, std::span(tokens).first(16));
  CHECK(ledger.cached() == Blocks(0));
  ledger.release(blocks);
  ledger.check();
}

TEST_CASE("the sharing version changes exactly when a held block gains or loses a holder") {
  KvLedger ledger = make_ledger(4);
  const auto tokens = tokens_from(0, 16);
  const auto hashes = hashes_of(ledger, tokens);
  const auto version = ledger.sharing_version();
  const auto first = compute(ledger, tokens);
  ledger.release(first);
  ledger.release(ledger.share(hashes, tokens, Blocks(1)));
  CHECK(ledger.sharing_version() == version);
  const auto held = ledger.share(hashes, tokens, Blocks(1));
  const auto again = ledger.share(hashes, tokens, Blocks(1));
  CHECK(ledger.sharing_version() != version);
  const auto shared = ledger.sharing_version();
  ledger.release(again);
  CHECK(ledger.sharing_version() != shared);
  ledger.release(held);
}

TEST_CASE("misuse of the ledger is a bug and is named") {
  const auto tokens = tokens_from(0, 16);
  CHECK_THAT(last_words([] { make_ledger(0); }), Catch::Contains("KV cache has"));
  CHECK_THAT(last_words([] {
               KvLedger ledger = make_ledger(2);
               std::vector<BlockId> blocks;
               ledger.take(Blocks(3), blocks);
             }),
             Catch::Contains("no more blocks are taken than are available"));
  CHECK_THAT(last_words([] {
               KvLedger ledger = make_ledger(2);
               std::vector<BlockId> blocks;
               ledger.take(Blocks(1), blocks);
               ledger.release(blocks);
               ledger.release(blocks);
             }),
             Catch::Contains("only a held block is released"));
  CHECK_THAT(last_words([&] {
               KvLedger ledger = make_ledger(2);
               ledger.publish(BlockId{0}, {}, BlockHash{1, 2}, tokens);
             }),
             Catch::Contains("only a held block is published"));
  CHECK_THAT(last_words([] { make_ledger(2).release(std::vector{BlockId{2}}); }),
             Catch::Contains("below the number of blocks"));
}

namespace {

/// A ledger written for clarity: sets and maps, searched linearly.
class PlainLedger {
 public:
  explicit PlainLedger(std::int64_t total) : total_(total) {}

  void took(BlockId block) {
    const auto idle = std::find(idle_.begin(), idle_.end(), block);
    // Eviction: only when nothing is free, and the one that has been idle for longest.
    if (idle != idle_.end()) {
      REQUIRE(free_count() == 0);
      REQUIRE(idle == idle_.begin());
      idle_.erase(idle);
      names_.erase(block);
    } else {
      REQUIRE(free_count() > 0);
    }
    REQUIRE(references_[block] == 0);
    references_[block] = 1;
  }
  void released(BlockId block) {
    REQUIRE(references_[block] > 0);
    if (--references_[block] == 0 && names_.contains(block)) idle_.push_back(block);
  }
  void shared(BlockId block, const std::vector<TokenId>& name) {
    REQUIRE(names_.at(block) == name);
    if (references_[block]++ == 0) idle_.erase(std::find(idle_.begin(), idle_.end(), block));
  }
  void published(BlockId block, const std::vector<TokenId>& name) {
    if (find(name) == nullptr) names_[block] = name;
  }
  const BlockId* find(const std::vector<TokenId>& name) const {
    for (const auto& [block, known] : names_)
      if (known == name) return &block;
    return nullptr;
  }
  std::int64_t held() const {
    return std::count_if(references_.begin(), references_.end(),
                         [](const auto& entry) { return entry.second > 0; });
  }
  std::int64_t free_count() const {
    return total_ - held() - static_cast<std::int64_t>(idle_.size());
  }

 private:
  std::int64_t total_;
  std::map<BlockId, int> references_;
  std::map<BlockId, std::vector<TokenId>> names_;  ///< all tokens up to the block's end
  std::vector<BlockId> idle_;
};

struct Holder {
  std::vector<TokenId> tokens;
  std::vector<BlockHash> hashes;
  std::vector<BlockId> blocks;
  std::size_t published = 0;
};

std::vector<TokenId> first_tokens(const Holder& holder, std::size_t blocks) {
  return {holder.tokens.begin(), holder.tokens.begin() + static_cast<std::ptrdiff_t>(blocks * 16)};
}

void random_history(std::uint64_t seed) {
  INFO("seed " << seed);
  std::mt19937_64 random(seed);
  const auto below = [&](std::size_t bound) { return random() % bound; };
  const auto total = static_cast<std::int64_t>(1 + below(24));
  KvLedger ledger({.num_blocks = Blocks(total), .prefix_cache = true, .hash_key = seed});
  PlainLedger plain(total);
  std::vector<Holder> holders;
  for (int step = 0; step < 300; ++step) {
    const auto kind = below(10);
    if (kind < 4) {  // somebody comes, shares what there is and takes a few more
      Holder holder;
      const auto family = below(3);
      for (std::size_t b = 0, count = 1 + below(5); b < count; ++b) {
        const auto variant = below(4) == 0 ? below(3) : 0;
        for (TokenId t = 0; t < 16; ++t)
          holder.tokens.push_back(static_cast<TokenId>(family * 1000 + b * 100 + variant * 20) + t);
      }
      ledger.extend_hashes(0, holder.tokens, holder.hashes);
      const PrefixMatch match = ledger.cached_prefix(holder.hashes, holder.tokens);
      std::size_t expected = 0;
      while (expected < holder.hashes.size() && plain.find(first_tokens(holder, expected + 1)))
        ++expected;
      REQUIRE(match.cached == Blocks(static_cast<std::int64_t>(expected)));
      holder.blocks = ledger.share(holder.hashes, holder.tokens, match.cached);
      REQUIRE(holder.blocks.size() == expected);
      for (std::size_t b = 0; b < expected; ++b)
        plain.shared(holder.blocks[b], first_tokens(holder, b + 1));
      holder.published = expected;
      holders.push_back(std::move(holder));
    } else if (kind < 7 && !holders.empty()) {  // somebody grows
      Holder& holder = holders[below(holders.size())];
      if (holder.blocks.size() < holder.hashes.size() && ledger.available() > Blocks(0)) {
        ledger.take(Blocks(1), holder.blocks);
        plain.took(holder.blocks.back());
      }
    } else if (kind < 9 && !holders.empty()) {  // somebody's next block is computed
      Holder& holder = holders[below(holders.size())];
      const std::size_t i = holder.published;
      if (i < holder.blocks.size()) {
        ledger.publish(holder.blocks[i], i == 0 ? BlockHash{} : holder.hashes[i - 1],
                       holder.hashes[i], std::span(holder.tokens).subspan(i * 16, 16));
        plain.published(holder.blocks[i], first_tokens(holder, i + 1));
        ++holder.published;
      }
    } else if (!holders.empty()) {  // somebody leaves
      const auto gone = below(holders.size());
      ledger.release(holders[gone].blocks);
      for (std::size_t b = holders[gone].blocks.size(); b > 0; --b)
        plain.released(holders[gone].blocks[b - 1]);
      holders.erase(holders.begin() + static_cast<std::ptrdiff_t>(gone));
    }
    ledger.check();
    REQUIRE(ledger.held() == Blocks(plain.held()));
    REQUIRE(ledger.available() + ledger.held() == Blocks(total));
  }
  for (const Holder& holder : holders) ledger.release(holder.blocks);
  REQUIRE(ledger.available() == Blocks(total));
  ledger.check();
}

}  // namespace

TEST_CASE("the ledger agrees with a plain one over random histories") {
  for (std::uint64_t seed = 1; seed <= 400; ++seed) random_history(seed);
}

}  // namespace tandem::policy
