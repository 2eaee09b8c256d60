// The radix tree by itself: depth-first order, pruning, and random histories against a model that
// compares every key with every other.
#include "policy/prefix_tree.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <map>
#include <random>

namespace tandem::policy {
namespace {

PrefixKey key_of(std::initializer_list<std::uint32_t> parts) { return parts; }

/// Visits and removes the next item; its number.
PrefixTree::Item take(PrefixTree& tree) {
  const auto item = tree.next().item;
  tree.visit(item);
  tree.remove(item);
  tree.check();
  return item;
}

std::size_t common(const PrefixKey& a, const PrefixKey& b) {
  const auto length = std::min(a.size(), b.size());
  std::size_t n = 0;
  while (n < length && a[n] == b[n]) ++n;
  return n;
}

std::vector<TokenId> tokens(std::size_t count, TokenId first = 0) {
  std::vector<TokenId> out(count);
  for (std::size_t i = 0; i < count; ++i) out[i] = first + static_cast<TokenId>(i);
  return out;
}

}  // namespace

TEST_CASE("items come in depth-first order of the tree that their prompts make") {
  PrefixTree tree;
  tree.insert(0, key_of({1, 2, 3}));     // what is ML
  tree.insert(1, key_of({7, 8, 3}));     // how to code
  tree.insert(2, key_of({1, 2, 4}));     // what is AI
  tree.insert(3, key_of({7, 8, 9, 1}));  // how to debug
  tree.check();
  std::vector<PrefixTree::Item> order;
  for (int i = 0; i < 4; ++i) order.push_back(take(tree));
  CHECK(order == std::vector<PrefixTree::Item>{0, 2, 1, 3});
  CHECK(tree.next().item == nowhere);
}

TEST_CASE("equal prompts, empty ones and prompts that end inside another all have their turn") {
  PrefixTree tree;
  tree.insert(0, key_of({1, 2, 3, 4}));
  tree.insert(1, key_of({1, 2}));
  tree.insert(2, key_of({1, 2, 3, 4}));
  tree.insert(3, {});
  tree.insert(4, key_of({5}));
  std::vector<PrefixTree::Item> order;
  for (int i = 0; i < 5; ++i) order.push_back(take(tree));
  CHECK(order == std::vector<PrefixTree::Item>{3, 1, 0, 2, 4});
}

TEST_CASE("an emptied tree is one node again, and takes no memory for edges") {
  PrefixTree tree;
  const auto bytes = [] {
    PrefixTree fresh;
    fresh.insert(0, {});
    return fresh.bytes();
  }();
  for (std::uint32_t i = 0; i < 50; ++i) tree.insert(i, key_of({1, i % 5, i % 7, i}));
  CHECK(tree.num_nodes() > 50);
  for (int i = 0; i < 50; ++i) take(tree);
  CHECK(tree.num_nodes() == 1);
  CHECK(tree.bytes() < bytes + 8192);
}

TEST_CASE("what remains after a removal is compressed again") {
  PrefixTree tree;
  tree.insert(0, key_of({1, 2, 3, 4}));
  tree.insert(1, key_of({1, 2, 5}));
  CHECK(tree.num_nodes() == 4);
  tree.remove(1);
  CHECK(tree.num_nodes() == 2);
  tree.insert(1, key_of({1, 2}));
  CHECK(tree.num_nodes() == 3);
  tree.remove(0);
  CHECK(tree.num_nodes() == 2);
  tree.check();
}

TEST_CASE("an item inserted late is next if it shares most with the last visited") {
  PrefixTree tree;
  tree.insert(0, key_of({1, 2, 3, 4}));
  tree.insert(1, key_of({9}));
  CHECK(take(tree) == 0);
  tree.insert(2, key_of({1, 2, 3, 5}));
  const auto next = tree.next();
  CHECK(next.item == 2);
  CHECK(next.shared == 3);
  CHECK(next.length == 4);
}

TEST_CASE("over random histories the next item shares as much as any") {
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    std::mt19937_64 random(seed);
    const auto below = [&random](std::uint64_t bound) { return random() % bound; };
    PrefixTree tree;
    std::map<PrefixTree::Item, PrefixKey> model;
    PrefixKey last;
    const std::uint64_t letters = 1 + below(4), longest = 1 + below(12);
    for (int step = 0; step < 200; ++step) {
      if (below(100) < 55) {
        PrefixTree::Item item = 0;
        while (model.contains(item)) ++item;
        PrefixKey key(below(longest + 1));
        for (auto& part : key) part = static_cast<std::uint32_t>(below(letters));
        tree.insert(item, key);
        model[item] = key;
      } else if (!model.empty()) {
        const auto next = tree.next();
        std::size_t most = 0;
        for (const auto& [item, key] : model) most = std::max(most, common(key, last));
        INFO("seed " << seed << " step " << step);
        REQUIRE(model.contains(next.item));
        REQUIRE(common(model[next.item], last) == most);
        REQUIRE(next.shared == most);
        REQUIRE(next.length == model[next.item].size());
        auto gone = model.find(next.item);
        if (below(3) == 0) gone = std::next(model.begin(), static_cast<long>(below(model.size())));
        if (below(4) != 0) {
          tree.visit(gone->first);
          last = gone->second;
        }
        tree.remove(gone->first);
        model.erase(gone);
      }
      tree.check();
    }
  }
}

TEST_CASE("a static tree is left subtree by subtree: each block of it is entered once") {
  std::mt19937_64 random(5);
  PrefixTree tree;
  std::vector<PrefixKey> keys;
  std::map<PrefixKey, int> prefixes;
  for (PrefixTree::Item item = 0; item < 2000; ++item) {
    PrefixKey key(1 + random() % 20);
    for (auto& part : key) part = static_cast<std::uint32_t>(random() % 3);
    tree.insert(item, key);
    for (std::size_t n = 1; n <= key.size(); ++n)
      prefixes[PrefixKey(key.begin(), key.begin() + static_cast<long>(n))] = 1;
    keys.push_back(std::move(key));
  }
  std::size_t entered = 0;
  PrefixKey last;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const auto next = tree.next();
    entered += keys[next.item].size() - common(keys[next.item], last);
    last = keys[next.item];
    tree.visit(next.item);
    tree.remove(next.item);
  }
  CHECK(entered == prefixes.size());  // the least that any order can do
}

TEST_CASE(
    "a key has one fingerprint per block up to 512 tokens, then every sixteenth of its depth") {
  const BlockHasher hasher(1);
  CHECK(make_prefix_key(hasher, 0, tokens(15)).empty());
  CHECK(make_prefix_key(hasher, 0, tokens(16)).size() == 1);
  CHECK(make_prefix_key(hasher, 0, tokens(512)).size() == 32);
  CHECK(make_prefix_key(hasher, 0, tokens(33 * 16)).size() == 32);
  CHECK(make_prefix_key(hasher, 0, tokens(34 * 16)).size() == 33);
  CHECK(make_prefix_key(hasher, 0, tokens(128 * 1024)).size() == 127);
  CHECK(landmark_blocks(0) == Blocks(1));
  CHECK(landmark_blocks(32) == Blocks(34));
}

TEST_CASE("keys agree exactly as far as the prompts' blocks do") {
  const BlockHasher hasher(1);
  const auto a = tokens(800);
  for (const std::size_t at : {0U, 15U, 16U, 100U, 511U, 512U, 640U, 799U}) {
    auto b = a;
    b[at] += 1;
    const auto shared = common(make_prefix_key(hasher, 0, a), make_prefix_key(hasher, 0, b));
    const auto blocks = static_cast<std::int64_t>(at / 16);
    INFO("differs at " << at);
    CHECK((shared == 0 ? Blocks(0) : landmark_blocks(shared - 1)) <= Blocks(blocks));
    CHECK((shared == make_prefix_key(hasher, 0, a).size() ||
           landmark_blocks(shared) > Blocks(blocks)));
  }
  CHECK(common(make_prefix_key(hasher, 0, a), make_prefix_key(hasher, 1, a)) == 0);
}

}  // namespace tandem::policy
