// Which blocks, by hash, waiting sequences expect to share once they start, and which ones running
// sequences are about to compute. Counts only: it pins nothing, and it is empty when nobody waits
// or runs. Cached or not makes no difference here.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "policy/block_hash.hpp"

namespace tandem::policy {

class BlockDemand {
 public:
  BlockDemand();

  /// One more expects `hash`, or computes it. True: the first one to expect it.
  bool expect(const BlockHash& hash) { return change(hash, 1, 0); }
  void announce(const BlockHash& hash) { change(hash, 0, 1); }
  /// The opposite, by one who did so before. True: the last one who expected it.
  bool forget(const BlockHash& hash) { return change(hash, -1, 0); }
  void withdraw(const BlockHash& hash) { change(hash, 0, -1); }

  [[nodiscard]] bool is_expected(const BlockHash& hash) const;
  [[nodiscard]] bool is_announced(const BlockHash& hash) const;

  /// All counts together; for checks.
  [[nodiscard]] std::uint64_t expected() const { return expected_; }
  [[nodiscard]] std::uint64_t announced() const { return announced_; }

 private:
  struct Cell {
    BlockHash hash;
    std::uint32_t expected = 0, announced = 0;

    [[nodiscard]] bool empty() const { return expected == 0 && announced == 0; }
  };
  /// By how much both counts change; whether `expected` came to or from zero.
  bool change(const BlockHash& hash, int expected, int announced);
  [[nodiscard]] std::size_t find(const BlockHash& hash) const;
  void grow();
  void erase(std::size_t hole);

  std::vector<Cell> cells_;  ///< linear probing; a power of two, at most three quarters full
  std::size_t used_ = 0;
  std::uint64_t expected_ = 0, announced_ = 0;
};

}  // namespace tandem::policy
