// Kernels for AVX-512 with vdpbf16ps: two products per lane and instruction, so the bf16 GEMM runs
// at twice the rate of the f32 one.
#define LANES 16
#define NATIVE_BF16 1
#include "gpu/host/kernel_attend.hpp"
#include "gpu/host/kernel_gemm.hpp"
#include "gpu/host/kernel_rows.hpp"

namespace tandem::gpu {

const Kernels avx512_bf16_kernels{
    "avx512_bf16",
    tile_rows,
    {gemm_store<F32>, gemm_add<F32>, gemm_swiglu<F32>, norm<F32>, rotate<F32>, attend<F32>},
    {gemm_store<Bf16>, gemm_add<Bf16>, gemm_swiglu<Bf16>, norm<Bf16>, rotate<Bf16>, attend<Bf16>}};

}  // namespace tandem::gpu
