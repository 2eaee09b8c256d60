// How the device's memory is divided: weights, workspaces of a fixed size, and KV blocks in what is
// left. Pure arithmetic; nothing is allocated after start.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/result.hpp"
#include "core/units.hpp"
#include "gpu/cuda/driver.hpp"
#include "gpu/cuda/iteration.hpp"
#include "gpu/cuda/model_shape.hpp"

namespace tandem::gpu::cuda {

/// What the GEMM library may use at a time.
inline constexpr std::int64_t gemm_workspace_bytes = 32LL << 20;
/// Rows whose logits are in memory at once.
inline constexpr std::int64_t logit_rows = 256;

/// Rows in memory are those of the largest bucket. bf16 is stored as its 16 bits.
struct Workspace {
  float* residual = nullptr;          ///< (rows, hidden)
  std::uint16_t* normed = nullptr;    ///< (max(rows, logit rows), hidden)
  std::uint16_t* qkv = nullptr;       ///< (rows, (heads + 2 kv_heads) * head_dim)
  std::uint16_t* query = nullptr;     ///< (rows, heads, stored_head_dim)
  std::uint16_t* attended = nullptr;  ///< (rows, heads * head_dim)
  std::uint16_t* gate_up = nullptr;   ///< (rows, 2 * intermediate)
  std::uint16_t* active = nullptr;    ///< (rows, intermediate)
  float* logits = nullptr;            ///< (logit rows, logit_stride)
  float* partial_out = nullptr;       ///< (partials, kv_heads, prefill_tile_rows, head_dim)
  float* partial_lse = nullptr;       ///< (partials, kv_heads, prefill_tile_rows)
  std::uint32_t* counts = nullptr;    ///< (slots, vocab), words of SeenEntry
  float* angles = nullptr;            ///< (context, head_dim): cosines, then sines
  std::int32_t* drawn = nullptr;      ///< (max_on_device, slots): tokens, see IterationHeader
  std::byte* gemm = nullptr;
  std::byte* iteration = nullptr;
};

class WorkspacePlan {
 public:
  WorkspacePlan(const ModelShape& shape, const IterationCapacity& capacity);

  [[nodiscard]] Bytes bytes() const { return Bytes(total_); }
  /// Elements from one row of logits to the next.
  [[nodiscard]] std::int64_t logit_stride() const { return logit_stride_; }
  /// Rows that sample in one pass of the head.
  [[nodiscard]] std::int64_t logit_rows_at_once() const { return logit_rows_; }
  [[nodiscard]] Workspace carve(std::byte* base) const;

 private:
  std::int64_t logit_stride_ = 0, logit_rows_ = 0;
  std::int64_t residual_ = 0, normed_ = 0, qkv_ = 0, query_ = 0, attended_ = 0, gate_up_ = 0;
  std::int64_t active_ = 0, logits_ = 0, partial_out_ = 0, partial_lse_ = 0, counts_ = 0;
  std::int64_t angles_ = 0, drawn_ = 0, gemm_ = 0, iteration_ = 0, total_ = 0;
};

/// How many KV blocks fit when the process may take `fraction` of the device and everything else is
/// allocated. Fails by the name of gpu_memory_fraction if they are fewer than 2.
Result<Blocks> kv_blocks_for(MemoryInfo memory, double fraction, Bytes block);

}  // namespace tandem::gpu::cuda
