// How the product of few rows (kernels/skinny.cu) is divided: pure index arithmetic, tested on the
// host. Weights (n, k) are walked in units of 128 of their rows by 64 of k, tile by tile, k
// fastest; every thread block takes an equal, contiguous share of all units, so that no
// multiprocessor waits for another whatever n and k are. A tile that several blocks share is put
// together from their partial sums, always in the order of k. Source: stream-K (Osama et al.,
// 2023).
#pragma once

#include <cstdint>

#include "gpu/cuda/host_device.hpp"

namespace tandem::gpu::cuda {

/// Rows of activations that the kernel takes at most.
inline constexpr std::int64_t skinny_rows = 64;
/// A unit: rows of the weights, which are columns of the result, and elements of k.
inline constexpr int skinny_tile = 128;
inline constexpr int skinny_step = 64;
/// Units in shared memory, of which at least stages - 2 are on their way. What must be on its way
/// is latency times bandwidth: 4.8 TB/s (H200, by its data sheet) over 132 multiprocessors are 36
/// bytes a nanosecond each, so 36 KB if memory answers within a microsecond. Four units of weights
/// are 64 KB.
inline constexpr int skinny_stages = 6;

/// Columns of the matrix instructions' right side that hold `rows` rows: 8, 16, 32 or 64.
TANDEM_HOST_DEVICE constexpr int skinny_columns(std::int64_t rows) {
  return rows <= 8 ? 8 : rows <= 16 ? 16 : rows <= 32 ? 32 : 64;
}

/// Columns whose sums are exchanged through shared memory at a time, and the floats from one to the
/// next: 4 more than a tile, so that a warp's fragments meet all banks.
TANDEM_HOST_DEVICE constexpr int skinny_pass_columns(int columns) {
  return columns < 16 ? columns : 16;
}
inline constexpr int skinny_pass_stride = skinny_tile + 4;

/// Elements (bf16) of a unit in shared memory: weights, then activations.
TANDEM_HOST_DEVICE constexpr int skinny_stage_elements(int columns) {
  return (skinny_tile + columns) * skinny_step;
}
/// Shared memory of a block: the units, the sums that are exchanged, and one word.
TANDEM_HOST_DEVICE constexpr std::int64_t skinny_shared_bytes(int columns) {
  return skinny_stages * 2LL * skinny_stage_elements(columns) +
         4LL * skinny_pass_columns(columns) * skinny_pass_stride + 16;
}

/// Which block computes which units of one product, and which blocks share a tile. Its numbers have
/// 32 bits, since every block divides them before it asks for its first byte.
struct SkinnyPlan {
  std::int32_t tiles = 0, steps = 0;  ///< of n, of k
  std::int32_t blocks = 0;            ///< at most one per unit

  /// `can_divide` holds.
  TANDEM_HOST_DEVICE constexpr SkinnyPlan(std::int32_t n, std::int32_t k, std::int32_t most_blocks)
      : tiles((n + skinny_tile - 1) / skinny_tile),
        steps((k + skinny_step - 1) / skinny_step),
        blocks(most_blocks < units() ? most_blocks : units()) {}

  /// Whether n and k are at least 1 and small enough.
  static constexpr bool can_divide(std::int64_t n, std::int64_t k, std::int64_t most_blocks) {
    constexpr std::int64_t most = 1LL << 30;
    if (n < 1 || k < 1 || n > most || k > most) return false;
    const auto units =
        ((n + skinny_tile - 1) / skinny_tile) * ((k + skinny_step - 1) / skinny_step);
    return units * (most_blocks + 1) < 1LL << 31;
  }

  TANDEM_HOST_DEVICE constexpr std::int32_t units() const { return tiles * steps; }
  /// A block's units are first_unit(block) .. first_unit(block + 1) - 1.
  TANDEM_HOST_DEVICE constexpr std::int32_t first_unit(std::int32_t block) const {
    return units() * block / blocks;
  }
  /// The block that computes a unit: the last one that begins at it or before.
  TANDEM_HOST_DEVICE constexpr std::int32_t block_of(std::int32_t unit) const {
    return ((unit + 1) * blocks - 1) / units();
  }
  /// The blocks first_block(tile) .. last_block(tile) share a tile, in the order of k.
  TANDEM_HOST_DEVICE constexpr std::int32_t first_block(std::int32_t tile) const {
    return block_of(tile * steps);
  }
  TANDEM_HOST_DEVICE constexpr std::int32_t last_block(std::int32_t tile) const {
    return block_of((tile + 1) * steps - 1);
  }
  /// Where a block keeps its partial sums of a tile: one place for the tile that blocks before it
  /// began, one for the tile that blocks after it end.
  TANDEM_HOST_DEVICE constexpr std::int32_t slot(std::int32_t tile, std::int32_t block) const {
    return 2 * block + (block == first_block(tile) ? 1 : 0);
  }
  /// The counter of those that have finished their part of a shared tile: a block can be the first
  /// of one shared tile alone.
  TANDEM_HOST_DEVICE constexpr std::int32_t counter(std::int32_t tile) const {
    return first_block(tile);
  }
};

/// Floats of one partial result: (columns, skinny_tile), columns of which only the product's rows
/// are used.
TANDEM_HOST_DEVICE constexpr std::int64_t skinny_slot_floats(int columns) {
  return static_cast<std::int64_t>(columns) * skinny_tile;
}
/// Bytes of partial results that a product of so many blocks may need.
constexpr std::int64_t skinny_workspace_bytes(std::int64_t blocks, int columns) {
  return 2 * blocks * skinny_slot_floats(columns) * 4;
}

}  // namespace tandem::gpu::cuda
