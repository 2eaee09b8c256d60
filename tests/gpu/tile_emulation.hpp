// The tile instructions that kernels_amx_bf16.cpp uses, in plain C++, after the operation sections
// of the Intel SDM (volume 2, LDTILECFG, TILELOADD, TDPBF16PS): to hold those kernels to the truth
// on CPUs without AMX. Takes the place of the intrinsics for the rest of the including file. What
// the CPU would refuse with an exception stops the program with a word on what was wrong.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <immintrin.h>

namespace tandem::gpu {
namespace {

struct EmulatedTile {
  std::uint8_t rows = 0;
  std::uint16_t row_bytes = 0;
  alignas(64) std::uint32_t words[16][16] = {};
};

thread_local EmulatedTile emulated_tiles[8];
thread_local bool emulated_configured = false;

inline void emulated_require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "tile emulation: %s\n", what);
  std::abort();
}

inline EmulatedTile& emulated_tile(int index) {
  emulated_require(emulated_configured, "a tile is used while none is configured");
  emulated_require(emulated_tiles[index].rows > 0, "a tile without rows is used");
  return emulated_tiles[index];
}

inline void emulated_release() {
  for (auto& tile : emulated_tiles) tile = {};
  emulated_configured = false;
}

/// 64 bytes: palette, start row, from byte 16 the tiles' bytes per row, from byte 48 their rows.
inline void emulated_loadconfig(const void* from) {
  std::uint8_t bytes[64];
  std::memcpy(bytes, from, sizeof bytes);
  emulated_require(bytes[0] == 1 && bytes[1] == 0, "the palette is not 1, or a start row is set");
  for (int i = 2; i < 16; ++i) emulated_require(bytes[i] == 0, "a reserved byte is set");
  emulated_release();
  for (int i = 0; i < 16; ++i) {
    std::uint16_t row_bytes;
    std::memcpy(&row_bytes, bytes + 16 + 2 * i, sizeof row_bytes);
    const auto rows = bytes[48 + i];
    emulated_require(row_bytes <= 64 && rows <= 16, "a tile is larger than 16 rows of 64 bytes");
    emulated_require((row_bytes == 0) == (rows == 0), "a tile has rows or columns, but not both");
    emulated_require(i < 8 || rows == 0, "there are 8 tiles");
    if (i >= 8) continue;
    emulated_tiles[i].rows = rows;
    emulated_tiles[i].row_bytes = row_bytes;
  }
  emulated_configured = true;
}

inline void emulated_zero(int index) {
  auto& tile = emulated_tile(index);
  std::memset(tile.words, 0, sizeof tile.words);
}

inline void emulated_load(int index, const void* base, std::size_t stride) {
  emulated_zero(index);
  auto& tile = emulated_tile(index);
  for (std::size_t r = 0; r < tile.rows; ++r)
    std::memcpy(tile.words[r], static_cast<const char*>(base) + r * stride, tile.row_bytes);
}

inline void emulated_store(int index, void* base, std::size_t stride) {
  const auto& tile = emulated_tile(index);
  for (std::size_t r = 0; r < tile.rows; ++r)
    std::memcpy(static_cast<char*>(base) + r * stride, tile.words[r], tile.row_bytes);
}

inline float emulated_float(std::uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

/// Denormals count as zeros, as operands and as results.
inline float emulated_flushed(float value) {
  return __builtin_fabsf(value) < 1.17549435e-38F ? 0.0F : value;
}

/// sums += a * b: per element two chains of fused multiply-adds over k, of the even and of the odd
/// elements, then the sum of both onto what is there.
inline void emulated_dpbf16ps(int sums_index, int a_index, int b_index) {
  auto& sums = emulated_tile(sums_index);
  const auto& a = emulated_tile(a_index);
  const auto& b = emulated_tile(b_index);
  emulated_require(
      sums.rows == a.rows && sums.row_bytes == b.row_bytes && a.row_bytes == 4 * b.rows,
      "the shapes of a product do not fit");
  emulated_require(sums_index != a_index && sums_index != b_index && a_index != b_index,
                   "a product takes three different tiles");
  for (int m = 0; m < sums.rows; ++m) {
    float even[16] = {}, odd[16] = {};
    for (int k = 0; k < b.rows; ++k) {
      const float low = emulated_flushed(emulated_float(a.words[m][k] << 16));
      const float high = emulated_flushed(emulated_float(a.words[m][k] & 0xffff0000U));
      for (int n = 0; n < 16; ++n) {
        const auto word = b.words[k][n];
        const float b_low = emulated_flushed(emulated_float(word << 16));
        const float b_high = emulated_flushed(emulated_float(word & 0xffff0000U));
        even[n] = emulated_flushed(__builtin_fmaf(low, b_low, even[n]));
        odd[n] = emulated_flushed(__builtin_fmaf(high, b_high, odd[n]));
      }
    }
    for (int n = 0; n < 16; ++n) {
      const float product = emulated_flushed(even[n] + odd[n]);
      const float sum = emulated_flushed(emulated_float(sums.words[m][n])) + product;
      const float result = emulated_flushed(sum);
      std::memcpy(&sums.words[m][n], &result, sizeof result);
    }
  }
  for (int m = sums.rows; m < 16; ++m) std::memset(sums.words[m], 0, sizeof sums.words[m]);
}

}  // namespace
}  // namespace tandem::gpu

#undef _tile_loadd
#undef _tile_stored
#undef _tile_zero
#undef _tile_dpbf16ps
#define _tile_loadconfig(from) ::tandem::gpu::emulated_loadconfig(from)
#define _tile_release() ::tandem::gpu::emulated_release()
#define _tile_zero(tile) ::tandem::gpu::emulated_zero(tile)
#define _tile_loadd(tile, base, stride) ::tandem::gpu::emulated_load(tile, base, stride)
#define _tile_stored(tile, base, stride) ::tandem::gpu::emulated_store(tile, base, stride)
#define _tile_dpbf16ps(sums, a, b) ::tandem::gpu::emulated_dpbf16ps(sums, a, b)
