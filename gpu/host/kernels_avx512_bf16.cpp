// Kernels for AVX-512 with BF16 dot products: vdpbf16ps adds two products per lane and instruction,
// so the bf16 GEMM runs at twice the f32 rate. 6 x 4 accumulators of 32 registers.
#define LANES 16
#define TILE_ROWS 6
#define TILE_VECTORS 4
#include <immintrin.h>

#include "gpu/host/kernels_body.hpp"

namespace tandem::gpu {
namespace {

template <int Rows>
void tile_dot(const uint16_t* a, int64_t lda, const uint16_t* panel, int64_t k, float* out,
              int64_t ldo, bool add) {
  __m512 sums[Rows][TILE_VECTORS];
  for (auto& row : sums)
    for (auto& sum : row) sum = _mm512_setzero_ps();
  for (int64_t i = 0; i < k / 2; ++i) {
    const auto* weights = panel + i * panel_columns * 2;
    // A panel is streamed once; the line eight steps ahead hides the memory's latency.
    for (int v = 0; v < TILE_VECTORS; ++v)
      _mm_prefetch(reinterpret_cast<const char*>(weights + (v + 8 * TILE_VECTORS) * 32),
                   _MM_HINT_T0);
    __m512bh b[TILE_VECTORS];
    for (int v = 0; v < TILE_VECTORS; ++v) b[v] = (__m512bh)_mm512_loadu_si512(weights + v * 32);
    for (int r = 0; r < Rows; ++r) {
      int32_t pair;
      memcpy(&pair, a + r * lda + 2 * i, sizeof pair);
      const auto broadcast = (__m512bh)_mm512_set1_epi32(pair);
      for (int v = 0; v < TILE_VECTORS; ++v)
        sums[r][v] = _mm512_dpbf16_ps(sums[r][v], broadcast, b[v]);
    }
  }
  for (int r = 0; r < Rows; ++r)
    for (int v = 0; v < TILE_VECTORS; ++v) {
      float* to = out + r * ldo + v * 16;
      _mm512_storeu_ps(to, add ? _mm512_add_ps(_mm512_loadu_ps(to), sums[r][v]) : sums[r][v]);
    }
}

TANDEM_GEMM(gemm_f32, float, tile_f32, 1)
TANDEM_GEMM(gemm_bf16, std::uint16_t, tile_dot, 2)

}  // namespace

const Kernels& avx512_bf16_kernels() {
  static const Kernels table{"avx512_bf16", gemm_f32,      gemm_bf16,
                             rmsnorm,       to_bf16,       rope,
                             swiglu,        attend<float>, attend<std::uint16_t>};
  return table;
}

}  // namespace tandem::gpu
