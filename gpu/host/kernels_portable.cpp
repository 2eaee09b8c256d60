// Kernels for any x86-64: SSE2, 4 x 2 accumulators of 16 registers.
#define LANES 4
#define TILE_ROWS 4
#define TILE_VECTORS 2
#include "gpu/host/kernels_body.hpp"

namespace tandem::gpu {
namespace {
TANDEM_GEMM(gemm_f32, float, tile_f32, 1)
TANDEM_GEMM(gemm_bf16, std::uint16_t, tile_bf16, 2)
}  // namespace

const Kernels& portable_kernels() {
  static const Kernels table{"portable", gemm_f32,      gemm_bf16,
                             rmsnorm,    to_bf16,       rope,
                             swiglu,     attend<float>, attend<std::uint16_t>};
  return table;
}

}  // namespace tandem::gpu
