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

/// Asks for the first lines of a step's blocks. Blocks lie anywhere in memory, so the hardware sees
/// no stream from one to the next; two lines are enough for it to bring the rest, V after K. To ask
/// for all of them would fill the queue that it works through.
TANDEM_INLINE void ask_for(const Step& step) {
  for (int64_t b = 0; b < step.blocks; ++b) {
    prefetch(step.keys[b]);
    prefetch(step.keys[b] + 16);
  }
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
      const auto columns = [&bases](int v) { return bases[v]; };
      accumulate<Format, Rows, vectors>(sums, query, words, words, block_positions, columns);
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
      const auto columns = [base](int v) { return base + v * LANES; };
      accumulate<Format, Rows, Vectors>(sums, weights + b * words, step_positions, words,
                                        padded_dim, columns);
    }
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 8
      for (int v = 0; v < Vectors; ++v) store(mixed + r * padded_dim + d + v * LANES, sums[r][v]);
    }
  }
};

/// The two products on vector registers.
template <class Format>
struct VectorProducts {
  static constexpr int64_t most_rows = tile_rows;

  TANDEM_INLINE void score(int64_t rows, const uint32_t* query, int64_t words, const Step& step,
                           const Step&, float* scores) {
    with_rows(rows, ScoreTile<Format>{query, words, &step, scores});
  }
  TANDEM_INLINE void mix(int64_t rows, const uint32_t* weights, const Step& step, const Step&,
                         float* mixed, int64_t padded_dim) {
    with_rows(rows, MixTile<Format>{weights, &step, mixed, padded_dim});
  }
  TANDEM_INLINE void finish() {}
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

/// The step that begins at position `begin` of a KV head whose context ends at `end`.
TANDEM_INLINE Step step_at(const AttendArgs& args, int64_t head, int64_t begin, int64_t end) {
  Step step;
  const uint32_t* cache = args.cache + head * args.head_stride;
  const int64_t left = (end - begin + block_positions - 1) / block_positions;
  step.blocks = left < step_blocks ? left : step_blocks;
  for (int64_t b = 0; b < step_blocks; ++b) {
    const int64_t index = begin / block_positions + (b < step.blocks ? b : step.blocks - 1);
    step.keys[b] = cache + static_cast<int64_t>(args.blocks[index]) * args.block_stride;
    step.values[b] = step.keys[b] + args.value_offset;
  }
  return step;
}

/// Where a row of a KV head's group stands, in words from the first one of query and out.
TANDEM_INLINE int64_t row_offset(const AttendArgs& args, int64_t head, int64_t row,
                                 int64_t stride) {
  const int64_t place = args.first + row;
  return place / args.group * stride + (head * args.group + place % args.group) * args.head_words;
}

template <class Format>
TANDEM_INLINE void finish_row(const Softmax& softmax, int64_t row, const AttendArgs& args,
                              int64_t head, int64_t padded_dim) {
  const float* mixed = softmax.mixed + row * padded_dim;
  const float scale = 1.0F / sum_of(softmax.weight[row]);
  alignas(64) uint32_t words[max_head_dim];
  for (int64_t d = 0; d < padded_dim; d += LANES)
    Format::put(words, d, load<Vector>(mixed + d) * scale);
  memcpy(args.out + row_offset(args, head, row, args.out_stride), words,
         static_cast<size_t>(args.head_words) * sizeof(uint32_t));
}

/// Where each row begins: its query in one piece, nothing mixed.
TANDEM_INLINE void start_rows(Softmax& softmax, const AttendArgs& args, int64_t head,
                              uint32_t* query, int64_t padded_dim) {
  const int64_t words = args.head_words;
  for (int64_t r = 0; r < args.rows; ++r) {
    memcpy(query + r * words, args.query + row_offset(args, head, r, args.query_stride),
           static_cast<size_t>(words) * sizeof(uint32_t));
    softmax.top[r] = lowest_score;
    softmax.weight[r] = Vector{};
    memset(softmax.mixed + r * padded_dim, 0, static_cast<size_t>(padded_dim) * sizeof(float));
  }
}

template <class Format, class Products = VectorProducts<Format>>
void attend(const AttendArgs& args) {
  constexpr int64_t most_rows = Products::most_rows;
  Softmax softmax;
  Products products;
  alignas(64) uint32_t query[max_attend_rows * max_head_dim];
  alignas(64) float scores[max_attend_rows * step_positions];
  alignas(64) uint32_t weights[max_attend_rows * step_positions];
  const int64_t padded_dim = (args.head_dim + 15) / 16 * 16, words = args.head_words;
  const int64_t end = args.position + (args.first + args.rows - 1) / args.group + 1;
  Step step = step_at(args, 0, 0, end);
  ask_for(step);
  for (int64_t head = 0; head < args.heads; ++head) {
    start_rows(softmax, args, head, query, padded_dim);
    for (int64_t begin = 0; begin < end; begin += step_positions) {
      // What comes next is the next step, or the next head's first.
      Step next = step;
      const bool last = begin + step_positions >= end;
      if (!last || head + 1 < args.heads) {
        next = last ? step_at(args, head + 1, 0, end)
                    : step_at(args, head, begin + step_positions, end);
        ask_for(next);
      }
      // Phase by phase for all rows: a product that was just stored cannot be loaded at once.
      for (int64_t r = 0, rows = 0; r < args.rows; r += rows) {
        rows = next_tile(args.rows - r, most_rows);
        products.score(rows, query + r * words, words, step, next, scores + r * step_positions);
      }
      for (int64_t r = 0; r < args.rows; ++r) {
        const int64_t seen = args.position + (args.first + r) / args.group + 1 - begin;
        take_scores<Format>(softmax, r, scores + r * step_positions, weights + r * step_positions,
                            seen, args.scale, padded_dim);
      }
      for (int64_t r = 0, rows = 0; r < args.rows; r += rows) {
        rows = next_tile(args.rows - r, most_rows);
        products.mix(rows, weights + r * step_positions, step, next, softmax.mixed + r * padded_dim,
                     padded_dim);
      }
      step = next;
    }
    for (int64_t r = 0; r < args.rows; ++r) finish_row<Format>(softmax, r, args, head, padded_dim);
  }
  products.finish();
}

}  // namespace
}  // namespace tandem::gpu
