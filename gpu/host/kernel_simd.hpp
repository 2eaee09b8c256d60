// The vocabulary of the kernel files: vectors of LANES floats over GCC's vector types, the two
// formats of words, exp. Compiled once per instruction set; the including file defines
//   LANES         floats per register: 16, 8 or 4
//   NATIVE_BF16   1 if vdpbf16ps may be used
// Everything is in an unnamed namespace and no library template is used: nothing compiled for a
// newer CPU may be shared with code that runs on an older one. Contraction is off (kernels.cmake):
// a fused multiply-add happens where it is written and nowhere else, so that the same expression
// gives the same bits in every tile that it is inlined into.
#pragma once

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "gpu/host/kernel_table.hpp"

#define TANDEM_INLINE [[gnu::always_inline]] inline

namespace tandem::gpu {
namespace {

typedef float Vector __attribute__((vector_size(LANES * 4)));
typedef int32_t Integers __attribute__((vector_size(LANES * 4)));
typedef uint32_t Words __attribute__((vector_size(LANES * 4)));
typedef uint16_t Halves __attribute__((vector_size(LANES * 2)));

/// Rows and panels come from plain arrays: every access says that it may be unaligned, and of
/// another type.
template <class To>
TANDEM_INLINE To load(const void* from) {
  To value;
  memcpy(&value, from, sizeof value);
  return value;
}
template <class From>
TANDEM_INLINE void store(void* to, From value) {
  memcpy(to, &value, sizeof value);
}
/// The same bits as another type.
template <class To, class From>
TANDEM_INLINE To bits(From from) {
  static_assert(sizeof(To) == sizeof(From), "bits are kept");
  To value;
  memcpy(&value, &from, sizeof value);
  return value;
}

TANDEM_INLINE Vector all(float value) { return Vector{} + value; }
TANDEM_INLINE Vector max(Vector a, Vector b) { return a > b ? a : b; }

/// a * b + c, rounded once where the CPU can.
TANDEM_INLINE Vector fused(Vector a, Vector b, Vector c) {
#if LANES == 16
  return _mm512_fmadd_ps(a, b, c);
#elif LANES == 8
  return _mm256_fmadd_ps(a, b, c);
#else
  return a * b + c;
#endif
}

/// Asks for a cache line: into L1 for soon, into L2 for later. The second may wait in the L2's
/// queue, which is longer, and leaves that of the L1 to what is needed now.
TANDEM_INLINE void prefetch(const void* address) { __builtin_prefetch(address, 0, 3); }
TANDEM_INLINE void prefetch_far(const void* address) { __builtin_prefetch(address, 0, 2); }

/// Rounds to nearest even; a NaN stays one.
TANDEM_INLINE uint16_t round_bf16(float value) {
  const auto word = bits<uint32_t>(value);
  if ((word & 0x7fffffff) > 0x7f800000) return static_cast<uint16_t>((word >> 16) | 0x40);
  return static_cast<uint16_t>((word + 0x7fff + ((word >> 16) & 1)) >> 16);
}
TANDEM_INLINE Halves round_bf16(Vector value) {
#if NATIVE_BF16
  return bits<Halves>(_mm512_cvtneps_pbh(value));  // denormal numbers become zeros
#else
  const auto word = bits<Words>(value);
  const Words rounded = (word + 0x7fff + ((word >> 16) & 1)) >> 16;
  const Words quiet = (word >> 16) | 0x40;
  return __builtin_convertvector((word & 0x7fffffff) > 0x7f800000 ? quiet : rounded, Halves);
#endif
}

/// One float per word.
struct F32 {
  static constexpr int per_word = 1;
  TANDEM_INLINE static Vector dot(Vector sum, Words weights, uint32_t pair) {
    return fused(bits<Vector>(Words{} + pair), bits<Vector>(weights), sum);
  }
  /// `words` with elements of `value` as their part `part`.
  TANDEM_INLINE static Words merged(Words, Vector value, int64_t) { return bits<Words>(value); }
  TANDEM_INLINE static void put(uint32_t* row, int64_t index, float value) {
    store(row + index, value);
  }
  TANDEM_INLINE static void put(uint32_t* row, int64_t index, Vector value) {
    store(row + index, value);
  }
};

/// Two bf16 per word, the even one in the low half.
struct Bf16 {
  static constexpr int per_word = 2;
  TANDEM_INLINE static Vector dot(Vector sum, Words weights, uint32_t pair) {
#if NATIVE_BF16
    return _mm512_dpbf16_ps(sum, (__m512bh)(Words{} + pair), (__m512bh)weights);
#else
    // A shift and a mask make floats of the halves.
    sum = fused(bits<Vector>(Words{} + (pair << 16)), bits<Vector>(weights << 16), sum);
    return fused(bits<Vector>(Words{} + (pair & 0xffff0000U)), bits<Vector>(weights & 0xffff0000U),
                 sum);
#endif
  }
  TANDEM_INLINE static Words merged(Words words, Vector value, int64_t part) {
    const Words half = __builtin_convertvector(round_bf16(value), Words);
    return part == 0 ? (words & 0xffff0000U) | half : (words & 0x0000ffffU) | (half << 16);
  }
  TANDEM_INLINE static void put(uint32_t* row, int64_t index, float value) {
    store(reinterpret_cast<char*>(row) + index * 2, round_bf16(value));
  }
  TANDEM_INLINE static void put(uint32_t* row, int64_t index, Vector value) {
    store(reinterpret_cast<char*>(row) + index * 2, round_bf16(value));
  }
};

/// exp(x) to about 1e-7 relative. Exactly 1 at 0 and exactly 0 below -86: what is masked out of a
/// softmax leaves no trace. Finite for every x that is not a NaN.
TANDEM_INLINE Vector exponential(Vector x) {
  const Integers vanishes = x < -86.0F;
  x = x > 88.0F ? all(88.0F) : x;
  x = x < -86.0F ? all(-86.0F) : x;
  const Vector magic = all(12582912.0F);  // 1.5 * 2^23: adding it rounds to the nearest integer
  const Vector shifted = fused(x, all(1.44269504F), magic);
  const Vector n = shifted - magic;
  const Vector r = fused(n, all(2.12194440e-4F), fused(n, all(-0.693359375F), x));
  Vector p = fused(r, all(1.9875691500e-4F), all(1.3981999507e-3F));
  p = fused(p, r, all(8.3334519073e-3F));
  p = fused(p, r, all(4.1665795894e-2F));
  p = fused(p, r, all(1.6666665459e-1F));
  p = fused(p, r, all(5.0000001201e-1F));
  p = fused(p, r * r, r) + 1.0F;
  // The low bits of `shifted` are n: moved up they are what 2^n adds to the exponent.
  const Vector result = bits<Vector>(bits<Words>(p) + (bits<Words>(shifted) << 23));
  return vanishes ? Vector{} : result;
}

/// The number of each lane.
TANDEM_INLINE Integers lane_numbers() {
  Integers numbers{};
  for (int lane = 0; lane < LANES; ++lane) numbers[lane] = lane;
  return numbers;
}

/// The lanes' sum and maximum: neighbours first, then their neighbours.
TANDEM_INLINE float sum_of(Vector value) {
  for (int step = 1; step < LANES; step *= 2)
    value += __builtin_shuffle(value, lane_numbers() ^ step);
  return value[0];
}
TANDEM_INLINE float max_of(Vector value) {
  for (int step = 1; step < LANES; step *= 2)
    value = max(value, __builtin_shuffle(value, lane_numbers() ^ step));
  return value[0];
}

}  // namespace
}  // namespace tandem::gpu
