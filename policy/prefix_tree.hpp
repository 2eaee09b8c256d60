// Items by the prefixes that their prompts share: a radix tree over prefix keys, with compressed
// edges and no empty nodes. The next item is one that shares the longest prefix with the last
// visited, found from the root by that item's key; on a tree that only loses items this is the
// depth-first order of its leaves (prefix sharing maximization of HyGen, arXiv 2501.14808).
//   an inner node has two children or items of its own; edges are never empty; the root is node 0
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "policy/prefix_key.hpp"
#include "policy/slab.hpp"

namespace tandem::policy {

class PrefixTree {
 public:
  /// A number of the caller's, dense and reused: it indexes an array here.
  using Item = std::uint32_t;

  PrefixTree();

  /// O(length of the key), whatever the tree holds.
  void insert(Item item, std::span<const std::uint32_t> key);
  /// Removes an item and prunes what it leaves empty.
  void remove(Item item);
  /// The item is the last visited from now on; it is in the tree.
  void visit(Item item);

  struct Next {
    Item item = nowhere;       ///< nowhere: the tree is empty
    std::uint32_t shared = 0;  ///< landmarks in common with the item last visited
    std::uint32_t length = 0;  ///< landmarks of the item itself
  };
  [[nodiscard]] Next next() const;

  [[nodiscard]] std::size_t num_nodes() const { return nodes_.size(); }
  /// Memory taken, with the allocator's rounding.
  [[nodiscard]] std::size_t bytes() const;
  /// Walks everything and aborts on a broken invariant; for tests.
  void check() const;

 private:
  struct Node {
    std::uint32_t parent = nowhere;
    std::uint32_t first_child = nowhere;  ///< the oldest; siblings are a ring
    std::uint32_t next = nowhere, previous = nowhere;
    Item first_item = nowhere;  ///< the oldest; a ring likewise
    std::uint16_t begin = 0;    ///< landmarks above its edge
    std::uint16_t length = 0;   ///< of its edge
    std::unique_ptr<std::uint32_t[]> edge;

    [[nodiscard]] std::uint32_t end() const { return std::uint32_t{begin} + length; }
    [[nodiscard]] std::span<const std::uint32_t> keys() const { return {edge.get(), length}; }
  };
  struct Place {
    std::uint32_t node = nowhere;
    Item next = nowhere, previous = nowhere;
  };
  /// (parent, first of the edge) -> child, by linear probing; removal shifts followers back.
  class Children {
   public:
    Children() : cells_(16) {}
    [[nodiscard]] std::uint32_t find(const Slab<Node>& nodes, std::uint32_t parent,
                                     std::uint32_t key) const;
    void insert(std::uint32_t parent, std::uint32_t key, std::uint32_t child);
    void erase(std::uint32_t parent, std::uint32_t key, std::uint32_t child);
    [[nodiscard]] std::size_t size() const { return size_; }
    [[nodiscard]] std::size_t bytes() const { return cells_.size() * sizeof(Cell); }

   private:
    struct Cell {
      std::uint32_t hash = 0;
      std::uint32_t child = nowhere;
    };
    static std::uint32_t hash_of(std::uint32_t parent, std::uint32_t key);
    void place(Cell cell);
    std::vector<Cell> cells_;
    std::size_t size_ = 0;
  };

  /// Where a key leads: the last node of which something matched, and how much in all.
  struct Match {
    std::uint32_t node = 0;
    std::uint32_t matched = 0;
  };
  [[nodiscard]] Match match(std::span<const std::uint32_t> key) const;
  void set_edge(Node& node, std::span<const std::uint32_t> first,
                std::span<const std::uint32_t> second = {});
  std::uint32_t add_child(std::uint32_t parent, std::span<const std::uint32_t> edge);
  void split(std::uint32_t lower, std::uint32_t at);
  void merge_with_only_child(std::uint32_t node);
  void replace_in_ring(std::uint32_t old_node, std::uint32_t new_node);
  void prune(std::uint32_t node);

  Slab<Node> nodes_;
  std::vector<Place> places_;  ///< by item
  Children children_;
  std::size_t edge_bytes_ = 0;
  PrefixKey last_;  ///< key of the item last visited
};

}  // namespace tandem::policy
