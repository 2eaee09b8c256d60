// See block_demand.hpp.
#include "policy/block_demand.hpp"

#include <utility>

#include "core/check.hpp"

namespace tandem::policy {

BlockDemand::BlockDemand() : cells_(1024) {}

/// The hash's cell, or the empty one where it would be.
std::size_t BlockDemand::find(const BlockHash& hash) const {
  const std::size_t mask = cells_.size() - 1;
  std::size_t i = hash.low & mask;
  while (!cells_[i].empty() && !(cells_[i].hash == hash)) i = (i + 1) & mask;
  return i;
}

bool BlockDemand::is_expected(const BlockHash& hash) const {
  return expected_ > 0 && cells_[find(hash)].expected > 0;
}

bool BlockDemand::is_announced(const BlockHash& hash) const {
  return announced_ > 0 && cells_[find(hash)].announced > 0;
}

bool BlockDemand::change(const BlockHash& hash, int expected, int announced) {
  std::size_t at = find(hash);
  if (cells_[at].empty()) {
    TANDEM_CHECK(expected >= 0 && announced >= 0, "only what was counted is taken back");
    if (4 * ++used_ > 3 * cells_.size()) {
      grow();
      at = find(hash);
    }
    cells_[at].hash = hash;
  }
  Cell& cell = cells_[at];
  TANDEM_CHECK(expected >= 0 || cell.expected > 0, "only what was expected is forgotten");
  TANDEM_CHECK(announced >= 0 || cell.announced > 0, "only what was announced is withdrawn");
  const bool was_expected = cell.expected > 0;
  cell.expected += static_cast<std::uint32_t>(expected);
  cell.announced += static_cast<std::uint32_t>(announced);
  expected_ += static_cast<std::uint64_t>(static_cast<std::int64_t>(expected));
  announced_ += static_cast<std::uint64_t>(static_cast<std::int64_t>(announced));
  const bool crossed = was_expected != (cell.expected > 0);
  if (cell.empty()) erase(at);
  return crossed;
}

void BlockDemand::grow() {
  const auto old = std::exchange(cells_, std::vector<Cell>(2 * cells_.size()));
  for (const Cell& cell : old)
    if (!cell.empty()) cells_[find(cell.hash)] = cell;
}

void BlockDemand::erase(std::size_t hole) {
  const std::size_t mask = cells_.size() - 1;
  for (std::size_t i = (hole + 1) & mask; !cells_[i].empty(); i = (i + 1) & mask) {
    // The cell may move into the hole if its probing began at or before the hole.
    if (((i - cells_[i].hash.low) & mask) < ((i - hole) & mask)) continue;
    cells_[hole] = cells_[i];
    hole = i;
  }
  cells_[hole] = Cell{};
  --used_;
}

}  // namespace tandem::policy
