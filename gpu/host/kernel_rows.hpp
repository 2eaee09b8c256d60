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
  memcpy(head, from, static_cast<size_t>(dim) * sizeof(float));
  if (weight) {
    const float scale = norm_scale(head, dim, (dim + 15) / 16 * 16, args.epsilon);
    for (int64_t i = 0; i < dim; ++i) head[i] = head[i] * scale * weight[i];
  }
  const float *cosines = angles, *sines = angles + half;
  for (int64_t i = 0; i < half; ++i) {
    const float low = head[i], high = head[i + half];
    head[i] = low * cosines[i] - high * sines[i];
    head[i + half] = high * cosines[i] + low * sines[i];
  }
}

/// Element (position `place`, dimension d) of a K block and of a V block.
template <class Format>
TANDEM_INLINE int64_t key_index(int64_t place, int64_t d) {
  constexpr int64_t n = Format::per_word;
  return (d / n * 16 + place) * n + d % n;
}
template <class Format>
TANDEM_INLINE int64_t value_index(int64_t place, int64_t d, int64_t padded_dim) {
  constexpr int64_t n = Format::per_word;
  return (place / n * padded_dim + d) * n + place % n;
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
    for (int64_t h = 0; h < args.heads; ++h) {
      turn_head(row + h * dim, head, args, args.q_norm, angles);
      for (int64_t i = 0; i < dim; ++i)
        Format::put(args.query + r * args.query_stride, h * dim + i, head[i]);
    }
    const float* keys = row + args.heads * dim;
    const float* values = keys + args.kv_heads * dim;
    for (int64_t h = 0; h < args.kv_heads; ++h) {
      auto* key_block = args.block + h * args.head_stride;
      auto* value_block = key_block + args.value_offset;
      turn_head(keys + h * dim, head, args, args.k_norm, angles);
      for (int64_t i = 0; i < dim; ++i)
        Format::put(key_block, key_index<Format>(args.first + r, i), head[i]);
      for (int64_t i = 0; i < dim; ++i)
        Format::put(value_block, value_index<Format>(args.first + r, i, padded_dim),
                    values[h * dim + i]);
    }
  }
}

}  // namespace
}  // namespace tandem::gpu
