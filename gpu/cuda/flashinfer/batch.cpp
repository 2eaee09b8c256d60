// See batch.hpp. Bounds follow the planners of FlashInfer 0.6.8 (PrefillSplitQOKVIndptr and
// PrefillSM90Plan in its attention/scheduler.cuh); tests hold them to the planners themselves.
#include "gpu/cuda/flashinfer/batch.hpp"

#include <algorithm>

#include "core/check.hpp"

namespace tandem::gpu::cuda::flashinfer {
namespace {

constexpr std::int64_t alignment = 256;   ///< of our arrays
constexpr std::int64_t array_slack = 16;  ///< that the planners' alignment may cost each array
constexpr std::int64_t index_bytes = 4;   ///< int32
constexpr std::int64_t largest_fa2_tile = 128;
constexpr std::int64_t most_tiles_per_head = 4096;  ///< of FA3; beyond it heads share a schedule
constexpr std::int64_t index_limit = 1LL << 31;

std::int64_t ceil_div(std::int64_t value, std::int64_t by) { return (value + by - 1) / by; }

std::int64_t group_of(const Heads& heads) { return heads.query / heads.kv; }

/// Two thread blocks to a multiprocessor, by KV head.
std::int64_t most_split_items(const BatchCapacity& capacity) {
  return 2 * capacity.multiprocessors / capacity.heads.kv;
}

std::int64_t fa3_tile_rows(std::int64_t head_dim) { return head_dim == 64 ? 192 : 128; }

/// Tiles of one head: every sequence may end in a part of one.
std::int64_t most_fa3_tiles(const BatchCapacity& capacity) {
  return ceil_div(capacity.rows, fa3_tile_rows(capacity.heads.dim)) + capacity.sequences;
}

std::int32_t* array_at(std::byte* buffer, std::int64_t at) {
  return reinterpret_cast<std::int32_t*>(buffer + at);
}

}  // namespace

std::int64_t most_fa2_items(const BatchCapacity& capacity) {
  // Tiles of 16 or 64 rows are for batches whose sequences have no more rows than that on average,
  // so that there are fewer than three to a sequence.
  const auto packed = capacity.rows * group_of(capacity.heads);
  const auto tiles =
      std::max(3 * capacity.sequences, ceil_div(packed, largest_fa2_tile) + capacity.sequences);
  return std::max(tiles, most_split_items(capacity));
}

std::int64_t fa2_plan_bytes(const BatchCapacity& capacity) {
  const auto items = most_fa2_items(capacity);
  const auto of_items = 3 * index_bytes * items + items;  // three arrays, and a mask of bytes
  const auto of_sequences = index_bytes * (capacity.sequences + 1);
  const auto of_rows = index_bytes * (capacity.rows + 1);
  return of_items + of_sequences + of_rows + index_bytes + 8 * array_slack;
}

std::int64_t fa2_partial_bytes(const BatchCapacity& capacity) {
  const auto rows = most_split_items(capacity) * largest_fa2_tile * capacity.heads.query;
  return rows * (capacity.heads.dim + 1) * 4 + 2 * array_slack;
}

std::int64_t fa3_plan_bytes(const BatchCapacity& capacity) {
  const auto works = most_fa3_tiles(capacity) * capacity.heads.query;
  return 7 * (index_bytes * works + array_slack) + index_bytes * (capacity.multiprocessors + 1) +
         array_slack;
}

std::optional<std::string> refusal(const ModelShape& shape, const IterationCapacity& capacity,
                                   const KvStrides& strides, const DeviceProperties& device) {
  if (!has_kernel_for(shape.head_dim))
    return "FlashInfer is built for heads of 64 and 128 elements, and this model's have " +
           std::to_string(shape.head_dim);
  if (device.compute_major < 8) return "FlashInfer needs compute capability 8.0 or newer";
  if (strides.block >= index_limit || capacity.table_entries() * key_block >= index_limit ||
      capacity.rows * shape.query_width() >= index_limit)
    return "FlashInfer's indices have 32 bits, too few for max_iteration_tokens " +
           std::to_string(capacity.rows) + ", max_sequences " + std::to_string(capacity.sequences) +
           " and a context of " + std::to_string(capacity.context) + " with this model";
  return std::nullopt;
}

Kernel best_kernel(const Functions& functions, const BatchCapacity& capacity,
                   const DeviceProperties& device) {
  const bool is_hopper = device.compute_major == 9 && device.compute_minor == 0;
  return functions.run_fa3 && is_hopper && most_fa3_tiles(capacity) <= most_tiles_per_head
             ? Kernel::fa3
             : Kernel::fa2;
}

BatchLayout::BatchLayout(const BatchCapacity& capacity, Kernel kernel) {
  std::int64_t next = 0;
  const auto place = [&](std::int64_t bytes) {
    const auto at = next;
    next = round_up(next + bytes, alignment);
    return at;
  };
  query_starts = place(index_bytes * (capacity.sequences + 1));
  page_starts = place(index_bytes * (capacity.sequences + 1));
  last_page_keys = place(index_bytes * capacity.sequences);
  key_counts = place(index_bytes * capacity.sequences);
  plan_bytes = kernel == Kernel::fa2 ? fa2_plan_bytes(capacity) : fa3_plan_bytes(capacity);
  plan = place(plan_bytes);
  total_bytes = next;
}

Batch write_batch(std::span<const SequenceInput> sequences, std::span<const std::int32_t> slices,
                  const BatchLayout& layout, std::byte* buffer) {
  TANDEM_CHECK(!slices.empty(), "a batch without sequences");
  auto* query_starts = array_at(buffer, layout.query_starts);
  auto* page_starts = array_at(buffer, layout.page_starts);
  auto* last_page_keys = array_at(buffer, layout.last_page_keys);
  auto* key_counts = array_at(buffer, layout.key_counts);
  const auto& first = sequences[static_cast<std::size_t>(slices.front())];
  auto row = first.first_row, page = first.table;
  for (std::size_t i = 0; i < slices.size(); ++i) {
    const auto& one = sequences[static_cast<std::size_t>(slices[i])];
    TANDEM_CHECK(one.first_row == row && one.table == page, "a batch's sequences are a run");
    const auto keys = one.context + one.num_tokens;
    const auto pages = static_cast<std::int32_t>(ceil_div(keys, key_block));
    query_starts[i] = row - first.first_row;
    page_starts[i] = page;
    last_page_keys[i] = keys - (pages - 1) * static_cast<std::int32_t>(key_block);
    key_counts[i] = keys;
    row += one.num_tokens;
    page += pages;
  }
  query_starts[slices.size()] = row - first.first_row;
  page_starts[slices.size()] = page;
  return {.sequences = static_cast<std::int32_t>(slices.size()),
          .rows = row - first.first_row,
          .first_row = first.first_row};
}

}  // namespace tandem::gpu::cuda::flashinfer
