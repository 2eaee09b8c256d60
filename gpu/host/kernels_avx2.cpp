// Kernels for AVX2 and FMA: 6 x 2 accumulators of 16 registers.
#define LANES 8
#define TILE_ROWS 6
#define TILE_VECTORS 2
#include "gpu/host/kernels_body.hpp"

namespace tandem::gpu {
namespace {
TANDEM_GEMM(gemm_f32, float, tile_f32, 1)
TANDEM_GEMM(gemm_bf16, std::uint16_t, tile_bf16, 2)
}  // namespace

const Kernels& avx2_kernels() {
  static const Kernels table{"avx2",  gemm_f32,      gemm_bf16,
                             rmsnorm, to_bf16,       rope,
                             swiglu,  attend<float>, attend<std::uint16_t>};
  return table;
}

}  // namespace tandem::gpu
