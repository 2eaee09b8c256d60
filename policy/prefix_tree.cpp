// See prefix_tree.hpp.
#include "policy/prefix_tree.hpp"

#include <algorithm>
#include <utility>

#include "core/check.hpp"

namespace tandem::policy {
namespace {

constexpr std::uint32_t root = 0;

/// What an allocation takes: a header of 8 bytes, rounded up to 16, at least 32.
std::size_t allocated(std::size_t bytes) {
  return bytes == 0 ? 0 : std::max<std::size_t>(32, (bytes + 8 + 15) / 16 * 16);
}

std::uint32_t common_length(std::span<const std::uint32_t> a, std::span<const std::uint32_t> b) {
  const auto length = std::min(a.size(), b.size());
  const auto differs =
      std::mismatch(a.begin(), a.begin() + static_cast<std::ptrdiff_t>(length), b.begin());
  return static_cast<std::uint32_t>(differs.first - a.begin());
}

}  // namespace

// ---- the table of children ----

std::uint32_t PrefixTree::Children::hash_of(std::uint32_t parent, std::uint32_t key) {
  std::uint64_t x = (std::uint64_t{parent} << 32 | key) * 0x9e3779b97f4a7c15ULL;
  x = (x ^ (x >> 29)) * 0xbf58476d1ce4e5b9ULL;
  return static_cast<std::uint32_t>(x >> 32);
}

std::uint32_t PrefixTree::Children::find(const Slab<Node>& nodes, std::uint32_t parent,
                                         std::uint32_t key) const {
  const std::uint32_t hash = hash_of(parent, key);
  const std::size_t mask = cells_.size() - 1;
  for (std::size_t i = hash & mask;; i = (i + 1) & mask) {
    const Cell& cell = cells_[i];
    if (cell.child == nowhere) return nowhere;
    if (cell.hash != hash) continue;
    const Node& child = nodes[cell.child];
    if (child.parent == parent && child.edge[0] == key) return cell.child;
  }
}

void PrefixTree::Children::place(Cell cell) {
  const std::size_t mask = cells_.size() - 1;
  std::size_t i = cell.hash & mask;
  while (cells_[i].child != nowhere) i = (i + 1) & mask;
  cells_[i] = cell;
}

void PrefixTree::Children::insert(std::uint32_t parent, std::uint32_t key, std::uint32_t child) {
  if (4 * ++size_ > 3 * cells_.size()) {
    const auto old = std::exchange(cells_, std::vector<Cell>(2 * cells_.size()));
    for (const Cell& cell : old)
      if (cell.child != nowhere) place(cell);
  }
  place({hash_of(parent, key), child});
}

void PrefixTree::Children::erase(std::uint32_t parent, std::uint32_t key, std::uint32_t child) {
  const std::size_t mask = cells_.size() - 1;
  std::size_t hole = hash_of(parent, key) & mask;
  while (cells_[hole].child != child) {
    TANDEM_CHECK(cells_[hole].child != nowhere, "a child is in the table");
    hole = (hole + 1) & mask;
  }
  for (std::size_t i = (hole + 1) & mask; cells_[i].child != nowhere; i = (i + 1) & mask) {
    // The cell may move into the hole if its probing began at or before the hole.
    if (((i - cells_[i].hash) & mask) < ((i - hole) & mask)) continue;
    cells_[hole] = cells_[i];
    hole = i;
  }
  cells_[hole] = Cell{};
  --size_;
}

// ---- the tree ----

PrefixTree::PrefixTree() { nodes_.add(); }

PrefixTree::Match PrefixTree::match(std::span<const std::uint32_t> key) const {
  Match found;
  while (found.matched < key.size()) {
    const std::uint32_t child = children_.find(nodes_, found.node, key[found.matched]);
    if (child == nowhere) break;
    const Node& node = nodes_[child];
    found.node = child;
    found.matched += common_length(node.keys(), key.subspan(found.matched));
    if (found.matched < node.end()) break;
  }
  return found;
}

PrefixTree::Next PrefixTree::next() const {
  const Match found = match(last_);
  std::uint32_t index = found.node;
  while (nodes_[index].first_item == nowhere && nodes_[index].first_child != nowhere)
    index = nodes_[index].first_child;
  return {nodes_[index].first_item, found.matched, nodes_[index].end()};
}

void PrefixTree::visit(Item item) {
  std::uint32_t index = places_[item].node;
  last_.resize(nodes_[index].end());
  for (; index != root; index = nodes_[index].parent) {
    const auto keys = nodes_[index].keys();
    std::copy(keys.begin(), keys.end(), last_.begin() + nodes_[index].begin);
  }
}

void PrefixTree::insert(Item item, std::span<const std::uint32_t> key) {
  key = key.first(std::min(key.size(), max_landmarks));
  const Match found = match(key);
  std::uint32_t index = found.node;
  if (found.matched < nodes_[index].end()) {
    split(index, found.matched - nodes_[index].begin);
    index = nodes_[index].parent;
  }
  if (found.matched < key.size()) index = add_child(index, key.subspan(found.matched));
  if (places_.size() <= item) places_.resize(item + 1);
  Node& node = nodes_[index];
  Place& place = places_[item];
  TANDEM_CHECK(place.node == nowhere, "an item is in the tree once");
  place.node = index;
  if (node.first_item == nowhere) {
    node.first_item = place.next = place.previous = item;
    return;
  }
  place.next = node.first_item;
  place.previous = std::exchange(places_[node.first_item].previous, item);
  places_[place.previous].next = item;
}

void PrefixTree::remove(Item item) {
  TANDEM_CHECK(item < places_.size() && places_[item].node != nowhere, "a removed item is there");
  const Place place = std::exchange(places_[item], Place{});
  Node& node = nodes_[place.node];
  if (place.next == item) {
    node.first_item = nowhere;
    prune(place.node);
    return;
  }
  places_[place.next].previous = place.previous;
  places_[place.previous].next = place.next;
  if (node.first_item == item) node.first_item = place.next;
}

void PrefixTree::set_edge(Node& node, std::span<const std::uint32_t> first,
                          std::span<const std::uint32_t> second) {
  auto edge = std::make_unique<std::uint32_t[]>(first.size() + second.size());
  std::copy(first.begin(), first.end(), edge.get());
  std::copy(second.begin(), second.end(), edge.get() + first.size());
  edge_bytes_ -= allocated(node.length * sizeof(std::uint32_t));
  node.length = static_cast<std::uint16_t>(first.size() + second.size());
  edge_bytes_ += allocated(node.length * sizeof(std::uint32_t));
  node.edge = std::move(edge);
}

std::uint32_t PrefixTree::add_child(std::uint32_t parent, std::span<const std::uint32_t> edge) {
  const std::uint32_t index = nodes_.add();
  Node& child = nodes_[index];
  Node& above = nodes_[parent];
  child.parent = parent;
  child.begin = static_cast<std::uint16_t>(above.end());
  set_edge(child, edge);
  children_.insert(parent, edge[0], index);
  if (above.first_child == nowhere) {
    above.first_child = child.next = child.previous = index;
    return index;
  }
  child.next = above.first_child;
  child.previous = std::exchange(nodes_[above.first_child].previous, index);
  nodes_[child.previous].next = index;
  return index;
}

/// `new_node` takes the place of `old_node` among the children of its parent.
void PrefixTree::replace_in_ring(std::uint32_t old_node, std::uint32_t new_node) {
  const Node& old = nodes_[old_node];
  Node& taking = nodes_[new_node];
  const bool alone = old.next == old_node;
  taking.next = alone ? new_node : old.next;
  taking.previous = alone ? new_node : old.previous;
  nodes_[taking.next].previous = new_node;
  nodes_[taking.previous].next = new_node;
  if (nodes_[old.parent].first_child == old_node) nodes_[old.parent].first_child = new_node;
}

/// A new node takes the first `at` of the edge of `lower`, which becomes its only child.
void PrefixTree::split(std::uint32_t lower, std::uint32_t at) {
  const std::uint32_t upper = nodes_.add();
  Node& above = nodes_[upper];
  Node& below = nodes_[lower];
  const auto edge = std::move(below.edge);
  const std::span<const std::uint32_t> keys(edge.get(), below.length);
  children_.erase(below.parent, keys[0], lower);
  above.parent = below.parent;
  above.begin = below.begin;
  replace_in_ring(lower, upper);
  set_edge(above, keys.first(at));
  set_edge(below, keys.subspan(at));
  below.begin = static_cast<std::uint16_t>(above.end());
  below.parent = upper;
  above.first_child = below.next = below.previous = lower;
  children_.insert(above.parent, keys[0], upper);
  children_.insert(upper, keys[at], lower);
}

/// The child takes the edge of `node` before its own, and its place.
void PrefixTree::merge_with_only_child(std::uint32_t node) {
  Node& above = nodes_[node];
  const std::uint32_t child = above.first_child;
  Node& below = nodes_[child];
  children_.erase(above.parent, above.edge[0], node);
  children_.erase(node, below.edge[0], child);
  const auto edge = std::move(below.edge);
  const std::span<const std::uint32_t> keys(edge.get(), below.length);
  set_edge(below, above.keys(), keys);
  below.begin = above.begin;
  below.parent = above.parent;
  replace_in_ring(node, child);
  children_.insert(below.parent, below.edge[0], child);
  edge_bytes_ -= allocated(above.length * sizeof(std::uint32_t));
  nodes_.remove(node);
}

/// Removes the node if it is empty, and compresses what that leaves.
void PrefixTree::prune(std::uint32_t index) {
  if (index == root || nodes_[index].first_item != nowhere) return;
  Node& node = nodes_[index];
  if (node.first_child != nowhere) {
    if (nodes_[node.first_child].next == node.first_child) merge_with_only_child(index);
    return;
  }
  const std::uint32_t parent = node.parent;
  children_.erase(parent, node.edge[0], index);
  Node& above = nodes_[parent];
  if (node.next == index) {
    above.first_child = nowhere;
  } else {
    nodes_[node.next].previous = node.previous;
    nodes_[node.previous].next = node.next;
    if (above.first_child == index) above.first_child = node.next;
  }
  edge_bytes_ -= allocated(node.length * sizeof(std::uint32_t));
  nodes_.remove(index);
  prune(parent);
}

std::size_t PrefixTree::bytes() const {
  return nodes_.bytes() + places_.capacity() * sizeof(Place) + children_.bytes() + edge_bytes_;
}

void PrefixTree::check() const {
  std::size_t seen = 0, edge_bytes = 0;
  std::vector<std::uint32_t> stack = {root};
  while (!stack.empty()) {
    const std::uint32_t index = stack.back();
    stack.pop_back();
    const Node& node = nodes_[index];
    ++seen;
    edge_bytes += allocated(node.length * sizeof(std::uint32_t));
    std::size_t children = 0;
    std::uint32_t child = node.first_child;
    for (; child != nowhere; ++children) {
      TANDEM_CHECK(nodes_[child].parent == index && nodes_[child].begin == node.end(),
                   "a child begins where its parent ends");
      TANDEM_CHECK(nodes_[child].length > 0, "edges are not empty");
      TANDEM_CHECK(nodes_[nodes_[child].next].previous == child, "the ring of children is closed");
      TANDEM_CHECK(children_.find(nodes_, index, nodes_[child].edge[0]) == child,
                   "a child is found by the first of its edge");
      stack.push_back(child);
      child = nodes_[child].next == node.first_child ? nowhere : nodes_[child].next;
    }
    TANDEM_CHECK(index == root || children >= 2 || node.first_item != nowhere,
                 "a node has items, or children that differ");
    for (Item item = node.first_item; item != nowhere;) {
      TANDEM_CHECK(places_[item].node == index, "an item knows its node");
      TANDEM_CHECK(places_[places_[item].next].previous == item, "the ring of items is closed");
      item = places_[item].next == node.first_item ? nowhere : places_[item].next;
    }
  }
  TANDEM_CHECK(seen == nodes_.size(), "every node hangs in the tree");
  TANDEM_CHECK(children_.size() + 1 == seen, "the table holds every node but the root");
  TANDEM_CHECK(edge_bytes == edge_bytes_, "the memory of edges is counted right");
}

}  // namespace tandem::policy
