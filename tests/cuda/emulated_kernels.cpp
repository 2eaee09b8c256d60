// The kernel files once more, over the emulated device.
#include "tests/cuda/emulated_kernels.hpp"

#include "tests/cuda/device_emulation.hpp"
// The order matters: what stands above takes the place of device.cuh.
#include "gpu/cuda/kernels/attend.cu"
#include "gpu/cuda/kernels/copy.cu"
#include "gpu/cuda/kernels/draw.cu"
#include "gpu/cuda/kernels/rotate.cu"
#include "gpu/cuda/kernels/rows.cu"
#include "gpu/cuda/kernels/skinny.cu"

namespace tandem::tests {

const gpu::cuda::KernelTable& emulated_kernels() {
  static const auto table = gpu::cuda::emulated_build::all_kernels<gpu::cuda::Launching::serial>();
  return table;
}

}  // namespace tandem::tests
