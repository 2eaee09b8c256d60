// Numbered places for many small records: numbers of removed ones are given out again, records
// never move, and memory grows by pieces of fixed size, so that no insert copies a million records.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

namespace tandem::policy {

/// No record; what links between records hold at their ends.
inline constexpr std::uint32_t nowhere = std::numeric_limits<std::uint32_t>::max();

template <class Record>
class Slab {
 public:
  /// A place with a default record in it.
  std::uint32_t add() {
    if (!free_.empty()) {
      const std::uint32_t index = free_.back();
      free_.pop_back();
      return index;
    }
    if (used_ == pieces_.size() * piece_size)
      pieces_.push_back(std::make_unique<Record[]>(piece_size));
    return static_cast<std::uint32_t>(used_++);
  }
  void remove(std::uint32_t index) {
    (*this)[index] = Record();
    free_.push_back(index);
  }
  Record& operator[](std::uint32_t index) {
    return pieces_[index / piece_size][index % piece_size];
  }
  const Record& operator[](std::uint32_t index) const {
    return pieces_[index / piece_size][index % piece_size];
  }
  [[nodiscard]] std::size_t size() const { return used_ - free_.size(); }
  [[nodiscard]] std::size_t bytes() const {
    return pieces_.size() * piece_size * sizeof(Record) + free_.capacity() * sizeof(std::uint32_t);
  }

 private:
  static constexpr std::size_t piece_size = 4096;
  std::vector<std::unique_ptr<Record[]>> pieces_;
  std::vector<std::uint32_t> free_;
  std::size_t used_ = 0;
};

}  // namespace tandem::policy
