// See attend_schedule.hpp.
#include "gpu/cuda/attend_schedule.hpp"

#include <algorithm>

#include "core/check.hpp"
#include "gpu/cuda/model_shape.hpp"

namespace tandem::gpu::cuda {
namespace {

std::int64_t total_keys(std::span<const SequenceInput> sequences,
                        std::span<const std::int32_t> chosen, std::int64_t group,
                        std::int64_t tile_rows) {
  std::int64_t total = 0;
  for (const auto index : chosen) {
    const auto& one = sequences[static_cast<std::size_t>(index)];
    for (std::int64_t first = 0; first < one.num_tokens * group; first += tile_rows)
      total += keys_of_tile(one, group, first, tile_rows);
  }
  return total;
}

void add_tile(std::int32_t sequence, std::int64_t first, std::int64_t keys, std::int64_t piece,
              std::int32_t& partials, AttendSchedule& schedule) {
  const auto row = static_cast<std::int32_t>(first);
  const auto end = static_cast<std::int32_t>(keys);
  if (keys <= piece) {
    schedule.items.push_back({sequence, row, 0, end, -1});
    return;
  }
  MergeItem merge{sequence, row, partials, 0};
  for (std::int64_t begin = 0; begin < keys; begin += piece) {
    schedule.items.push_back({sequence, row, static_cast<std::int32_t>(begin),
                              static_cast<std::int32_t>(std::min(keys, begin + piece)),
                              partials++});
    ++merge.num_partials;
  }
  schedule.merges.push_back(merge);
}

}  // namespace

void AttendSchedule::reserve(std::int64_t tiles, std::int64_t extra_items) {
  items.reserve(static_cast<std::size_t>(tiles + extra_items));
  merges.reserve(static_cast<std::size_t>(extra_items));
}

std::int64_t extra_items_for(std::uint32_t multiprocessors, std::int64_t kv_heads) {
  return std::max<std::int64_t>(8, (2LL * multiprocessors + kv_heads - 1) / kv_heads);
}

void plan_attention(std::span<const SequenceInput> sequences, std::span<const std::int32_t> chosen,
                    std::int64_t group, std::int64_t tile_rows, std::int64_t extra_items,
                    AttendSchedule& schedule) {
  TANDEM_CHECK(group > 0 && tile_rows > 0 && extra_items > 0, "sizes of a schedule are positive");
  schedule.items.clear();
  schedule.merges.clear();
  const auto total = total_keys(sequences, chosen, group, tile_rows);
  const auto even = (total + extra_items - 1) / extra_items;
  const auto piece = round_up(std::max(least_piece_keys, even), key_tile);
  std::int32_t partials = 0;
  for (const auto index : chosen) {
    const auto& one = sequences[static_cast<std::size_t>(index)];
    for (std::int64_t first = 0; first < one.num_tokens * group; first += tile_rows)
      add_tile(index, first, keys_of_tile(one, group, first, tile_rows), piece, partials, schedule);
  }
  // Thread blocks start in this order: what is left for the end is short.
  std::sort(schedule.items.begin(), schedule.items.end(),
            [](const AttendItem& a, const AttendItem& b) {
              const auto keys_a = a.key_end - a.key_begin, keys_b = b.key_end - b.key_begin;
              if (keys_a != keys_b) return keys_a > keys_b;
              if (a.sequence != b.sequence) return a.sequence < b.sequence;
              return a.first != b.first ? a.first < b.first : a.key_begin < b.key_begin;
            });
}

}  // namespace tandem::gpu::cuda
