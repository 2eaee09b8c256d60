// Which thread block attends to what. Query rows of one KV head are packed: the heads that share it
// lie next to each other, so that packed row r of a sequence is token r / group, head r % group. A
// tile of packed rows walks the keys before it; a walk that is long compared with the device is
// split into pieces, whose results another kernel merges. Planned on the host for every iteration,
// since it knows the lengths; captured graphs read the lists from device memory.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "gpu/cuda/host_device.hpp"

namespace tandem::gpu::cuda {

/// Keys that one step of the kernel takes; pieces begin at multiples of it.
inline constexpr std::int64_t key_tile = 64;
/// Fewer keys are not worth a piece of their own.
inline constexpr std::int64_t least_piece_keys = 256;
inline constexpr std::int64_t decode_tile_rows = 16;
inline constexpr std::int64_t prefill_tile_rows = 64;

/// A slice on the device.
struct SequenceInput {
  std::int32_t first_row = 0;   ///< of the iteration
  std::int32_t num_tokens = 0;  ///< rows
  std::int32_t context = 0;     ///< positions before the first row
  std::int32_t table = 0;       ///< where its block table begins
};

/// A tile of packed rows, or a piece of its walk: keys key_begin .. key_end - 1.
struct AttendItem {
  std::int32_t sequence = 0;
  std::int32_t first = 0;  ///< packed row
  std::int32_t key_begin = 0, key_end = 0;
  std::int32_t partial = -1;  ///< where its partial result goes; -1: it is the whole walk
};

struct MergeItem {
  std::int32_t sequence = 0;
  std::int32_t first = 0;  ///< packed row
  std::int32_t first_partial = 0, num_partials = 0;
};

/// Of the iteration's decode rows or of its prefill rows.
struct AttendSchedule {
  std::vector<AttendItem> items;
  std::vector<MergeItem> merges;

  void reserve(std::int64_t tiles, std::int64_t extra_items);
};

/// How many pieces beyond one per tile a schedule may have: enough for a few thread blocks on each
/// multiprocessor when there is one sequence alone.
std::int64_t extra_items_for(std::uint32_t multiprocessors, std::int64_t kv_heads);

constexpr std::int64_t tiles_of(std::int64_t num_tokens, std::int64_t group,
                                std::int64_t tile_rows) {
  return (num_tokens * group + tile_rows - 1) / tile_rows;
}

/// The keys that the packed rows [first, first + tile_rows) of a sequence see: those before the
/// end.
constexpr std::int64_t keys_of_tile(const SequenceInput& sequence, std::int64_t group,
                                    std::int64_t first, std::int64_t tile_rows) {
  const auto last = first + tile_rows - 1;
  const auto token = last / group < sequence.num_tokens ? last / group : sequence.num_tokens - 1;
  return sequence.context + token + 1;
}

/// Clears `schedule` and plans the sequences whose indices are in `chosen`. At most one item per
/// tile and `extra_items` more; at most 2 * extra_items partial results. Longest walks first.
void plan_attention(std::span<const SequenceInput> sequences, std::span<const std::int32_t> chosen,
                    std::int64_t group, std::int64_t tile_rows, std::int64_t extra_items,
                    AttendSchedule& schedule);

}  // namespace tandem::gpu::cuda
