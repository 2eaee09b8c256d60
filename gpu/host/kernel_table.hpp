// The arithmetic of the host device, as a table of functions that one instruction set fills. Each
// set is one file compiled with its own flags; the program picks a table at start.
//
// Numbers travel as 32-bit words: a word is one float, or two consecutive bf16 of a row. Every loop
// over K is a loop over words, so both formats share their code and their layouts:
//   panel    [word of k][64 columns]           weights; bf16: (k, k+1) of one column side by side
//   K block  [word of head_dim][16 positions]  of one KV head
//   V block  [word of 16 positions][padded_dim]
//
// Batch invariance: every function computes an output element by one fixed sequence of operations
// that depends on that element's row alone: sums over K run upwards in blocks of fixed borders,
// attention walks the context in steps of 64 positions from position 0. So a row gives the same
// bits whatever shares its iteration, however its prompt was cut, and whichever thread computes it.
//
// This header is compiled into every set, so it holds plain data alone: an inline function here
// could be linked from the file that was compiled for the newest CPU.
#pragma once

#include <cstdint>

namespace tandem::gpu {

/// Columns of a packed panel; output rows are padded to a multiple of it.
inline constexpr std::int64_t panel_columns = 64;
/// Every row of words is padded with zeros to a multiple of this.
inline constexpr std::int64_t word_multiple = 16;
/// Query rows times heads that one call of `attend` takes at most.
inline constexpr std::int64_t max_attend_rows = 48;
/// Largest head_dim.
inline constexpr std::int64_t max_head_dim = 512;

/// a[rows, k] * panel[k, 64]; what becomes of the product is the function's own.
struct GemmArgs {
  const std::uint32_t* a = nullptr;
  std::int64_t a_stride = 0;  ///< words from row to row
  std::int64_t rows = 0;
  const std::uint32_t* panel = nullptr;
  std::int64_t words = 0;       ///< k in words
  const float* bias = nullptr;  ///< (64) or none; of `store`
  float* out = nullptr;         ///< (rows, 64); of `store` and `add`
  std::int64_t out_stride = 0;
  std::uint32_t* active = nullptr;  ///< (rows, 32) elements; of `swiglu`
  std::int64_t active_stride = 0;   ///< words
};

/// out = x / sqrt(mean(x^2) + epsilon) * weight, row by row.
struct NormArgs {
  const float* x = nullptr;
  std::int64_t x_stride = 0;
  std::int64_t rows = 0;
  std::int64_t count = 0;         ///< elements of the mean
  std::int64_t padded = 0;        ///< multiple of 64; x and weight are zero beyond count
  const float* weight = nullptr;  ///< (padded)
  float epsilon = 0;
  std::uint32_t* out = nullptr;  ///< words of `padded` elements
  std::int64_t out_stride = 0;
};

/// What stands between the QKV product and attention, for consecutive positions inside one KV
/// block: norm of the heads, rotation, and K and V into the cache.
struct RotateArgs {
  const float* qkv = nullptr;  ///< rows of q heads, k heads, v heads
  std::int64_t qkv_stride = 0;
  std::int64_t rows = 0;
  std::int64_t heads = 0, kv_heads = 0, head_dim = 0;
  const float* angles = nullptr;  ///< rows of head_dim / 2 cosines, then as many sines
  std::int64_t angle_stride = 0;
  const float* q_norm = nullptr;  ///< (head_dim), or none
  const float* k_norm = nullptr;
  float epsilon = 0;
  std::uint32_t* query = nullptr;  ///< rows of (heads, head_dim)
  std::int64_t query_stride = 0;
  std::uint32_t* block = nullptr;  ///< this layer's part of the block: [kv_head][K | V]
  std::int64_t head_stride = 0;    ///< words from KV head to KV head
  std::int64_t value_offset = 0;   ///< words from a head's K to its V
  std::int64_t first = 0;          ///< place of the first row in the block
};

/// Attention of query rows of one sequence over `heads` KV heads that follow each other. Row r of
/// the call is query row (first + r) / group, head (first + r) % group of each KV head's group.
struct AttendArgs {
  const std::uint32_t* query = nullptr;  ///< query row 0, the first group's first head
  std::int64_t query_stride = 0;
  std::int64_t head_words = 0;  ///< words of head_dim
  std::int64_t head_dim = 0;
  std::int64_t group = 1;  ///< query heads per KV head
  std::int64_t heads = 1;  ///< KV heads
  std::int64_t first = 0, rows = 0;
  std::int64_t position = 0;             ///< of query row 0, which sees position + 1 positions
  const std::uint32_t* cache = nullptr;  ///< this layer's and first KV head's K in block 0
  std::int64_t head_stride = 0;          ///< words from KV head to KV head
  std::int64_t block_stride = 0;         ///< words
  std::int64_t value_offset = 0;
  const std::uint32_t* blocks = nullptr;  ///< the sequence's block table
  float scale = 1;
  std::uint32_t* out = nullptr;  ///< laid out as the query
  std::int64_t out_stride = 0;
};

/// The functions of one format of weights, GEMM inputs and KV.
struct FormatKernels {
  void (*gemm_store)(const GemmArgs&);   ///< out = product + bias
  void (*gemm_add)(const GemmArgs&);     ///< out += product
  void (*gemm_swiglu)(const GemmArgs&);  ///< active = silu(columns 0..31) * columns 32..63
  void (*norm)(const NormArgs&);
  void (*rotate)(const RotateArgs&);
  void (*attend)(const AttendArgs&);
};

struct Kernels {
  const char* name;
  std::int64_t tile_rows;  ///< rows whose sums stay in registers together
  FormatKernels f32, bf16;
};

extern const Kernels portable_kernels;
extern const Kernels avx2_kernels;
extern const Kernels avx512_kernels;
extern const Kernels avx512_bf16_kernels;
extern const Kernels amx_bf16_kernels;

}  // namespace tandem::gpu
