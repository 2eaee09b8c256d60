// Which kernel tables this CPU can run. The questions are those that the flags in gpu/kernels.cmake
// answer: a set runs only where all of its flags hold.
#include "gpu/host/kernels.hpp"

#include <sys/syscall.h>
#include <unistd.h>

namespace tandem::gpu {
namespace {

/// Asks the kernel for the tile registers, once per process; it says no if it does not know them or
/// some thread has a signal stack too small to save them on.
bool may_use_tiles() {
  constexpr long request_permission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr long tile_data = 18;               // XFEATURE_XTILEDATA
  static const bool granted = ::syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
  return granted;
}

}  // namespace

std::vector<const Kernels*> supported_kernels() {
  std::vector<const Kernels*> tables;
  const bool v4 = __builtin_cpu_supports("x86-64-v4") != 0;
  const bool bf16 = v4 && __builtin_cpu_supports("avx512bf16");
  if (bf16 && __builtin_cpu_supports("amx-bf16") && __builtin_cpu_supports("amx-tile") &&
      may_use_tiles())
    tables.push_back(&amx_bf16_kernels);
  if (bf16) tables.push_back(&avx512_bf16_kernels);
  if (v4) tables.push_back(&avx512_kernels);
  if (__builtin_cpu_supports("x86-64-v3")) tables.push_back(&avx2_kernels);
  tables.push_back(&portable_kernels);
  return tables;
}

}  // namespace tandem::gpu
