// The ledger's book: an array of blocks, a stack of free ones, a list of cached blocks that nobody
// holds in the order in which they fell idle, and an open-addressing table from hash to block. All
// sizes are fixed at construction; every call is O(1) per block it names.
//
// A block is in exactly one of three states:
//   free    no references, not published     in the stack
//   idle    no references, published         in one idle list and the hash table
//   held    references > 0                   in the hash table if published
#include "policy/kv_ledger.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <limits>

#include "core/check.hpp"
#include "policy/block_demand.hpp"
#include "policy/block_hash.hpp"

namespace tandem::policy {
namespace {

constexpr std::size_t block_tokens = kv_block_tokens;
constexpr std::uint32_t none = std::numeric_limits<std::uint32_t>::max();

/// What is looked at on every call, kept small.
struct Node {
  std::uint32_t references = 0;
  bool published = false;
  bool awaited = false;                        ///< idle: in which list
  std::uint32_t previous = none, next = none;  ///< in an idle list
};

/// Idle blocks, the first idle for longest.
struct IdleList {
  std::uint32_t first = none, last = none;
  std::size_t count = 0;
};

/// What a published block contains; read on a hit.
struct Content {
  BlockHash hash, parent;
  std::array<TokenId, block_tokens> tokens{};

  [[nodiscard]] bool holds(const BlockHash& expected_parent,
                           std::span<const TokenId> expected) const {
    return parent == expected_parent && std::equal(tokens.begin(), tokens.end(), expected.begin());
  }
};

/// hash -> block by linear probing, at most half full; removal shifts the followers back, so there
/// are no tombstones. The hashes are keyed and mixed already: their low bits choose the cell.
class HashTable {
 public:
  explicit HashTable(std::size_t num_blocks)
      : cells_(std::bit_ceil(std::max<std::size_t>(2 * num_blocks, 2)), Cell{0, none}) {}

  [[nodiscard]] std::uint32_t find(const BlockHash& hash,
                                   const std::vector<Content>& contents) const {
    for (std::size_t i = home(hash.low);; i = next(i)) {
      const Cell& cell = cells_[i];
      if (cell.block == none) return none;
      if (cell.low == hash.low && contents[cell.block].hash == hash) return cell.block;
    }
  }

  void insert(const BlockHash& hash, std::uint32_t block) {
    std::size_t i = home(hash.low);
    while (cells_[i].block != none) i = next(i);
    cells_[i] = {hash.low, block};
    ++size_;
  }

  void erase(const BlockHash& hash, std::uint32_t block) {
    std::size_t hole = home(hash.low);
    while (cells_[hole].block != block) {
      TANDEM_CHECK(cells_[hole].block != none, "a published block is in the hash table");
      hole = next(hole);
    }
    for (std::size_t i = next(hole); cells_[i].block != none; i = next(i)) {
      // The cell may move into the hole if its probe sequence started at or before the hole.
      const std::size_t probed = (i - home(cells_[i].low)) & (cells_.size() - 1);
      const std::size_t distance = (i - hole) & (cells_.size() - 1);
      if (probed < distance) continue;
      cells_[hole] = cells_[i];
      hole = i;
    }
    cells_[hole].block = none;
    --size_;
  }

  [[nodiscard]] std::size_t size() const { return size_; }

 private:
  struct Cell {
    std::uint64_t low;
    std::uint32_t block;
  };
  [[nodiscard]] std::size_t home(std::uint64_t low) const { return low & (cells_.size() - 1); }
  [[nodiscard]] std::size_t next(std::size_t i) const { return (i + 1) & (cells_.size() - 1); }

  std::vector<Cell> cells_;
  std::size_t size_ = 0;
};

std::size_t checked_block_count(Blocks blocks) {
  TANDEM_CHECK(blocks.value() > 0 && blocks.value() < static_cast<std::int64_t>(none),
               "the KV cache has between 1 and 2^32 - 2 blocks");
  return static_cast<std::size_t>(blocks.value());
}

Blocks to_blocks(std::size_t count) { return Blocks(static_cast<std::int64_t>(count)); }

}  // namespace

struct KvLedger::State {
  explicit State(const LedgerOptions& options)
      : prefix_cache(options.prefix_cache),
        hasher(options.hash_key),
        nodes(checked_block_count(options.num_blocks)),
        contents(options.prefix_cache ? nodes.size() : 0),
        table(contents.size()) {
    free.reserve(nodes.size());
    for (std::size_t i = nodes.size(); i > 0; --i)
      free.push_back(static_cast<std::uint32_t>(i - 1));
  }

  bool prefix_cache;
  BlockHasher hasher;
  std::vector<Node> nodes;
  std::vector<Content> contents;  ///< parallel to nodes; empty without a prefix cache
  HashTable table;
  std::vector<std::uint32_t> free;  ///< taken from the back
  IdleList plain, awaited;          ///< evicted in this order
  BlockDemand demand;
  std::uint64_t sharing_version = 0;

  Node& node(BlockId block) {
    TANDEM_CHECK(raw(block) < nodes.size(), "a block id is below the number of blocks");
    return nodes[raw(block)];
  }

  IdleList& list_of(const Node& node) { return node.awaited ? awaited : plain; }
  [[nodiscard]] std::size_t idle() const { return plain.count + awaited.count; }

  void append_idle(std::uint32_t index) {
    Node& node = nodes[index];
    node.awaited = demand.is_expected(contents[index].hash);
    IdleList& list = list_of(node);
    node.previous = list.last;
    node.next = none;
    (list.last == none ? list.first : nodes[list.last].next) = index;
    list.last = index;
    ++list.count;
  }

  void remove_idle(std::uint32_t index) {
    Node& node = nodes[index];
    IdleList& list = list_of(node);
    (node.previous == none ? list.first : nodes[node.previous].next) = node.next;
    (node.next == none ? list.last : nodes[node.next].previous) = node.previous;
    --list.count;
  }

  /// An idle block becomes the last of the list in which it belongs now.
  void append_anew(const BlockHash& hash) {
    const std::uint32_t index = table.find(hash, contents);
    if (index == none || nodes[index].references > 0) return;
    remove_idle(index);
    append_idle(index);
  }

  std::uint32_t take_one() {
    if (!free.empty()) {
      const std::uint32_t index = free.back();
      free.pop_back();
      return index;
    }
    const std::uint32_t index = plain.count > 0 ? plain.first : awaited.first;
    TANDEM_CHECK(index != none, "no more blocks are taken than are available");
    remove_idle(index);
    table.erase(contents[index].hash, index);
    nodes[index].published = false;
    return index;
  }

  /// The cached block number `i` of the chain, or `none`.
  [[nodiscard]] std::uint32_t find(std::span<const BlockHash> hashes,
                                   std::span<const TokenId> tokens, std::size_t i) const {
    const std::uint32_t index = table.find(hashes[i], contents);
    if (index == none) return none;
    const BlockHash parent = i == 0 ? BlockHash{} : hashes[i - 1];
    const auto expected = tokens.subspan(i * block_tokens, block_tokens);
    return contents[index].holds(parent, expected) ? index : none;
  }

  void check_lists() const;
  void check_idle(const IdleList& list, bool is_awaited, std::vector<char>& seen) const;
};

KvLedger::KvLedger(const LedgerOptions& options) : state_(std::make_unique<State>(options)) {}
KvLedger::~KvLedger() = default;
KvLedger::KvLedger(KvLedger&&) noexcept = default;

void KvLedger::extend_hashes(std::uint64_t cache_namespace, std::span<const TokenId> tokens,
                             std::vector<BlockHash>& known) const {
  if (!state_->prefix_cache) return;
  const std::size_t full_blocks = tokens.size() / block_tokens;
  for (std::size_t i = known.size(); i < full_blocks; ++i) {
    const BlockHash parent = i == 0 ? BlockHash{} : known[i - 1];
    known.push_back(state_->hasher.hash(cache_namespace, parent,
                                        tokens.subspan(i * block_tokens).first<block_tokens>()));
  }
}

PrefixMatch KvLedger::cached_prefix(std::span<const BlockHash> hashes,
                                    std::span<const TokenId> tokens) const {
  PrefixMatch match;
  if (!state_->prefix_cache) return match;
  const std::size_t full_blocks = std::min(hashes.size(), tokens.size() / block_tokens);
  for (std::size_t i = 0; i < full_blocks; ++i) {
    const std::uint32_t index = state_->find(hashes, tokens, i);
    if (index == none) break;
    match.cached += Blocks(1);
    if (state_->nodes[index].references == 0) match.unheld += Blocks(1);
  }
  return match;
}

std::vector<BlockId> KvLedger::share(std::span<const BlockHash> hashes,
                                     std::span<const TokenId> tokens, Blocks count) {
  std::vector<BlockId> shared;
  if (!state_->prefix_cache || count.is_zero()) return shared;
  const std::size_t wanted = std::min(
      {static_cast<std::size_t>(count.value()), hashes.size(), tokens.size() / block_tokens});
  shared.reserve(wanted);
  for (std::size_t i = 0; i < wanted; ++i) {
    const std::uint32_t index = state_->find(hashes, tokens, i);
    if (index == none) break;
    if (state_->nodes[index].references++ == 0)
      state_->remove_idle(index);
    else
      ++state_->sharing_version;
    shared.push_back(BlockId{index});
  }
  return shared;
}

void KvLedger::take(Blocks count, std::vector<BlockId>& into) {
  for (std::int64_t i = 0; i < count.value(); ++i) {
    const std::uint32_t index = state_->take_one();
    state_->nodes[index].references = 1;
    into.push_back(BlockId{index});
  }
}

void KvLedger::release(std::span<const BlockId> blocks) {
  for (std::size_t i = blocks.size(); i > 0; --i) {
    Node& node = state_->node(blocks[i - 1]);
    TANDEM_CHECK(node.references > 0, "only a held block is released");
    if (--node.references > 0) {
      ++state_->sharing_version;
    } else if (node.published) {
      state_->append_idle(raw(blocks[i - 1]));
    } else {
      state_->free.push_back(raw(blocks[i - 1]));
    }
  }
}

void KvLedger::publish(BlockId block, const BlockHash& parent, const BlockHash& hash,
                       std::span<const TokenId> tokens) {
  if (!state_->prefix_cache) return;
  Node& node = state_->node(block);
  TANDEM_CHECK(node.references > 0, "only a held block is published");
  TANDEM_CHECK(!node.published, "a block is published once");
  TANDEM_CHECK(tokens.size() == block_tokens, "a published block is full");
  if (state_->table.find(hash, state_->contents) != none) return;
  Content& content = state_->contents[raw(block)];
  content.hash = hash;
  content.parent = parent;
  std::copy(tokens.begin(), tokens.end(), content.tokens.begin());
  node.published = true;
  state_->table.insert(hash, raw(block));
}

// Back to front, so that of a chain the blocks that more others build on count as used later.

void KvLedger::expect(std::span<const BlockHash> hashes) {
  if (!state_->prefix_cache) return;
  // Each time, not the first time alone: what many build on must not be older than they are.
  for (std::size_t i = hashes.size(); i > 0; --i) {
    state_->demand.expect(hashes[i - 1]);
    state_->append_anew(hashes[i - 1]);
  }
}

void KvLedger::forget(std::span<const BlockHash> hashes) {
  if (!state_->prefix_cache) return;
  for (std::size_t i = hashes.size(); i > 0; --i)
    if (state_->demand.forget(hashes[i - 1])) state_->append_anew(hashes[i - 1]);
}

void KvLedger::announce(std::span<const BlockHash> hashes) {
  if (!state_->prefix_cache) return;
  for (const BlockHash& hash : hashes) state_->demand.announce(hash);
}

void KvLedger::withdraw(std::span<const BlockHash> hashes) {
  if (!state_->prefix_cache) return;
  for (const BlockHash& hash : hashes) state_->demand.withdraw(hash);
}

bool KvLedger::is_announced(const BlockHash& hash) const {
  return state_->demand.is_announced(hash);
}

KvLedger::Demand KvLedger::demand() const {
  return {state_->demand.expected(), state_->demand.announced()};
}

Blocks KvLedger::total() const { return to_blocks(state_->nodes.size()); }
Blocks KvLedger::available() const { return to_blocks(state_->free.size() + state_->idle()); }
Blocks KvLedger::held() const { return total() - available(); }
Blocks KvLedger::cached() const { return to_blocks(state_->table.size()); }
std::uint64_t KvLedger::sharing_version() const { return state_->sharing_version; }

std::uint32_t KvLedger::references(BlockId block) const { return state_->node(block).references; }

void KvLedger::State::check_idle(const IdleList& list, bool is_awaited,
                                 std::vector<char>& seen) const {
  std::uint32_t previous = none;
  std::size_t idle = 0;
  for (std::uint32_t i = list.first; i != none; previous = i, i = nodes[i].next, ++idle) {
    TANDEM_CHECK(idle < nodes.size(), "the idle list ends");
    TANDEM_CHECK(nodes[i].previous == previous, "the idle list's links agree");
    TANDEM_CHECK(seen[i]++ == 0, "a block is free or idle, not both");
    TANDEM_CHECK(nodes[i].references == 0 && nodes[i].published,
                 "an idle block has a hash and no holder");
    TANDEM_CHECK(
        nodes[i].awaited == is_awaited && demand.is_expected(contents[i].hash) == is_awaited,
        "an idle block is in the list of the expected exactly if it is expected");
  }
  TANDEM_CHECK(list.last == previous && idle == list.count, "the idle list is counted right");
}

/// Each list holds exactly the blocks whose state says so, and their links agree.
void KvLedger::State::check_lists() const {
  std::vector<char> seen(nodes.size(), 0);
  for (const std::uint32_t index : free) {
    TANDEM_CHECK(seen[index]++ == 0, "a block is in the free stack once");
    TANDEM_CHECK(nodes[index].references == 0 && !nodes[index].published,
                 "a free block has no holder and no hash");
  }
  check_idle(plain, false, seen);
  check_idle(awaited, true, seen);
  for (std::size_t i = 0; i < nodes.size(); ++i)
    TANDEM_CHECK((nodes[i].references > 0) == (seen[i] == 0),
                 "a block is held, or else free or idle");
}

void KvLedger::check() const {
  state_->check_lists();
  std::size_t published = 0;
  for (std::size_t i = 0; i < state_->nodes.size(); ++i) {
    if (!state_->nodes[i].published) continue;
    ++published;
    TANDEM_CHECK(state_->table.find(state_->contents[i].hash, state_->contents) == i,
                 "a published block is found by its hash");
  }
  TANDEM_CHECK(published == state_->table.size(), "the hash table holds published blocks alone");
  TANDEM_CHECK(available() + held() == total(), "blocks are conserved");
}

}  // namespace tandem::policy
