// Small helpers of several kernels, over the primitives of device.cuh.
#pragma once

#include "gpu/cuda/kernels/device.cuh"

namespace tandem::gpu::cuda::TANDEM_KERNEL_BUILD {

TANDEM_DEVICE float float_of_bf16(std::uint32_t bits) { return bits_as_float(bits << 16); }
TANDEM_DEVICE std::uint16_t bf16_of_float(float value) {
  return static_cast<std::uint16_t>(pack_bf16(value, 0.0F));
}

TANDEM_DEVICE float warp_sum(float value) {
  for (int mask = warp_size / 2; mask > 0; mask /= 2) value += shuffle_xor(value, mask);
  return value;
}

/// The sum over all threads of the block, given to each. `scratch` holds one float per warp and may
/// be used again after the next barrier.
TANDEM_DEVICE float block_sum(float value, float* scratch) {
  value = warp_sum(value);
  if (lane_index() == 0) scratch[warp_index()] = value;
  block_barrier();
  float total = 0;
  for (int warp = 0; warp < num_threads() / warp_size; ++warp) total += scratch[warp];
  return total;
}

}  // namespace tandem::gpu::cuda::TANDEM_KERNEL_BUILD
