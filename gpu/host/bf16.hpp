// float to bf16, rounding to nearest even; a NaN stays one. For packing and the KV cache; the
// kernels have their own copy, compiled for their instruction set.
#pragma once

#include <bit>
#include <cstdint>

namespace tandem::gpu {

inline std::uint16_t round_to_bf16(float value) {
  const auto word = std::bit_cast<std::uint32_t>(value);
  if ((word & 0x7fffffff) > 0x7f800000) return static_cast<std::uint16_t>((word >> 16) | 0x40);
  return static_cast<std::uint16_t>((word + 0x7fff + ((word >> 16) & 1)) >> 16);
}

}  // namespace tandem::gpu
