// GEMM of one panel. A tile of rows x vectors keeps its sums in registers while it runs down a
// block of K; each sum is one chain of multiply-adds per block, and blocks are added up in order,
// so the shape of the tile leaves no trace in the result.
// Decode (few rows) is limited by the bytes of the panel, prefill by arithmetic: 24 dot products
// per 10 loads.
#pragma once

#include "gpu/host/kernel_simd.hpp"

namespace tandem::gpu {
namespace {

constexpr int tile_rows = LANES == 4 ? 4 : 6;

/// Registers that a tile is wide: as many as leave room for the weights, at least enough to hide
/// the latency of a chain.
constexpr int vectors_for([[maybe_unused]] int rows) {
#if LANES == 16
  return 4;
#else
  return rows == 1 ? 8 : rows == 2 ? 4 : 2;
#endif
}

/// K in words per block, at most: a block and the one that is asked for meanwhile stay in the L2
/// cache, and a chain of additions stays short enough for the rounding errors in it, to which f32
/// owes more.
template <class Format>
constexpr int64_t most_block_words = 96 * Format::per_word;

/// Calls body.template run<rows>() for a `rows` that is known at run time, 1 .. tile_rows.
template <class Body, int Rows = tile_rows>
TANDEM_INLINE void with_rows(int64_t rows, const Body& body) {
  if constexpr (Rows >= 1) {
    if (rows == Rows) return body.template run<Rows>();
    with_rows<Body, Rows - 1>(rows, body);
  }
}

/// The number of rows of the next tile, when `left` are left: tiles of up to `most` rows, of nearly
/// equal height.
TANDEM_INLINE int64_t next_tile(int64_t left, int64_t most) {
  const int64_t tiles = (left + most - 1) / most;
  return (left + tiles - 1) / tiles;
}

/// sums[r][v] += a[r, 0 .. words) * columns(v)[0 .. words): `columns(v)` is the address of a
/// vector of words of k 0; the next k is `stride` words further. Meanwhile asks for `Lines` cache
/// lines beside each k, one after another from `next` on.
template <class Format, int Rows, int Vectors, int Lines = 0, class Columns>
TANDEM_INLINE void accumulate(Vector (&sums)[Rows][Vectors], const uint32_t* a, int64_t a_stride,
                              int64_t words, int64_t stride, const Columns& columns,
                              const uint32_t* next = nullptr) {
  for (int64_t k = 0; k < words; ++k) {
#pragma GCC unroll 4
    for (int line = 0; line < Lines; ++line) prefetch_far(next + (k * Lines + line) * 16);
    Words weights[Vectors];
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v) weights[v] = load<Words>(columns(v) + k * stride);
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      const auto pair = a[r * a_stride + k];
#pragma GCC unroll 8
      for (int v = 0; v < Vectors; ++v) sums[r][v] = Format::dot(sums[r][v], weights[v], pair);
    }
  }
}

enum class Finish { store, add };

/// What a tile does, as an object that with_rows can give its number of rows.
template <class Format>
struct GemmTile {
  const uint32_t* a;
  int64_t a_stride;
  const uint32_t* panel;
  int64_t words;
  const float* bias;
  float* out;
  int64_t out_stride;
  Finish finish;
  const uint32_t* next;  ///< what to ask for meanwhile, if anything
  int lines;             ///< of it, per word of k

  template <int Rows>
  TANDEM_INLINE void run() const {
    constexpr int vectors = vectors_for(Rows);
    for (int64_t c = 0; c < panel_columns; c += vectors * LANES) {
      Vector sums[Rows][vectors] = {};
      const auto* base = panel + c;
      const auto columns = [base](int v) { return base + v * LANES; };
      // Sets that pass over a panel several times ask for one line per k and pass.
      constexpr int width = vectors * LANES;
      const int64_t pass = c / width;
      const int asked = width == panel_columns ? lines : pass < lines ? 1 : 0;
      const auto fill = [&]<int Lines> {
        accumulate<Format, Rows, vectors, Lines>(sums, a, a_stride, words, panel_columns, columns,
                                                 next + pass * words * 16);
      };
      if (asked == 0)
        fill.template operator()<0>();
      else if (asked == 1)
        fill.template operator()<1>();
      else
        fill.template operator()<2>();
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 8
        for (int v = 0; v < vectors; ++v) {
          float* to = out + r * out_stride + c + v * LANES;
          if (finish == Finish::add)
            store(to, load<Vector>(to) + sums[r][v]);
          else if (bias)
            store(to, load<Vector>(bias + c + v * LANES) + sums[r][v]);
          else
            store(to, sums[r][v]);
        }
      }
    }
  }
};

template <class Format>
TANDEM_INLINE void multiply(const GemmArgs& args, float* out, int64_t out_stride, Finish finish) {
  const int64_t tiles = (args.rows + tile_rows - 1) / tile_rows;
  // One tile reads the panel as a stream, which the hardware recognises. Several read each block
  // several times and share out the next one, so that memory is busy while the arithmetic is.
  const int lines = tiles == 1 ? 0 : tiles <= 3 ? 2 : 1;
  constexpr int64_t most = most_block_words<Format>;
  const int64_t blocks = (args.words + most - 1) / most;
  const int64_t block_words = (args.words + blocks - 1) / blocks;
  for (int64_t k = 0; k < args.words; k += block_words) {
    const int64_t words = args.words - k < block_words ? args.words - k : block_words;
    const uint32_t* block = args.panel + k * panel_columns;
    for (int64_t r = 0, index = 0; r < args.rows; ++index) {
      const int64_t rows = next_tile(args.rows - r, tile_rows);
      const GemmTile<Format> tile{args.a + r * args.a_stride + k,
                                  args.a_stride,
                                  block,
                                  words,
                                  args.bias,
                                  out + r * out_stride,
                                  out_stride,
                                  k > 0 ? Finish::add : finish,
                                  block + words * (panel_columns + index * lines * 16),
                                  index * lines < 4 ? lines : 0};
      with_rows(rows, tile);
      r += rows;
    }
  }
}

template <class Format>
void gemm_store(const GemmArgs& args) {
  multiply<Format>(args, args.out, args.out_stride, Finish::store);
}

template <class Format>
void gemm_add(const GemmArgs& args) {
  multiply<Format>(args, args.out, args.out_stride, Finish::add);
}

/// Rows whose product is kept aside before it goes where it belongs.
constexpr int64_t product_rows = 96;

/// Calls body(args of a part) for parts of up to product_rows rows.
template <class Body>
TANDEM_INLINE void by_product_rows(const GemmArgs& args, const Body& body) {
  for (int64_t r = 0; r < args.rows; r += product_rows) {
    GemmArgs part = args;
    part.a += r * args.a_stride;
    part.rows = args.rows - r < product_rows ? args.rows - r : product_rows;
    if (part.out) part.out += r * args.out_stride;
    if (part.active) part.active += r * args.active_stride;
    body(part);
  }
}

/// The product of a panel of 32 columns of gate and the same 32 of up becomes 32 activations.
template <class Format>
TANDEM_INLINE void activate(const GemmArgs& args, const float* product) {
  constexpr int64_t half = panel_columns / 2;
  for (int64_t r = 0; r < args.rows; ++r) {
    const float* gate = product + r * panel_columns;
    for (int64_t c = 0; c < half; c += LANES) {
      const auto g = load<Vector>(gate + c);
      const auto up = load<Vector>(gate + half + c);
      Format::put(args.active + r * args.active_stride, c, g / (1.0F + exponential(-g)) * up);
    }
  }
}

template <class Format>
void gemm_swiglu(const GemmArgs& args) {
  by_product_rows(args, [](const GemmArgs& part) {
    alignas(64) float product[product_rows * panel_columns];
    multiply<Format>(part, product, panel_columns, Finish::store);
    activate<Format>(part, product);
  });
}

}  // namespace
}  // namespace tandem::gpu
