// Which kernel tables there are, and which of them this CPU can run.
#pragma once

#include <vector>

#include "gpu/host/kernel_table.hpp"

namespace tandem::gpu {

/// The format of packed weights, of GEMM inputs and of the KV cache. Sums are f32 in both.
enum class HostDtype : std::uint8_t { f32, bf16 };

constexpr std::int64_t pad_to(std::int64_t n, std::int64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}
/// Words of a row of `count` elements.
constexpr std::int64_t words_of(std::int64_t count, HostDtype dtype) {
  return dtype == HostDtype::f32 ? count : (count + 1) / 2;
}

inline const FormatKernels& kernels_of(const Kernels& kernels, HostDtype dtype) {
  return dtype == HostDtype::f32 ? kernels.f32 : kernels.bf16;
}

/// Tables that this CPU can run, best first; the portable one is always there.
std::vector<const Kernels*> supported_kernels();

}  // namespace tandem::gpu
