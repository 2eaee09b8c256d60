// The CUDA kernels as they run on the host (device_emulation.hpp).
#pragma once

#include "gpu/cuda/kernels/kernels.hpp"

namespace tandem::tests {
const gpu::cuda::KernelTable& emulated_kernels();
}  // namespace tandem::tests
