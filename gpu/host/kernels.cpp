// Which kernel tables this CPU can run. The questions are those that the flags in gpu/kernels.cmake
// answer: a set runs only where all of its flags hold.
#include "gpu/host/kernels.hpp"

namespace tandem::gpu {

std::vector<const Kernels*> supported_kernels() {
  std::vector<const Kernels*> tables;
  const bool v4 = __builtin_cpu_supports("x86-64-v4") != 0;
  if (v4 && __builtin_cpu_supports("avx512bf16")) tables.push_back(&avx512_bf16_kernels);
  if (v4) tables.push_back(&avx512_kernels);
  if (__builtin_cpu_supports("x86-64-v3")) tables.push_back(&avx2_kernels);
  tables.push_back(&portable_kernels);
  return tables;
}

}  // namespace tandem::gpu
