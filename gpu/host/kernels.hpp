// The arithmetic of the host device, as a table of functions that one instruction set fills. Each
// set is one file compiled with its own flags; the program picks a table at start.
//
// Batch invariance: every function computes an output element by one fixed sequence of operations
// that depends on that element's row alone: sums over K run from 0 upwards in one accumulator,
// attention walks the context block by block from position 0. So a row gives the same bits whatever
// shares its iteration, however its prompt was cut, and whichever thread computes it.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace tandem::gpu {

/// Columns of a packed panel; output rows are padded to a multiple of it.
inline constexpr std::int64_t panel_columns = 64;

constexpr std::int64_t pad_to(std::int64_t n, std::int64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

/// One query row's heads of one KV head. K block: [kv_head][head_dim][16]; V block:
/// [kv_head][16][padded_dim].
struct AttendArgs {
  const float* query = nullptr;  ///< (group, head_dim), rotated
  float* out = nullptr;          ///< (group, head_dim)
  const void* keys = nullptr;    ///< this layer's K blocks
  const void* values = nullptr;  ///< this layer's V blocks
  const std::uint32_t* blocks = nullptr;
  std::int64_t key_block_stride = 0, value_block_stride = 0;  ///< elements from block to block
  std::int64_t key_offset = 0, value_offset = 0;              ///< of the KV head within a block
  std::int64_t length = 0;  ///< positions that the row sees, itself included
  std::int64_t group = 1, head_dim = 0, padded_dim = 0;
  float scale = 1;
};

struct Kernels {
  std::string_view name;
  /// out[rows, 64] (+)= a[rows, k] * panel[k, 64]; rows lie lda and ldo elements apart.
  void (*gemm_f32)(const float* a, std::int64_t lda, const float* panel, std::int64_t k, float* out,
                   std::int64_t ldo, std::int64_t rows, bool add);
  /// The same with bf16 operands in pairs along k: panel[k/2, 64, 2]; f32 accumulation.
  void (*gemm_bf16)(const std::uint16_t* a, std::int64_t lda, const std::uint16_t* panel,
                    std::int64_t k, float* out, std::int64_t ldo, std::int64_t rows, bool add);
  /// out = x / rms(x) * weight.
  void (*rmsnorm)(float* out, const float* x, const float* weight, std::int64_t n, float eps);
  /// Rounds to nearest even.
  void (*to_bf16)(std::uint16_t* out, const float* x, std::int64_t n);
  /// Rotates the halves of one head: x[i], x[i + half] by angle i.
  void (*rope)(float* x, const float* cosines, const float* sines, std::int64_t half);
  /// out = gate / (1 + exp(-gate)) * up.
  void (*swiglu)(float* out, const float* gate, const float* up, std::int64_t n);
  void (*attend_f32)(const AttendArgs& args);
  void (*attend_bf16)(const AttendArgs& args);
};

const Kernels& portable_kernels();
const Kernels& avx2_kernels();
const Kernels& avx512_kernels();
const Kernels& avx512_bf16_kernels();

/// Tables that this CPU can run, best first; the portable one is always there.
std::vector<const Kernels*> supported_kernels();

}  // namespace tandem::gpu
