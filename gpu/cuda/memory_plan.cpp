// See memory_plan.hpp.
#include "gpu/cuda/memory_plan.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>

#include "gpu/cuda/buckets.hpp"

namespace tandem::gpu::cuda {
namespace {

constexpr std::int64_t alignment = 256;
constexpr std::int64_t f32 = 4, bf16 = 2, i32 = 4;

std::int64_t place(std::int64_t& next, std::int64_t bytes) {
  const auto at = next;
  next = round_up(next + bytes, alignment);
  return at;
}

std::string gigabytes(std::int64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f GB", static_cast<double>(bytes) / 1e9);
  return text;
}

}  // namespace

WorkspacePlan::WorkspacePlan(const ModelShape& shape, const IterationCapacity& capacity) {
  const auto rows = bucket_of(capacity.rows);
  logit_rows_ = std::min(logit_rows, bucket_of(std::min(capacity.sequences, capacity.rows)));
  logit_stride_ = round_up(shape.vocab, 8);
  const auto partial_rows = 2 * capacity.extra_items * shape.kv_heads * prefill_tile_rows;
  std::int64_t next = 0;
  residual_ = place(next, f32 * rows * shape.hidden);
  normed_ = place(next, bf16 * std::max(rows, logit_rows_) * shape.hidden);
  qkv_ = place(next, bf16 * rows * shape.qkv_width());
  query_ = place(next, bf16 * rows * shape.heads * shape.stored_head_dim);
  attended_ = place(next, bf16 * rows * shape.query_width());
  gate_up_ = place(next, bf16 * rows * 2 * shape.intermediate);
  active_ = place(next, bf16 * rows * shape.intermediate);
  logits_ = place(next, f32 * logit_rows_ * logit_stride_);
  partial_out_ = place(next, f32 * partial_rows * shape.head_dim);
  partial_lse_ = place(next, f32 * partial_rows);
  counts_ = place(next, f32 * capacity.sequences * shape.vocab);
  angles_ = place(next, f32 * capacity.context * shape.head_dim);
  drawn_ = place(next, i32 * static_cast<std::int64_t>(max_on_device) * capacity.sequences);
  gemm_ = place(next, gemm_workspace_bytes);
  iteration_ = place(next, IterationLayout(capacity).bytes().value());
  total_ = next;
}

Workspace WorkspacePlan::carve(std::byte* base) const {
  const auto floats = [&](std::int64_t at) { return reinterpret_cast<float*>(base + at); };
  const auto halves = [&](std::int64_t at) { return reinterpret_cast<std::uint16_t*>(base + at); };
  return {.residual = floats(residual_),
          .normed = halves(normed_),
          .qkv = halves(qkv_),
          .query = halves(query_),
          .attended = halves(attended_),
          .gate_up = halves(gate_up_),
          .active = halves(active_),
          .logits = floats(logits_),
          .partial_out = floats(partial_out_),
          .partial_lse = floats(partial_lse_),
          .counts = reinterpret_cast<std::uint32_t*>(base + counts_),
          .angles = floats(angles_),
          .drawn = reinterpret_cast<std::int32_t*>(base + drawn_),
          .gemm = base + gemm_,
          .iteration = base + iteration_};
}

Result<Blocks> kv_blocks_for(MemoryInfo memory, double fraction, Bytes block) {
  const auto kept = static_cast<std::int64_t>(
      std::ceil((1.0 - fraction) * static_cast<double>(memory.total.value())));
  const auto usable = memory.free.value() - kept;
  const auto blocks = usable < 0 ? 0 : usable / block.value();
  if (blocks >= 2) return Blocks(std::min<std::int64_t>(blocks, (1LL << 31) / key_block - 1));
  char share[32];
  std::snprintf(share, sizeof share, "%g", fraction);
  return error(Errc::invalid_value,
               std::string("gpu_memory_fraction is ") + share + ": weights and workspaces leave " +
                   gigabytes(memory.free.value()) + " of the device's " +
                   gigabytes(memory.total.value()) + " free, and " + gigabytes(kept) +
                   " of it must stay so; at least 2 KV blocks of " + std::to_string(block.value()) +
                   " bytes are needed: allow a larger fraction, fewer rows or slots, or take a "
                   "smaller model",
               "gpu_memory_fraction");
}

}  // namespace tandem::gpu::cuda
