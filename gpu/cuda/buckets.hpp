// Row counts that the device is prepared for: GEMM plans exist for these alone, decode graphs for
// those up to 256. An iteration runs with the smallest one that holds it; the rows beyond its own
// are computed and never looked at.
#pragma once

#include <cstdint>
#include <vector>

namespace tandem::gpu::cuda {

/// Rows of the tiles that the GEMMs of larger iterations are made of.
inline constexpr std::int64_t row_quantum = 128;
inline constexpr std::int64_t largest_graph = 256;

/// 1, 2, 4, 8, 16, 24, 32 … 256, then multiples of 128. `rows` is at least 1.
constexpr std::int64_t bucket_of(std::int64_t rows) {
  if (rows <= 2) return rows;
  if (rows <= 4) return 4;
  const auto multiple = rows <= largest_graph ? 8 : row_quantum;
  return (rows + multiple - 1) / multiple * multiple;
}

/// Every bucket that an iteration of up to `most_rows` rows can need, ascending.
inline std::vector<std::int64_t> buckets_up_to(std::int64_t most_rows) {
  std::vector<std::int64_t> buckets;
  for (std::int64_t rows = 1; rows <= most_rows; rows = buckets.back() + 1)
    buckets.push_back(bucket_of(rows));
  return buckets;
}

}  // namespace tandem::gpu::cuda
