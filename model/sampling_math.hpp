// The arithmetic of drawing a token that every device has to share to the bit: the exponential that
// weights are made with, and the random numbers. Constant expressions, so that CUDA kernels can
// call them as they stand.
#pragma once

#include <bit>
#include <cstdint>

namespace tandem::model {

/// exp(x) for x <= 0 to about 2e-7 of itself, 0 far below: the same bits on every machine, and
/// free of branches and calls. x = n*ln2 + r with |r| <= ln2/2; exp(r) is its Taylor polynomial.
constexpr float exp_of(float x) {
  const float clamped = x > -87.0F ? x : -87.0F;
  constexpr float round_magic = 12582912.0F;  // 1.5 * 2^23: adding it rounds to whole numbers
  const float shifted = clamped * 1.44269504F + round_magic;
  const float n = shifted - round_magic;
  const float r = (clamped - n * 0.693145752F) - n * 1.42860677e-6F;
  float sum = 1.0F / 5040;
  sum = sum * r + 1.0F / 720;
  sum = sum * r + 1.0F / 120;
  sum = sum * r + 1.0F / 24;
  sum = sum * r + 1.0F / 6;
  sum = sum * r + 0.5F;
  sum = sum * r + 1.0F;
  sum = sum * r + 1.0F;
  const std::uint32_t power = (std::bit_cast<std::uint32_t>(shifted) + 127U) << 23;
  return sum * std::bit_cast<float>(power);
}

/// A bijection that scatters its input over 64 bits (the finalizer of SplitMix64).
constexpr std::uint64_t scatter(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
  return x ^ (x >> 31);
}

/// A uniform number in [0, 1), a pure function of its arguments.
constexpr double uniform_of(std::uint64_t seed, std::uint64_t draw) {
  constexpr std::uint64_t odd = 0x9E3779B97F4A7C15ULL;
  const std::uint64_t bits = scatter(scatter(seed + odd) + (draw + 1) * odd);
  return static_cast<double>(bits >> 11) * 0x1p-53;
}

}  // namespace tandem::model
