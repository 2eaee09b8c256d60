// Attention over the paged cache, as two small GEMMs per 64 positions with a running softmax
// between them. A call takes up to 48 rows (query rows x heads) that read the same KV head, so that
// 64 positions of K and V are read from the L1 cache by all of them; whether a row is a decode or
// stands in the middle of a chunk, it takes the same steps. Positions that a row does not see yet
// get weight exactly 0.
#pragma once

#include "gpu/host/kernel_gemm.hpp"

namespace tandem::gpu {
namespace {

constexpr int64_t step_positions = 64;
constexpr int64_t block_positions = 16;
constexpr int64_t step_blocks = step_positions / block_positions;
constexpr float lowest_score = -1e30F;

/// The running softmax of all rows of a call.
struct Softmax {
  float top[max_attend_rows];                               ///< highest score so far
  Vector weight[max_attend_rows];                           ///< sums of exp(score - top), by lane
  alignas(64) float mixed[max_attend_rows * max_head_dim];  ///< rows of padded_dim
};

/// One step's K and V.
struct Step {
  const uint32_t* keys[step_blocks];
  const uint32_t* values[step_blocks];
  int64_t blocks;  ///< how many there are; the pointers beyond repeat the last one
};

/// Asks for the cache lines of `words` words from each of `bases`. Blocks lie anywhere in memory:
/// without being asked, each would be waited for.
TANDEM_INLINE void ask_for(const uint32_t* const (&bases)[step_blocks], int64_t blocks,
                           int64_t words) {
  for (int64_t b = 0; b < blocks; ++b)
    for (int64_t i = 0; i < words; i += 16) prefetch(bases[b] + i);
}

/// scores[r, 0 .. 64) = query row r * keys
template <class Format>
struct ScoreTile {
  const uint32_t* query;
  int64_t words;
  const Step* step;
  float* scores;

  template <int Rows>
  TANDEM_INLINE void run() const {
    constexpr int vectors = vectors_for(Rows);
    for (int64_t c = 0; c < step->blocks * block_positions; c += vectors * LANES) {
      const uint32_t* bases[vectors];
#pragma GCC unroll 8
      for (int v = 0; v < vectors; ++v) {
        const int64_t place = c + v * LANES;
        bases[v] = step->keys[place / block_positions] + place % block_positions;
      }
      Vector sums[Rows][vectors] = {};
      accumulate<Format, Rows, vectors>(sums, query, words, words, block_positions,
                                        [&bases](int v) { return bases[v]; });
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 8
        for (int v = 0; v < vectors; ++v)
          store(scores + r * step_positions + c + v * LANES, sums[r][v]);
      }
    }
  }
};

/// mixed[r] += weights[r, 0 .. 64) * values
template <class Format>
struct MixTile {
  const uint32_t* weights;  ///< rows of 64 words
  const Step* step;
  float* mixed;
  int64_t padded_dim;

  template <int Rows>
  TANDEM_INLINE void run() const {
    constexpr int widest = vectors_for(Rows);
    int64_t d = 0;
    for (; d + widest * LANES <= padded_dim; d += widest * LANES) columns<Rows, widest>(d);
    for (; d < padded_dim; d += LANES) columns<Rows, 1>(d);
  }

  template <int Rows, int Vectors>
  TANDEM_INLINE void columns(int64_t d) const {
    constexpr int64_t words = block_positions / Format::per_word;
    Vector sums[Rows][Vectors];
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 8
      for (int v = 0; v < Vectors; ++v)
        sums[r][v] = load<Vector>(mixed + r * padded_dim + d + v * LANES);
    }
    for (int64_t b = 0; b < step->blocks; ++b) {
      const auto* base = step->values[b] + d;
      accumulate<Format, Rows, Vectors>(sums, weights + b * words, step_positions, words,
                                        padded_dim, [base](int v) { return base + v * LANES; });
    }
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 8
      for (int v = 0; v < Vectors; ++v) store(mixed + r * padded_dim + d + v * LANES, sums[r][v]);
    }
  }
};

/// Turns one row's 64 scores into weights, of which the first `seen` count, and brings what the
/// row has mixed so far to the new maximum.
template <class Format>
TANDEM_INLINE void take_scores(Softmax& softmax, int64_t row, const float* scores,
                               uint32_t* weights, int64_t seen, float scale, int64_t padded_dim) {
  constexpr int vectors = step_positions / LANES;
  const int32_t last = static_cast<int32_t>(seen < step_positions ? seen : step_positions);
  Vector scaled[vectors];
  Vector top = all(softmax.top[row]);
#pragma GCC unroll 16
  for (int v = 0; v < vectors; ++v) {
    const auto score = load<Vector>(scores + v * LANES) * scale;
    scaled[v] = lane_numbers() + v * LANES < last ? score : all(lowest_score);
    top = max(top, scaled[v]);
  }
  const float new_top = max_of(top);
  Vector sum{};
#pragma GCC unroll 16
  for (int v = 0; v < vectors; ++v) {
    const auto weight = exponential(scaled[v] - new_top);
    sum += weight;
    Format::put(weights, v * LANES, weight);
  }
  if (new_top == softmax.top[row]) {
    softmax.weight[row] += sum;
    return;
  }
  const Vector keep = exponential(all(softmax.top[row] - new_top));
  softmax.top[row] = new_top;
  softmax.weight[row] = softmax.weight[row] * keep + sum;
  float* mixed = softmax.mixed + row * padded_dim;
  for (int64_t d = 0; d < padded_dim; d += LANES) store(mixed + d, load<Vector>(mixed + d) * keep);
}

TANDEM_INLINE Step step_at(const AttendArgs& args, int64_t begin, int64_t end) {
  Step step;
  const int64_t left = (end - begin + block_positions - 1) / block_positions;
  step.blocks = left < step_blocks ? left : step_blocks;
  for (int64_t b = 0; b < step_blocks; ++b) {
    const int64_t index = begin / block_positions + (b < step.blocks ? b : step.blocks - 1);
    step.keys[b] = args.cache + static_cast<int64_t>(args.blocks[index]) * args.block_stride;
    step.values[b] = step.keys[b] + args.value_offset;
  }
  return step;
}

template <class Format>
TANDEM_INLINE void finish_row(const Softmax& softmax, int64_t row, const AttendArgs& args,
                              int64_t padded_dim) {
  const float* mixed = softmax.mixed + row * padded_dim;
  const float scale = 1.0F / sum_of(softmax.weight[row]);
  alignas(64) uint32_t words[max_head_dim];
  for (int64_t d = 0; d < padded_dim; d += LANES)
    Format::put(words, d, load<Vector>(mixed + d) * scale);
  const int64_t place = args.first + row;
  memcpy(args.out + place / args.group * args.out_stride + place % args.group * args.head_words,
         words, static_cast<size_t>(args.head_words) * sizeof(uint32_t));
}

template <class Format>
void attend(const AttendArgs& args) {
  Softmax softmax;
  alignas(64) uint32_t query[max_attend_rows * max_head_dim];
  const int64_t padded_dim = (args.head_dim + 15) / 16 * 16, words = args.head_words;
  for (int64_t r = 0; r < args.rows; ++r) {
    const int64_t place = args.first + r;
    memcpy(query + r * words,
           args.query + place / args.group * args.query_stride + place % args.group * words,
           static_cast<size_t>(words) * sizeof(uint32_t));
    softmax.top[r] = lowest_score;
    softmax.weight[r] = Vector{};
    memset(softmax.mixed + r * padded_dim, 0, static_cast<size_t>(padded_dim) * sizeof(float));
  }
  const int64_t end = args.position + (args.first + args.rows - 1) / args.group + 1;
  const int64_t key_words = words * block_positions;
  const int64_t value_words = block_positions / Format::per_word * padded_dim;
  Step step = step_at(args, 0, end);
  ask_for(step.keys, step.blocks, key_words);
  for (int64_t begin = 0; begin < end; begin += step_positions) {
    const bool more = begin + step_positions < end;
    const Step next = more ? step_at(args, begin + step_positions, end) : step;
    ask_for(step.values, step.blocks, value_words);
    for (int64_t r = 0; r < args.rows;) {
      alignas(64) float scores[tile_rows * step_positions];
      alignas(64) uint32_t weights[tile_rows * step_positions];
      const int64_t rows = next_tile(args.rows - r);
      with_rows(rows, ScoreTile<Format>{query + r * words, words, &step, scores});
      if (r == 0 && more) ask_for(next.keys, next.blocks, key_words);
      for (int64_t i = 0; i < rows; ++i) {
        const int64_t seen = args.position + (args.first + r + i) / args.group + 1 - begin;
        take_scores<Format>(softmax, r + i, scores + i * step_positions,
                            weights + i * step_positions, seen, args.scale, padded_dim);
      }
      with_rows(rows, MixTile<Format>{weights, &step, softmax.mixed + r * padded_dim, padded_dim});
      r += rows;
    }
    step = next;
  }
  for (int64_t r = 0; r < args.rows; ++r) finish_row<Format>(softmax, r, args, padded_dim);
}

}  // namespace
}  // namespace tandem::gpu
