// The arithmetic between an iteration and FlashInfer: the arrays that describe a batch, how much
// memory its planners may need, and what it cannot take. Pure; tested against naive references and,
// where it is built in, its own planners.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "gpu/cuda/flashinfer/functions.hpp"
#include "gpu/cuda/iteration.hpp"
#include "gpu/cuda/model_shape.hpp"

namespace tandem::gpu::cuda::flashinfer {

/// What a batch, and the device that it runs on, are at most.
struct BatchCapacity {
  Heads heads;
  std::int64_t rows = 0, sequences = 0;
  std::int64_t multiprocessors = 0;
};

/// The planner of FA2 makes no more items than this, and splits keys into no more.
std::int64_t most_fa2_items(const BatchCapacity& capacity);
/// Of a plan's arrays, with room for their alignment.
std::int64_t fa2_plan_bytes(const BatchCapacity& capacity);
std::int64_t fa3_plan_bytes(const BatchCapacity& capacity);
/// Of the partial results of one layer, on the device alone.
std::int64_t fa2_partial_bytes(const BatchCapacity& capacity);

/// Why FlashInfer cannot serve this model and these sizes; none if it can. Its indices are of 32
/// bits.
std::optional<std::string> refusal(const ModelShape& shape, const IterationCapacity& capacity,
                                   const KvStrides& strides, const DeviceProperties& device);
/// FA3 where it can run and takes batches of these sizes, else FA2.
Kernel best_kernel(const Functions& functions, const BatchCapacity& capacity,
                   const DeviceProperties& device);

/// Where the arrays of a batch lie in one buffer, pinned on the host or on the device, and how
/// large it is. The planner's come last; key counts are read on the host alone.
struct BatchLayout {
  BatchLayout() = default;
  BatchLayout(const BatchCapacity& capacity, Kernel kernel);

  std::int64_t query_starts = 0, page_starts = 0, last_page_keys = 0, key_counts = 0;
  std::int64_t plan = 0, plan_bytes = 0, total_bytes = 0;
};

/// A run of slices whose rows and block tables follow one another (PackedIteration).
struct Batch {
  std::int32_t sequences = 0, rows = 0;
  std::int32_t first_row = 0;  ///< of the iteration
};

/// Writes the arrays of `slices`, which are not empty, to `buffer`. Page starts are entries of the
/// iteration's block tables; query starts count from the batch's first row.
Batch write_batch(std::span<const SequenceInput> sequences, std::span<const std::int32_t> slices,
                  const BatchLayout& layout, std::byte* buffer);

}  // namespace tandem::gpu::cuda::flashinfer
