// Each kernel file fills its part of the table. Included after device.cuh or its stand-in, which
// name the build: compiled for the device, or emulated.
#pragma once

#include "gpu/cuda/kernels/kernels.hpp"
#include "gpu/cuda/kernels/launching.hpp"

namespace tandem::gpu::cuda::TANDEM_KERNEL_BUILD {

template <Launching how>
void add_row_kernels(KernelTable& table);
template <Launching how>
void add_rotate_kernels(KernelTable& table);
template <Launching how>
void add_attend_kernels(KernelTable& table);
template <Launching how>
void add_draw_kernels(KernelTable& table);
template <Launching how>
void add_skinny_kernels(KernelTable& table);
template <Launching how>
void add_copy_kernels(KernelTable& table);

/// The architecture, times ten, whose code of a kernel the current device runs; all are compiled
/// alike. Returns the runtime's error, or 0.
int find_compiled_for(int& architecture);

template <Launching how>
KernelTable all_kernels() {
  KernelTable table{};
  add_row_kernels<how>(table);
  add_rotate_kernels<how>(table);
  add_attend_kernels<how>(table);
  add_draw_kernels<how>(table);
  add_skinny_kernels<how>(table);
  add_copy_kernels<how>(table);
  return table;
}

}  // namespace tandem::gpu::cuda::TANDEM_KERNEL_BUILD
