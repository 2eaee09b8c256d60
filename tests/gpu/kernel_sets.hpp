// The kernel sets that tests hold to the truth: those that this CPU runs, and AMX on emulated tiles
// wherever there is AVX-512.
#pragma once

#include <vector>

#include "gpu/host/kernels.hpp"

namespace tandem::gpu {
extern const Kernels emulated_amx_kernels;
}  // namespace tandem::gpu

namespace tandem::tests {

inline std::vector<const gpu::Kernels*> kernel_sets() {
  static const gpu::Kernels emulated{"amx_bf16 on emulated tiles",
                                     gpu::emulated_amx_kernels.tile_rows,
                                     gpu::emulated_amx_kernels.f32, gpu::emulated_amx_kernels.bf16};
  auto sets = gpu::supported_kernels();
  if (__builtin_cpu_supports("x86-64-v4") != 0) sets.push_back(&emulated);
  return sets;
}

}  // namespace tandem::tests
