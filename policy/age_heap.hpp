// Items by age, as a balanced tree in an array: four children per place, the oldest at the root.
// Any item can be removed, so each has its place written down.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "policy/slab.hpp"

namespace tandem::policy {

class AgeHeap {
 public:
  /// A number of the caller's, dense and reused.
  using Item = std::uint32_t;

  /// Lower ages are older; equal ones come in any order. O(log n), O(1) if it is the youngest.
  void insert(Item item, std::uint64_t age);
  void remove(Item item);
  /// nowhere if there is none.
  [[nodiscard]] Item oldest() const { return heap_.empty() ? nowhere : heap_.front().item; }
  [[nodiscard]] std::size_t size() const { return heap_.size(); }
  [[nodiscard]] std::size_t bytes() const;
  /// Aborts on a broken invariant; for tests.
  void check() const;

 private:
  struct Entry {
    std::uint32_t age_high, age_low;  ///< in halves, so that an entry takes 12 bytes
    Item item;

    [[nodiscard]] std::uint64_t age() const { return std::uint64_t{age_high} << 32 | age_low; }
  };
  void put(std::size_t at, const Entry& entry);
  void rise(std::size_t at, const Entry& entry);
  void sink(std::size_t at, const Entry& entry);

  std::vector<Entry> heap_;
  std::vector<std::uint32_t> places_;  ///< by item
};

}  // namespace tandem::policy
