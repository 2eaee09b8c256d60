// What works on single rows between the GEMMs: norms, rotation, and the way into the KV cache.
#pragma once

#include "gpu/host/kernel_simd.hpp"

namespace tandem::gpu {
namespace {

/// 1 / sqrt(mean(x^2) + epsilon), over `padded` elements of which those beyond `count` are zero.
/// `padded` is a multiple of 16.
TANDEM_INLINE float norm_scale(const float* x, int64_t count, int64_t padded, float epsilon) {
  constexpr int chains = 16 / LANES;
  Vector sums[chains] = {};
  for (int64_t i = 0; i < padded; i += 16) {
#pragma GCC unroll 4
    for (int c = 0; c < chains; ++c) {
      const auto value = load<Vector>(x + i + c * LANES);
      sums[c] = fused(value, value, sums[c]);
    }
  }
  float total = 0;
  for (int c = 0; c < chains; ++c) total += sum_of(sums[c]);
  return 1.0F / __builtin_sqrtf(total / static_cast<float>(count) + epsilon);
}

template <class Format>
void norm(const NormArgs& args) {
  for (int64_t r = 0; r < args.rows; ++r) {
    const float* x = args.x + r * args.x_stride;
    const float scale = norm_scale(x, args.count, args.padded, args.epsilon);
    auto* out = args.out + r * args.out_stride;
    for (int64_t i = 0; i < args.padded; i += LANES)
      Format::put(out, i, load<Vector>(x + i) * scale * load<Vector>(args.weight + i));
  }
}

/// One head of q or k: its norm, if there is one, and its rotation; the result is in `head`, which
/// has room for padded_dim floats and is zero beyond head_dim.
TANDEM_INLINE void turn_head(const float* from, float* head, const RotateArgs& args,
                             const float* weight, const float* angles) {
  const int64_t dim = args.head_dim, half = dim / 2;
  alignas(64) float normed[max_head_dim];
  if (weight) {
    const int64_t padded = (dim + 15) / 16 * 16;
    for (int64_t i = 0; i < dim; ++i) normed[i] = from[i];
    for (int64_t i = dim; i < padded; ++i) normed[i] = 0;
    const float scale = norm_scale(normed, dim, padded, args.epsilon);
    for (int64_t i = 0; i < dim; ++i) normed[i] = normed[i] * scale * weight[i];
    from = normed;
  }
  const float *cosines = angles, *sines = angles + half;
  for (int64_t i = 0; i < half; ++i) {
    const float low = from[i], high = from[i + half];
    head[i] = low * cosines[i] - high * sines[i];
    head[i + half] = high * cosines[i] + low * sines[i];
  }
}

/// `count` floats, readable to a multiple of 16, as words; writes no further than their last word.
template <class Format>
TANDEM_INLINE void put_row(uint32_t* to, const float* from, int64_t count) {
  if (count % 16 == 0) {
    for (int64_t i = 0; i < count; i += LANES) Format::put(to, i, load<Vector>(from + i));
    return;
  }
  alignas(64) uint32_t words[max_head_dim];
  for (int64_t i = 0; i < count; i += LANES) Format::put(words, i, load<Vector>(from + i));
  memcpy(to, words, static_cast<size_t>(count / Format::per_word) * sizeof(uint32_t));
}

/// Asks for what a position of a KV head is written to: the first lines of K, of which all will be
/// touched one after another, and a row of V.
TANDEM_INLINE void ask_for_place(const uint32_t* keys, const uint32_t* value_row,
                                 int64_t padded_dim) {
  prefetch(keys);
  prefetch(keys + 16);
  for (int64_t i = 0; i < padded_dim; i += 16) prefetch(value_row + i);
}

/// One head's V into its row of the block, beside the other positions of the same words.
template <class Format>
TANDEM_INLINE void put_values(uint32_t* row, const float* values, int64_t count, int64_t part) {
  int64_t i = 0;
  for (; i + LANES <= count; i += LANES)
    store(row + i, Format::merged(load<Words>(row + i), load<Vector>(values + i), part));
  for (; i < count; ++i) Format::put(row, i * Format::per_word + part, values[i]);
}

template <class Format>
void rotate(const RotateArgs& args) {
  alignas(64) float head[max_head_dim] = {};
  const int64_t dim = args.head_dim, padded_dim = (dim + 15) / 16 * 16;
  // Attention reads whole blocks of V with weight 0 for what is not there yet; 0 times what an
  // earlier owner of the block left could be a NaN.
  if (args.first == 0 && args.rows < 16) {
    const auto size = static_cast<size_t>(args.head_stride - args.value_offset) * sizeof(uint32_t);
    for (int64_t h = 0; h < args.kv_heads; ++h)
      memset(args.block + h * args.head_stride + args.value_offset, 0, size);
  }
  for (int64_t r = 0; r < args.rows; ++r) {
    const float* row = args.qkv + r * args.qkv_stride;
    const float* angles = args.angles + r * args.angle_stride;
    const int64_t words = dim / Format::per_word;
    const int64_t place = args.first + r;
    const int64_t value_place = args.value_offset + place / Format::per_word * padded_dim;
    for (int64_t h = 0; h < args.heads; ++h) {
      if (r == 0 && h < args.kv_heads)
        ask_for_place(args.block + h * args.head_stride,
                      args.block + h * args.head_stride + value_place, padded_dim);
      turn_head(row + h * dim, head, args, args.q_norm, angles);
      put_row<Format>(args.query + r * args.query_stride + h * words, head, dim);
    }
    const float* keys = row + args.heads * dim;
    const float* values = keys + args.kv_heads * dim;
    for (int64_t h = 0; h < args.kv_heads; ++h) {
      auto* key_block = args.block + h * args.head_stride;
      auto* value_row = key_block + value_place;
      alignas(64) uint32_t key_words[max_head_dim];
      turn_head(keys + h * dim, head, args, args.k_norm, angles);
      put_row<Format>(key_words, head, dim);
      for (int64_t i = 0; i < words; ++i) key_block[i * 16 + place] = key_words[i];
      put_values<Format>(value_row, values + h * dim, dim, place % Format::per_word);
    }
  }
}

}  // namespace
}  // namespace tandem::gpu
