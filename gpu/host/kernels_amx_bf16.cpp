// Kernels for AMX: the bf16 GEMMs on tiles of 16 x 16, an order of magnitude above vdpbf16ps; the
// rest is that of avx512_bf16. A tile multiplication adds 16 words of k to every sum in one fixed
// order, whatever the number of rows, so batch invariance holds here as in the other sets.
// Panels fit as they are: 16 words of k x 16 columns, rows 256 bytes apart, make one tile.
#define LANES 16
#ifndef NATIVE_BF16  // tests compile this file for CPUs without it
#define NATIVE_BF16 1
#endif
#include "gpu/host/kernel_attend.hpp"
#include "gpu/host/kernel_gemm.hpp"
#include "gpu/host/kernel_rows.hpp"

namespace tandem::gpu {
namespace {

constexpr int64_t amx_rows = 16;     ///< of a tile
constexpr int64_t amx_words = 16;    ///< of k per tile
constexpr size_t panel_bytes = 256;  ///< from word to word of a panel

/// What ldtilecfg reads.
struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

/// Tiles 0 .. 3 are sums, 4 and 5 rows of a, 6 and 7 columns of the panel. With up to 16 rows the
/// sums are one tile high and the panel's four wide, and tile 5 is columns as well; else two by
/// two.
TANDEM_INLINE void configure(int64_t rows) {
  TileConfig config;
  for (int tile = 0; tile < 8; ++tile) {
    config.row_bytes[tile] = 64;
    config.rows[tile] = 16;
  }
  const auto upper = static_cast<uint8_t>(rows < amx_rows ? rows : amx_rows);
  const auto lower = static_cast<uint8_t>(rows - upper);
  constexpr int flat_tiles[] = {0, 1, 2, 3, 4}, upper_tiles[] = {0, 1, 4},
                lower_tiles[] = {2, 3, 5};
  if (rows <= amx_rows) {
    for (const int tile : flat_tiles) config.rows[tile] = upper;
  } else {
    for (const int tile : upper_tiles) config.rows[tile] = upper;
    for (const int tile : lower_tiles) config.rows[tile] = lower;
  }
  _tile_loadconfig(&config);
}

/// One block of K for some rows.
struct TileBlock {
  const uint32_t* a;  ///< the first row's first word of the block
  size_t a_bytes;     ///< from row to row
  const uint32_t* panel;
  int64_t words;
  float* out;
  size_t out_bytes;
  bool continues;         ///< the sums go on from what `out` holds
  const uint32_t* asked;  ///< what to ask for meanwhile, by cache line
};

/// Asks for `Lines` cache lines.
template <int Lines>
TANDEM_INLINE void ask_for_lines(const uint32_t* words) {
#pragma GCC unroll 16
  for (int line = 0; line < Lines; ++line) prefetch(words + line * 16);
}

/// Up to 16 rows, all columns. Asks for `Lines` lines per 16 words of k.
template <int Lines>
TANDEM_INLINE void multiply_flat(const TileBlock& block) {
  constexpr int quarter = Lines / 4;
  float* out = block.out;
  if (block.continues) {
    _tile_loadd(0, out, block.out_bytes);
    _tile_loadd(1, out + 16, block.out_bytes);
    _tile_loadd(2, out + 32, block.out_bytes);
    _tile_loadd(3, out + 48, block.out_bytes);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  const uint32_t* asked = block.asked;
  for (int64_t k = 0; k < block.words; k += amx_words, asked += Lines * 16) {
    const uint32_t* panel = block.panel + k * panel_columns;
    _tile_loadd(4, block.a + k, block.a_bytes);
    ask_for_lines<quarter>(asked);
    _tile_loadd(5, panel, panel_bytes);
    _tile_dpbf16ps(0, 4, 5);
    ask_for_lines<quarter>(asked + quarter * 16);
    _tile_loadd(6, panel + 16, panel_bytes);
    _tile_dpbf16ps(1, 4, 6);
    ask_for_lines<quarter>(asked + quarter * 32);
    _tile_loadd(7, panel + 32, panel_bytes);
    _tile_dpbf16ps(2, 4, 7);
    ask_for_lines<quarter>(asked + quarter * 48);
    _tile_loadd(5, panel + 48, panel_bytes);
    _tile_dpbf16ps(3, 4, 5);
  }
  _tile_stored(0, out, block.out_bytes);
  _tile_stored(1, out + 16, block.out_bytes);
  _tile_stored(2, out + 32, block.out_bytes);
  _tile_stored(3, out + 48, block.out_bytes);
}

/// 17 to 32 rows, the half of the columns that begins at `column`: a tile that is loaded is used
/// twice. Asks for `Lines` lines per 16 words of k.
template <int Lines>
TANDEM_INLINE void multiply_square(const TileBlock& block, int64_t column) {
  const auto* a = reinterpret_cast<const char*>(block.a);
  const char* lower = a + amx_rows * block.a_bytes;
  float* out = block.out + column;
  float* lower_out = out + amx_rows * block.out_bytes / sizeof(float);
  if (block.continues) {
    _tile_loadd(0, out, block.out_bytes);
    _tile_loadd(1, out + 16, block.out_bytes);
    _tile_loadd(2, lower_out, block.out_bytes);
    _tile_loadd(3, lower_out + 16, block.out_bytes);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  const uint32_t* asked = block.asked;
  for (int64_t k = 0; k < block.words; k += amx_words, asked += Lines * 16) {
    const uint32_t* panel = block.panel + k * panel_columns + column;
    ask_for_lines<Lines>(asked);
    _tile_loadd(6, panel, panel_bytes);
    _tile_loadd(4, a + k * 4, block.a_bytes);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, panel + 16, panel_bytes);
    _tile_dpbf16ps(1, 4, 7);
    _tile_loadd(5, lower + k * 4, block.a_bytes);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_stored(0, out, block.out_bytes);
  _tile_stored(1, out + 16, block.out_bytes);
  _tile_stored(2, lower_out, block.out_bytes);
  _tile_stored(3, lower_out + 16, block.out_bytes);
}

/// The words of a block of K. Up to 16 rows pass over the panel once. More share a block that stays
/// in the L1 cache while all of them pass, and ask for the next one together, so that memory is
/// busy from the first to the last; the more rows, the less a longer block's arrival is waited for.
TANDEM_INLINE int64_t block_words_for(const GemmArgs& args) {
  return args.rows <= amx_rows ? args.words : args.rows <= 2 * amx_rows ? 48 : 96;
}

/// out = a * panel, (rows, 64). Between two blocks of K the sums wait in `out`, unrounded: blocks
/// leave no trace in them.
TANDEM_INLINE void multiply_tiles(const GemmArgs& args, float* out, int64_t stride) {
  const int64_t block_words = block_words_for(args);
  // Who shares a block asks for a part of the next; who has it alone, for what is a step ahead.
  const int64_t ahead = args.rows <= amx_rows ? amx_words : block_words;
  const int64_t most = args.rows <= 2 * amx_rows ? amx_rows : 2 * amx_rows;
  int64_t configured = 0;
  for (int64_t k = 0; k < args.words; k += block_words) {
    const int64_t words = args.words - k < block_words ? args.words - k : block_words;
    const uint32_t* panel = args.panel + k * panel_columns;
    TileBlock block{.a = args.a + k,
                    .a_bytes = static_cast<size_t>(args.a_stride) * 4,
                    .panel = panel,
                    .words = words,
                    .out = out,
                    .out_bytes = static_cast<size_t>(stride) * 4,
                    .continues = k > 0,
                    .asked = panel + ahead * panel_columns};
    for (int64_t r = 0; r < args.rows; r += most) {
      const int64_t rows = args.rows - r < most ? args.rows - r : most;
      if (rows != configured) configure(rows);
      configured = rows;
      block.a = args.a + r * args.a_stride + k;
      block.out = out + r * stride;
      if (args.rows <= amx_rows) {
        multiply_flat<64>(block);
      } else if (rows <= amx_rows) {
        multiply_flat<32>(block);
        block.asked += words * 32;
      } else if (r < 2 * most) {
        multiply_square<16>(block, 0);
        block.asked += words * 16;
        multiply_square<16>(block, 32);
        block.asked += words * 16;
      } else {
        multiply_square<0>(block, 0);
        multiply_square<0>(block, 32);
      }
    }
  }
  // Without tiles in use the kernel has nothing of them to save when it switches threads.
  _tile_release();
}

/// Calls finish(part, product) for parts of the rows. The product is kept aside, in cache lines
/// that follow each other: rows of `out` are far apart and would drive each other out of the L1
/// cache between two blocks of K.
template <class Finish>
TANDEM_INLINE void multiply_aside(const GemmArgs& args, const Finish& finish) {
  by_product_rows(args, [&finish](const GemmArgs& part) {
    alignas(64) float product[product_rows * panel_columns];
    multiply_tiles(part, product, panel_columns);
    finish(part, product);
  });
}

/// Calls body(where it goes, its product, its column) for every vector of the product.
template <class Body>
TANDEM_INLINE void for_vectors(const GemmArgs& part, const float* product, const Body& body) {
  for (int64_t r = 0; r < part.rows; ++r) {
    float* out = part.out + r * part.out_stride;
    for (int64_t c = 0; c < panel_columns; c += LANES)
      body(out + c, load<Vector>(product + r * panel_columns + c), c);
  }
}

void amx_store(const GemmArgs& args) {
  if (!args.bias && args.rows <= amx_rows) return multiply_tiles(args, args.out, args.out_stride);
  multiply_aside(args, [](const GemmArgs& part, const float* product) {
    if (part.bias)
      for_vectors(part, product, [&part](float* to, Vector value, int64_t column) {
        store(to, load<Vector>(part.bias + column) + value);
      });
    else
      for_vectors(part, product, [](float* to, Vector value, int64_t) { store(to, value); });
  });
}

void amx_add(const GemmArgs& args) {
  multiply_aside(args, [](const GemmArgs& part, const float* product) {
    for_vectors(part, product,
                [](float* to, Vector value, int64_t) { store(to, load<Vector>(to) + value); });
  });
}

void amx_swiglu(const GemmArgs& args) {
  multiply_aside(args,
                 [](const GemmArgs& part, const float* product) { activate<Bf16>(part, product); });
}

/// Attention's two products on tiles. Tiles 0 .. 3 are sums; 4 rows of queries and 5 a block of K;
/// 6 rows of weights and 7 a block of V, which has 8 words of positions.
struct TileProducts {
  static constexpr int64_t most_rows = amx_rows;
  int64_t configured = 0;

  TANDEM_INLINE void configure_for(int64_t rows) {
    if (rows == configured) return;
    configured = rows;
    constexpr int row_tiles[] = {0, 1, 2, 3, 4, 6};
    TileConfig config;
    for (int tile = 0; tile < 8; ++tile) config.row_bytes[tile] = 64;
    for (const int tile : row_tiles) config.rows[tile] = static_cast<uint8_t>(rows);
    config.rows[5] = 16;
    config.row_bytes[6] = 32;
    config.rows[7] = 8;
    _tile_loadconfig(&config);
  }

  TANDEM_INLINE void score(int64_t rows, const uint32_t* query, int64_t words, const Step& step,
                           const Step& next, float* scores) {
    configure_for(rows);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int64_t k = 0; k < words; k += amx_words) {
      const int64_t word = k * block_positions;
      _tile_loadd(4, query + k, static_cast<size_t>(words) * 4);
      _tile_loadd(5, step.keys[0] + word, 64);
      ask_for_lines<16>(next.keys[0] + word);
      _tile_dpbf16ps(0, 4, 5);
      _tile_loadd(5, step.keys[1] + word, 64);
      ask_for_lines<16>(next.keys[1] + word);
      _tile_dpbf16ps(1, 4, 5);
      _tile_loadd(5, step.keys[2] + word, 64);
      ask_for_lines<16>(next.keys[2] + word);
      _tile_dpbf16ps(2, 4, 5);
      _tile_loadd(5, step.keys[3] + word, 64);
      ask_for_lines<16>(next.keys[3] + word);
      _tile_dpbf16ps(3, 4, 5);
    }
    _tile_stored(0, scores, step_positions * 4);
    _tile_stored(1, scores + 16, step_positions * 4);
    _tile_stored(2, scores + 32, step_positions * 4);
    _tile_stored(3, scores + 48, step_positions * 4);
  }

  TANDEM_INLINE void mix(int64_t rows, const uint32_t* weights, const Step& step, const Step& next,
                         float* mixed, int64_t padded_dim) {
    configure_for(rows);
    const auto bytes = static_cast<size_t>(padded_dim) * 4;
    for (int64_t d = 0; d < padded_dim; d += 32) {
      _tile_loadd(0, mixed + d, bytes);
      _tile_loadd(1, mixed + d + 16, bytes);
      for (int64_t b = 0; b < step.blocks; ++b) {
        _tile_loadd(6, weights + b * 8, step_positions * 4);
        _tile_loadd(7, step.values[b] + d, bytes);
        ask_for_lines<16>(next.values[b] + d / 32 * 256);
        _tile_dpbf16ps(0, 6, 7);
        _tile_loadd(7, step.values[b] + d + 16, bytes);
        _tile_dpbf16ps(1, 6, 7);
      }
      _tile_stored(0, mixed + d, bytes);
      _tile_stored(1, mixed + d + 16, bytes);
    }
  }

  TANDEM_INLINE void finish() { _tile_release(); }
};

/// Heads of whole tiles go through tiles, others through vectors: a model has one kind of head.
void amx_attend(const AttendArgs& args) {
  if (args.head_dim % 32 == 0)
    attend<Bf16, TileProducts>(args);
  else
    attend<Bf16>(args);
}

}  // namespace

const Kernels amx_bf16_kernels{
    "amx_bf16",
    amx_rows,
    {gemm_store<F32>, gemm_add<F32>, gemm_swiglu<F32>, norm<F32>, rotate<F32>, attend<F32>},
    {amx_store, amx_add, amx_swiglu, norm<Bf16>, rotate<Bf16>, amx_attend}};

}  // namespace tandem::gpu
