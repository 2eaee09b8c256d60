// The kernels of one instruction set, written once over GCC's vector types and compiled once per
// set. The including file defines LANES (floats per register), TILE_ROWS and TILE_VECTORS (the
// accumulators that a GEMM tile keeps: rows x registers). Everything is in an unnamed namespace and
// no library template is used: nothing compiled for a newer CPU may be shared with code that runs
// on an older one.
#pragma once

#include <stdint.h>
#include <string.h>

#include "gpu/host/kernels.hpp"

namespace tandem::gpu {
namespace {

typedef float Vector __attribute__((vector_size(LANES * 4)));
typedef uint32_t Word __attribute__((vector_size(LANES * 4)));
typedef float Vector16 __attribute__((vector_size(64)));
typedef int32_t Integer16 __attribute__((vector_size(64)));
typedef uint32_t Word16 __attribute__((vector_size(64)));
typedef uint16_t Half16 __attribute__((vector_size(32)));

/// Rows and panels come from plain arrays: every access says that it is unaligned.
template <class To>
inline To load(const void* from) {
  To value;
  memcpy(&value, from, sizeof value);
  return value;
}
template <class From>
inline void store(void* to, From value) {
  memcpy(to, &value, sizeof value);
}
/// The same bits as another type.
template <class To, class From>
inline To bits(From from) {
  static_assert(sizeof(To) == sizeof(From), "bits are kept");
  return load<To>(&from);
}

constexpr int tile_columns = LANES * TILE_VECTORS;
static_assert(panel_columns % tile_columns == 0, "a panel is a whole number of tiles");

inline float from_bf16(uint16_t half) { return bits<float>(static_cast<uint32_t>(half) << 16); }

inline uint16_t round_bf16(float value) {
  const auto word = bits<uint32_t>(value);
  if ((word & 0x7fffffff) > 0x7f800000)
    return static_cast<uint16_t>((word >> 16) | 0x40);  // NaN stays one
  return static_cast<uint16_t>((word + 0x7fff + ((word >> 16) & 1)) >> 16);
}

template <int Rows>
inline void store_tile(const Vector (&sums)[Rows][TILE_VECTORS], float* out, int64_t ldo,
                       bool add) {
  for (int r = 0; r < Rows; ++r)
    for (int v = 0; v < TILE_VECTORS; ++v) {
      float* to = out + r * ldo + v * LANES;
      store(to, add ? load<Vector>(to) + sums[r][v] : sums[r][v]);
    }
}

template <int Rows>
void tile_f32(const float* a, int64_t lda, const float* panel, int64_t k, float* out, int64_t ldo,
              bool add) {
  Vector sums[Rows][TILE_VECTORS] = {};
  for (int64_t i = 0; i < k; ++i) {
    Vector weights[TILE_VECTORS];
    for (int v = 0; v < TILE_VECTORS; ++v)
      weights[v] = load<Vector>(panel + i * panel_columns + v * LANES);
    for (int r = 0; r < Rows; ++r)
      for (int v = 0; v < TILE_VECTORS; ++v) sums[r][v] += a[r * lda + i] * weights[v];
  }
  store_tile<Rows>(sums, out, ldo, add);
}

/// Even k in the low half of each word, odd k in the high half: a shift and a mask make floats of
/// them.
template <int Rows>
void tile_bf16(const uint16_t* a, int64_t lda, const uint16_t* panel, int64_t k, float* out,
               int64_t ldo, bool add) {
  Vector sums[Rows][TILE_VECTORS] = {};
  for (int64_t i = 0; i < k / 2; ++i) {
    for (int v = 0; v < TILE_VECTORS; ++v) {
      const auto words = load<Word>(panel + i * panel_columns * 2 + v * LANES * 2);
      const auto low = bits<Vector>(words << 16), high = bits<Vector>(words & 0xffff0000u);
      for (int r = 0; r < Rows; ++r) {
        const auto* pair = a + r * lda + 2 * i;
        sums[r][v] += from_bf16(pair[0]) * low;
        sums[r][v] += from_bf16(pair[1]) * high;
      }
    }
  }
  store_tile<Rows>(sums, out, ldo, add);
}

/// Runs `tile` over all rows, TILE_ROWS at a time; the rest in one smaller tile of the same order
/// of sums.
#define TANDEM_GEMM(name, Element, tile, per_k)                                               \
  void name(const Element* a, int64_t lda, const Element* panel, int64_t k, float* out,       \
            int64_t ldo, int64_t rows, bool add) {                                            \
    for (int64_t c = 0; c < panel_columns; c += tile_columns) {                               \
      int64_t r = 0;                                                                          \
      for (; r + TILE_ROWS <= rows; r += TILE_ROWS)                                           \
        tile<TILE_ROWS>(a + r * lda, lda, panel + c * per_k, k, out + r * ldo + c, ldo, add); \
      const auto *rest = a + r * lda, *columns = panel + c * per_k;                           \
      auto* to = out + r * ldo + c;                                                           \
      switch (rows - r) {                                                                     \
        case 5: tile<5>(rest, lda, columns, k, to, ldo, add); break;                          \
        case 4: tile<4>(rest, lda, columns, k, to, ldo, add); break;                          \
        case 3: tile<3>(rest, lda, columns, k, to, ldo, add); break;                          \
        case 2: tile<2>(rest, lda, columns, k, to, ldo, add); break;                          \
        case 1: tile<1>(rest, lda, columns, k, to, ldo, add); break;                          \
        default: break;                                                                       \
      }                                                                                       \
    }                                                                                         \
  }
static_assert(TILE_ROWS <= 6, "the rest switch covers up to five rows");

void rmsnorm(float* out, const float* x, const float* weight, int64_t n, float eps) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  const float scale =
      1.0F / __builtin_sqrtf(static_cast<float>(sum / static_cast<double>(n)) + eps);
  for (int64_t i = 0; i < n; ++i) out[i] = x[i] * scale * weight[i];
}

void to_bf16(uint16_t* out, const float* x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = round_bf16(x[i]);
}

void rope(float* x, const float* cosines, const float* sines, int64_t half) {
  for (int64_t i = 0; i < half; ++i) {
    const float low = x[i], high = x[i + half];
    x[i] = low * cosines[i] - high * sines[i];
    x[i + half] = high * cosines[i] + low * sines[i];
  }
}

/// exp of 16 floats to about 1e-7 relative; clamped to the range in which the result is finite and
/// normal.
inline Vector16 exponential(Vector16 x) {
  x = x > 88.0F ? Vector16{} + 88.0F : x;
  x = x < -87.0F ? Vector16{} - 87.0F : x;
  const Vector16 shifted =
      x * 1.44269504F + 12582912.0F;  // 1.5 * 2^23: rounds to the nearest integer
  const Vector16 n = shifted - 12582912.0F;
  const Vector16 r = (x - n * 0.693359375F) + n * 2.12194440e-4F;
  Vector16 p = r * 1.9875691500e-4F + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  p = p * r * r + r + 1.0F;
  const Integer16 exponent = (__builtin_convertvector(n, Integer16) + 127) << 23;
  return p * bits<Vector16>(exponent);
}

void swiglu(float* out, const float* gate, const float* up, int64_t n) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const auto g = load<Vector16>(gate + i);
    store(out + i, g / (1.0F + exponential(-g)) * load<Vector16>(up + i));
  }
  for (; i < n; ++i) {  // one lane at a time, by the same operations
    const Vector16 g = Vector16{} + gate[i];
    out[i] = (g / (1.0F + exponential(-g)))[0] * up[i];
  }
}

inline Vector16 load16(const float* from) { return load<Vector16>(from); }
inline Vector16 load16(const uint16_t* from) {
  return bits<Vector16>(__builtin_convertvector(load<Half16>(from), Word16) << 16);
}

constexpr int max_group = 4;         ///< heads that one walk over the context serves
constexpr int max_dim_vectors = 16;  ///< head_dim up to 256

/// The running softmax of one head.
struct Softmax {
  float maximum;
  Vector16 weight;  ///< sums of exp(score - maximum), lane by lane
  Vector16 sum[max_dim_vectors];
};

/// Takes one block of up to 16 positions in. `scores` lanes beyond `count` are ignored.
template <class Element>
inline void take_block(Softmax& head, Vector16 scores, const Element* values, int64_t count,
                       int64_t padded_dim) {
  float maximum = head.maximum;
  for (int64_t t = 0; t < count; ++t) maximum = scores[t] > maximum ? scores[t] : maximum;
  Vector16 p = exponential(scores - maximum);
  for (int64_t t = count; t < 16; ++t) p[t] = 0.0F;
  const float keep = exponential(Vector16{} + (head.maximum - maximum))[0];
  head.maximum = maximum;
  head.weight = head.weight * keep + p;
  const auto vectors = padded_dim / 16;
  for (int64_t d = 0; d < vectors; ++d) head.sum[d] *= keep;
  for (int64_t t = 0; t < count; ++t) {
    const float weight = p[t];
    for (int64_t d = 0; d < vectors; ++d)
      head.sum[d] += weight * load16(values + t * padded_dim + d * 16);
  }
}

inline void finish_head(const Softmax& head, float* out, int64_t head_dim) {
  float total = 0;
  for (int lane = 0; lane < 16; ++lane) total += head.weight[lane];
  const float scale = 1.0F / total;
  for (int64_t d = 0; d < head_dim; ++d) out[d] = head.sum[d / 16][d % 16] * scale;
}

template <class Element, int Heads>
void attend_heads(const AttendArgs& args, int64_t first) {
  Softmax heads[Heads];
  for (auto& head : heads) {
    head.maximum = -1e30F;
    head.weight = Vector16{};
    for (int64_t d = 0; d < args.padded_dim / 16; ++d) head.sum[d] = Vector16{};
  }
  const auto* query = args.query + first * args.head_dim;
  for (int64_t begin = 0; begin < args.length; begin += 16) {
    const auto block = static_cast<int64_t>(args.blocks[begin / 16]);
    const auto* keys =
        static_cast<const Element*>(args.keys) + block * args.key_block_stride + args.key_offset;
    const auto* values = static_cast<const Element*>(args.values) +
                         block * args.value_block_stride + args.value_offset;
    Vector16 scores[Heads] = {};
    for (int64_t d = 0; d < args.head_dim; ++d) {
      const Vector16 key = load16(keys + d * 16);
      for (int h = 0; h < Heads; ++h) scores[h] += query[h * args.head_dim + d] * key;
    }
    const int64_t count = args.length - begin < 16 ? args.length - begin : 16;
    for (int h = 0; h < Heads; ++h)
      take_block(heads[h], scores[h] * args.scale, values, count, args.padded_dim);
  }
  for (int h = 0; h < Heads; ++h)
    finish_head(heads[h], args.out + (first + h) * args.head_dim, args.head_dim);
}

template <class Element>
void attend(const AttendArgs& args) {
  int64_t head = 0;
  for (; head + max_group <= args.group; head += max_group)
    attend_heads<Element, max_group>(args, head);
  switch (args.group - head) {
    case 3: attend_heads<Element, 3>(args, head); break;
    case 2: attend_heads<Element, 2>(args, head); break;
    case 1: attend_heads<Element, 1>(args, head); break;
    default: break;
  }
}

}  // namespace
}  // namespace tandem::gpu
