// Kernels for AVX2 and FMA.
#define LANES 8
#define NATIVE_BF16 0
#include "gpu/host/kernel_attend.hpp"
#include "gpu/host/kernel_gemm.hpp"
#include "gpu/host/kernel_rows.hpp"

namespace tandem::gpu {

const Kernels avx2_kernels{
    "avx2",
    tile_rows,
    {gemm_store<F32>, gemm_add<F32>, gemm_swiglu<F32>, norm<F32>, rotate<F32>, attend<F32>},
    {gemm_store<Bf16>, gemm_add<Bf16>, gemm_swiglu<Bf16>, norm<Bf16>, rotate<Bf16>, attend<Bf16>}};

}  // namespace tandem::gpu
