// Each kernel file fills its part of the table. Included after device.cuh or its stand-in, which
// name the build: compiled for the device, or emulated.
#pragma once

#include "gpu/cuda/kernels/kernels.hpp"

namespace tandem::gpu::cuda::TANDEM_KERNEL_BUILD {

void add_row_kernels(KernelTable& table);
void add_rotate_kernels(KernelTable& table);
void add_attend_kernels(KernelTable& table);
void add_draw_kernels(KernelTable& table);
void add_skinny_kernels(KernelTable& table);
void add_copy_kernels(KernelTable& table);

inline KernelTable all_kernels() {
  KernelTable table{};
  add_row_kernels(table);
  add_rotate_kernels(table);
  add_attend_kernels(table);
  add_draw_kernels(table);
  add_skinny_kernels(table);
  add_copy_kernels(table);
  return table;
}

}  // namespace tandem::gpu::cuda::TANDEM_KERNEL_BUILD
