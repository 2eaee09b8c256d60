// See age_heap.hpp.
#include "policy/age_heap.hpp"

#include <algorithm>

#include "core/check.hpp"

namespace tandem::policy {
namespace {
constexpr std::size_t arity = 4;
}

void AgeHeap::put(std::size_t at, const Entry& entry) {
  heap_[at] = entry;
  places_[entry.item] = static_cast<std::uint32_t>(at);
}

void AgeHeap::rise(std::size_t at, const Entry& entry) {
  while (at > 0 && entry.age() < heap_[(at - 1) / arity].age()) {
    put(at, heap_[(at - 1) / arity]);
    at = (at - 1) / arity;
  }
  put(at, entry);
}

void AgeHeap::sink(std::size_t at, const Entry& entry) {
  for (;;) {
    const std::size_t first = at * arity + 1;
    if (first >= heap_.size()) break;
    std::size_t oldest = first;
    for (std::size_t i = first + 1; i < std::min(first + arity, heap_.size()); ++i)
      if (heap_[i].age() < heap_[oldest].age()) oldest = i;
    if (heap_[oldest].age() >= entry.age()) break;
    put(at, heap_[oldest]);
    at = oldest;
  }
  put(at, entry);
}

void AgeHeap::insert(Item item, std::uint64_t age) {
  if (places_.size() <= item) places_.resize(item + 1, nowhere);
  TANDEM_CHECK(places_[item] == nowhere, "an item has one age");
  heap_.emplace_back();
  rise(heap_.size() - 1,
       {static_cast<std::uint32_t>(age >> 32), static_cast<std::uint32_t>(age), item});
}

void AgeHeap::remove(Item item) {
  TANDEM_CHECK(item < places_.size() && places_[item] != nowhere, "a removed item has an age");
  const std::size_t hole = places_[item];
  places_[item] = nowhere;
  const Entry last = heap_.back();
  heap_.pop_back();
  if (hole == heap_.size()) return;
  if (hole > 0 && last.age() < heap_[(hole - 1) / arity].age())
    rise(hole, last);
  else
    sink(hole, last);
}

std::size_t AgeHeap::bytes() const {
  return heap_.capacity() * sizeof(Entry) + places_.capacity() * sizeof(std::uint32_t);
}

void AgeHeap::check() const {
  for (std::size_t i = 0; i < heap_.size(); ++i) {
    TANDEM_CHECK(places_[heap_[i].item] == i, "an item's place is written down");
    TANDEM_CHECK(i == 0 || heap_[(i - 1) / arity].age() <= heap_[i].age(),
                 "nothing is older than what is above it");
  }
}

}  // namespace tandem::policy
