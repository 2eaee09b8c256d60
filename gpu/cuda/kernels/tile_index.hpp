// Where things lie in the attention kernel's tiles: pure index arithmetic, tested on the host.
// A tile is rows of bf16 in shared memory, in chunks of 16 bytes. Eight lanes that read the same
// chunk of eight neighbouring rows, as the matrix loads do, must find it in eight different groups
// of banks: chunks are exchanged by the row's number.
#pragma once

#include "gpu/cuda/host_device.hpp"

namespace tandem::gpu::cuda {

inline constexpr int chunk_elements = 8;

/// The element at which chunk `chunk` of row `row` begins, in a tile of `chunks` (4, 8 or 16) per
/// row.
TANDEM_HOST_DEVICE constexpr int tile_at(int row, int chunk, int chunks) {
  // A row of 4 chunks is half of all banks: two rows share a turn.
  const int turn = chunks >= 8 ? row % 8 : row / 2 % 4;
  return (row * chunks + (chunk ^ turn)) * chunk_elements;
}

/// Which row and chunk lane `lane` addresses for four 8x8 tiles that make the left operand of
/// 16 rows x 16 columns, beginning at `row` and `chunk`.
struct TileAddress {
  int row, chunk;
};
TANDEM_HOST_DEVICE constexpr TileAddress left_operand(int lane, int row, int chunk) {
  return {row + lane % 16, chunk + lane / 16};
}
/// For the right operands of 16 keys (columns) x 16 elements, K stored by key: tiles in the order
/// keys 0-7, both halves; keys 8-15, both halves.
TANDEM_HOST_DEVICE constexpr TileAddress key_operand(int lane, int key, int chunk) {
  return {key + lane % 8 + lane / 16 * 8, chunk + lane / 8 % 2};
}
/// For the right operands of 16 keys (rows) x 16 elements (columns), V stored by key, transposed by
/// the load: tiles in the order elements 0-7, both halves of keys; elements 8-15.
TANDEM_HOST_DEVICE constexpr TileAddress value_operand(int lane, int key, int chunk) {
  return {key + lane % 16, chunk + lane / 16};
}

/// For the right operands of 8 columns x 32 elements, stored by column: tiles in the order of the
/// elements, two to a product.
TANDEM_HOST_DEVICE constexpr TileAddress long_right_operand(int lane, int column, int chunk) {
  return {column + lane % 8, chunk + lane / 8};
}

/// Of an accumulator fragment of 16 rows x 8 columns: register i of `lane` is this row and column.
TANDEM_HOST_DEVICE constexpr int fragment_row(int lane, int i) { return lane / 4 + i / 2 * 8; }
TANDEM_HOST_DEVICE constexpr int fragment_column(int lane, int i) { return lane % 4 * 2 + i % 2; }

}  // namespace tandem::gpu::cuda
