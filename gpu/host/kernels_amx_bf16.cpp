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
constexpr int64_t ahead_words = 16;  ///< how far in front of a short product lines are asked for

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

/// Asks for 16 of the 64 cache lines that one step of k reads.
TANDEM_INLINE void ask_for_quarter(const uint32_t* lines) {
#pragma GCC unroll 16
  for (int line = 0; line < 16; ++line) prefetch(lines + line * 16);
}

/// Up to 16 rows. Whoever reads a panel first waits for its bytes, and asks for them in time.
template <bool Asks>
TANDEM_INLINE void multiply_flat(const GemmArgs& args, const uint32_t* a, float* out,
                                 int64_t out_stride) {
  const auto a_bytes = static_cast<size_t>(args.a_stride) * 4;
  const auto out_bytes = static_cast<size_t>(out_stride) * 4;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int64_t k = 0; k < args.words; k += amx_words) {
    const uint32_t* panel = args.panel + k * panel_columns;
    const uint32_t* next = panel + ahead_words * panel_columns;
    _tile_loadd(4, a + k, a_bytes);
    if constexpr (Asks) ask_for_quarter(next);
    _tile_loadd(5, panel, panel_bytes);
    _tile_dpbf16ps(0, 4, 5);
    if constexpr (Asks) ask_for_quarter(next + 256);
    _tile_loadd(6, panel + 16, panel_bytes);
    _tile_dpbf16ps(1, 4, 6);
    if constexpr (Asks) ask_for_quarter(next + 512);
    _tile_loadd(7, panel + 32, panel_bytes);
    _tile_dpbf16ps(2, 4, 7);
    if constexpr (Asks) ask_for_quarter(next + 768);
    _tile_loadd(5, panel + 48, panel_bytes);
    _tile_dpbf16ps(3, 4, 5);
  }
  _tile_stored(0, out, out_bytes);
  _tile_stored(1, out + 16, out_bytes);
  _tile_stored(2, out + 32, out_bytes);
  _tile_stored(3, out + 48, out_bytes);
}

/// 17 to 32 rows, half of the panel's columns: limited by arithmetic, on a panel that is there.
TANDEM_INLINE void multiply_square(const GemmArgs& args, const uint32_t* a, int64_t column,
                                   float* out, int64_t out_stride) {
  const auto a_bytes = static_cast<size_t>(args.a_stride) * 4;
  const auto out_bytes = static_cast<size_t>(out_stride) * 4;
  const uint32_t* lower = a + amx_rows * args.a_stride;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int64_t k = 0; k < args.words; k += amx_words) {
    const uint32_t* panel = args.panel + k * panel_columns + column;
    _tile_loadd(6, panel, panel_bytes);
    _tile_loadd(4, a + k, a_bytes);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, panel + 16, panel_bytes);
    _tile_dpbf16ps(1, 4, 7);
    _tile_loadd(5, lower + k, a_bytes);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  float* lower_out = out + amx_rows * out_stride;
  _tile_stored(0, out, out_bytes);
  _tile_stored(1, out + 16, out_bytes);
  _tile_stored(2, lower_out, out_bytes);
  _tile_stored(3, lower_out + 16, out_bytes);
}

/// product = a * panel, (rows, 64)
TANDEM_INLINE void multiply_tiles(const GemmArgs& args, float* product, int64_t stride) {
  int64_t configured = 0;
  for (int64_t r = 0; r < args.rows;) {
    const int64_t left = args.rows - r, most = r == 0 ? amx_rows : 2 * amx_rows;
    const int64_t rows = left < most ? left : most;
    if (rows != configured) configure(rows);
    configured = rows;
    const uint32_t* a = args.a + r * args.a_stride;
    float* out = product + r * stride;
    if (r == 0) {
      multiply_flat<true>(args, a, out, stride);
    } else if (rows <= amx_rows) {
      multiply_flat<false>(args, a, out, stride);
    } else {
      multiply_square(args, a, 0, out, stride);
      multiply_square(args, a, 32, out + 32, stride);
    }
    r += rows;
  }
  // Without tiles in use the kernel has nothing of them to save when it switches threads.
  _tile_release();
}

void amx_store(const GemmArgs& args) {
  multiply_tiles(args, args.out, args.out_stride);
  if (!args.bias) return;
  for (int64_t r = 0; r < args.rows; ++r) {
    float* row = args.out + r * args.out_stride;
    for (int64_t c = 0; c < panel_columns; c += LANES)
      store(row + c, load<Vector>(args.bias + c) + load<Vector>(row + c));
  }
}

void amx_add(const GemmArgs& args) {
  by_product_rows(args, [](const GemmArgs& part) {
    alignas(64) float product[product_rows * panel_columns];
    multiply_tiles(part, product, panel_columns);
    for (int64_t r = 0; r < part.rows; ++r) {
      float* row = part.out + r * part.out_stride;
      for (int64_t c = 0; c < panel_columns; c += LANES)
        store(row + c, load<Vector>(row + c) + load<Vector>(product + r * panel_columns + c));
    }
  });
}

void amx_swiglu(const GemmArgs& args) {
  by_product_rows(args, [](const GemmArgs& part) {
    alignas(64) float product[product_rows * panel_columns];
    multiply_tiles(part, product, panel_columns);
    activate<Bf16>(part, product);
  });
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
                           float* scores) {
    configure_for(rows);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int64_t k = 0; k < words; k += amx_words) {
      _tile_loadd(4, query + k, static_cast<size_t>(words) * 4);
      _tile_loadd(5, step.keys[0] + k * block_positions, 64);
      _tile_dpbf16ps(0, 4, 5);
      _tile_loadd(5, step.keys[1] + k * block_positions, 64);
      _tile_dpbf16ps(1, 4, 5);
      _tile_loadd(5, step.keys[2] + k * block_positions, 64);
      _tile_dpbf16ps(2, 4, 5);
      _tile_loadd(5, step.keys[3] + k * block_positions, 64);
      _tile_dpbf16ps(3, 4, 5);
    }
    _tile_stored(0, scores, step_positions * 4);
    _tile_stored(1, scores + 16, step_positions * 4);
    _tile_stored(2, scores + 32, step_positions * 4);
    _tile_stored(3, scores + 48, step_positions * 4);
  }

  TANDEM_INLINE void mix(int64_t rows, const uint32_t* weights, const Step& step, float* mixed,
                         int64_t padded_dim) {
    configure_for(rows);
    const auto bytes = static_cast<size_t>(padded_dim) * 4;
    for (int64_t d = 0; d < padded_dim; d += 32) {
      _tile_loadd(0, mixed + d, bytes);
      _tile_loadd(1, mixed + d + 16, bytes);
      for (int64_t b = 0; b < step.blocks; ++b) {
        _tile_loadd(6, weights + b * 8, step_positions * 4);
        _tile_loadd(7, step.values[b] + d, bytes);
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
