// FlashInfer's planners and kernels as plain functions: the only place where the backend and its
// headers meet. Behind them each translation unit of kernels/ holds one kernel; without the headers
// (TANDEM_FLASHINFER) there are none. Tests put their own in their place.
//
// A batch is a run of sequences whose query rows and whose entries in the block tables follow one
// another: the prefill part of an iteration, or its decode part. FA2 is FlashInfer's kernel for
// compute capability 8.0 and newer; it packs the heads that share a KV head, in tiles of 16, 64 or
// 128 rows, and may split the keys. FA3 is the one for 9.0 alone; it does neither.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/result.hpp"
#include "gpu/cuda/driver.hpp"

namespace tandem::gpu::cuda::flashinfer {

enum class Kernel : std::uint8_t { fa2, fa3 };

/// Heads are this wide or FlashInfer is not built for them.
constexpr bool has_kernel_for(std::int64_t head_dim) { return head_dim == 64 || head_dim == 128; }

struct Heads {
  std::int32_t query = 0, kv = 0, dim = 0;
};

/// What a planner reads, all of it on the host.
struct PlanInput {
  Heads heads;
  std::int32_t sequences = 0;
  const std::int32_t* query_starts = nullptr;  ///< (sequences + 1): first row, from 0
  const std::int32_t* page_starts = nullptr;   ///< (sequences + 1): first entry of the block tables
  const std::int32_t* key_counts = nullptr;    ///< (sequences): keys, those of the rows included
  std::int32_t multiprocessors = 0;
  std::int32_t compute_major = 0, compute_minor = 0;
};

/// Where a planner writes: arrays at the same distances in `host` as they will have on the device
/// in `device`, and how much the partial results of split keys may take there.
struct PlanMemory {
  std::byte* host = nullptr;
  std::byte* device = nullptr;
  std::size_t bytes = 0;
  std::size_t partial_bytes = 0;
};

/// Where arrays begin, in bytes from the plan's memory or that of partial results.
struct Fa2Plan {
  std::int64_t used_bytes = 0;  ///< of the plan's memory, to be copied
  std::int64_t tile_rows = 0;   ///< 16, 64 or 128 packed rows
  std::int64_t items = 0;
  std::int64_t item_sequences = 0, item_tiles = 0, item_pieces = 0;
  std::int64_t out_starts = 0, merge_starts = 0, piece_keys = 0;
  std::int64_t partial_out = 0, partial_lse = 0;
  bool splits_keys = false;
};
struct Fa3Plan {
  std::int64_t used_bytes = 0;
  std::int64_t work_starts = 0;  ///< by multiprocessor
  std::int64_t tiles = 0, query_starts = 0, page_starts = 0, query_counts = 0, key_counts = 0;
  std::int64_t heads = 0, sequences = 0;
};

/// What a kernel reads and writes, all of it on the device. bf16 as its 16 bits.
struct RunArgs {
  Heads heads;
  std::int32_t sequences = 0, rows = 0;
  const std::uint16_t* query = nullptr;                    ///< (rows, query heads, dim)
  std::uint16_t* out = nullptr;                            ///< (rows, query heads, dim)
  const std::uint16_t *keys = nullptr, *values = nullptr;  ///< of the layer: block 0, head 0
  std::int64_t page_stride = 0, head_stride = 0, token_stride = 0;  ///< elements
  const std::uint32_t* pages = nullptr;                             ///< block tables
  const std::int32_t *query_starts = nullptr, *page_starts = nullptr;
  const std::int32_t* last_page_keys = nullptr;  ///< (sequences): keys in the last page, 1 to 16
  std::byte* plan = nullptr;
  std::byte* partials = nullptr;
  float scale = 0;
};

/// Planners allocate on the host and touch no device. What they refuse is an Error, never an
/// exception.
struct Functions {
  Result<Fa2Plan> (*plan_fa2)(const PlanInput&, const PlanMemory&) = nullptr;
  Result<Fa3Plan> (*plan_fa3)(const PlanInput&, const PlanMemory&) = nullptr;
  Result<void> (*run_fa2)(const RunArgs&, const Fa2Plan&, Stream) = nullptr;
  Result<void> (*run_fa3)(const RunArgs&, const Fa3Plan&, Stream) = nullptr;  ///< none: no sm_90a
};

/// Those that this program was built with; nullptr if it was built without FlashInfer.
const Functions* built_in();

}  // namespace tandem::gpu::cuda::flashinfer
