// Kernels for AVX-512: 6 x 4 accumulators of 32 registers.
#define LANES 16
#define TILE_ROWS 6
#define TILE_VECTORS 4
#include "gpu/host/kernels_body.hpp"

namespace tandem::gpu {
namespace {
TANDEM_GEMM(gemm_f32, float, tile_f32, 1)
TANDEM_GEMM(gemm_bf16, std::uint16_t, tile_bf16, 2)
}  // namespace

const Kernels& avx512_kernels() {
  static const Kernels table{"avx512", gemm_f32,      gemm_bf16,
                             rmsnorm,  to_bf16,       rope,
                             swiglu,   attend<float>, attend<std::uint16_t>};
  return table;
}

}  // namespace tandem::gpu
