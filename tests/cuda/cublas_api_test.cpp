// Our declarations of cuBLAS against its headers, where they are; what a missing library is called;
// and which errors of the runtime are sticky.
#include "gpu/cuda/cublas_api.hpp"

#include <catch2/catch.hpp>

#include "gpu/cuda/cublas_gemm.hpp"
#include "gpu/cuda/cuda_errors.hpp"

#if __has_include(<cublasLt.h>) && __has_include(<cublas_v2.h>)
#include <cublasLt.h>
#include <cublas_v2.h>
#include <type_traits>

namespace {
namespace ours = tandem::gpu::cuda::cublas;

static_assert(ours::success == CUBLAS_STATUS_SUCCESS);
static_assert(ours::real_f32 == CUDA_R_32F && ours::real_bf16 == CUDA_R_16BF);
static_assert(ours::compute_f32 == CUBLAS_COMPUTE_32F);
static_assert(ours::operation_none == CUBLAS_OP_N && ours::operation_transpose == CUBLAS_OP_T);
static_assert(ours::gemm_default == CUBLAS_GEMM_DEFAULT);
static_assert(ours::matmul_transpose_a == CUBLASLT_MATMUL_DESC_TRANSA);
static_assert(ours::preference_workspace == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES);
static_assert(sizeof(ours::MatmulAlgorithm) == sizeof(cublasLtMatmulAlgo_t));
static_assert(sizeof(ours::HeuristicResult) == sizeof(cublasLtMatmulHeuristicResult_t));
static_assert(offsetof(ours::HeuristicResult, workspace_bytes) ==
              offsetof(cublasLtMatmulHeuristicResult_t, workspaceSize));
static_assert(offsetof(ours::HeuristicResult, state) ==
              offsetof(cublasLtMatmulHeuristicResult_t, state));

// A pointer passes for a pointer and an enumeration for an int; counts must agree exactly.
template <class Ours, class Theirs>
constexpr bool passes() {
  if constexpr (std::is_pointer_v<Ours>)
    return std::is_pointer_v<Theirs>;
  else if constexpr (std::is_enum_v<Theirs>)
    return std::is_same_v<Ours, int> && sizeof(Theirs) == sizeof(int);
  else
    return std::is_same_v<Ours, Theirs>;
}
template <class R, class... A, class S, class... B>
constexpr bool agree(R (*)(A...), S (*)(B...)) {
  if constexpr (sizeof...(A) != sizeof...(B))
    return false;
  else
    return passes<R, S>() && (passes<A, B>() && ...);
}
constexpr ours::LtFunctions lt{};
constexpr ours::Functions plain{};
#define TANDEM_AGREES(table, name) \
  static_assert(agree(decltype(table.name){}, static_cast<decltype(&name)>(nullptr)))
TANDEM_AGREES(lt, cublasLtGetVersion);
TANDEM_AGREES(lt, cublasLtCreate);
TANDEM_AGREES(lt, cublasLtDestroy);
TANDEM_AGREES(lt, cublasLtMatmulDescCreate);
TANDEM_AGREES(lt, cublasLtMatmulDescDestroy);
TANDEM_AGREES(lt, cublasLtMatmulDescSetAttribute);
TANDEM_AGREES(lt, cublasLtMatrixLayoutCreate);
TANDEM_AGREES(lt, cublasLtMatrixLayoutDestroy);
TANDEM_AGREES(lt, cublasLtMatmulPreferenceCreate);
TANDEM_AGREES(lt, cublasLtMatmulPreferenceDestroy);
TANDEM_AGREES(lt, cublasLtMatmulPreferenceSetAttribute);
TANDEM_AGREES(lt, cublasLtMatmulAlgoGetHeuristic);
TANDEM_AGREES(lt, cublasLtMatmulAlgoCheck);
TANDEM_AGREES(lt, cublasLtMatmul);
TANDEM_AGREES(plain, cublasCreate_v2);
TANDEM_AGREES(plain, cublasDestroy_v2);
TANDEM_AGREES(plain, cublasSetStream_v2);
TANDEM_AGREES(plain, cublasSetWorkspace_v2);
using GemmEx = cublasStatus_t (*)(cublasHandle_t, cublasOperation_t, cublasOperation_t, int, int,
                                  int, const void*, const void*, cudaDataType, int, const void*,
                                  cudaDataType, int, const void*, void*, cudaDataType, int,
                                  cublasComputeType_t, cublasGemmAlgo_t);
static_assert(agree(decltype(plain.cublasGemmEx){}, static_cast<GemmEx>(&cublasGemmEx)));
}  // namespace
#endif

using namespace tandem;

TEST_CASE("cuBLAS opens, or what was tried is named") {
  const auto gemm = gpu::cuda::open_cublas();
  if (gemm) {
    CHECK((*gemm)->library_version() > 0);
    return;
  }
  CHECK_FALSE(gemm.error().message.empty());
  if (gemm.error().code == Errc::unsupported)
    CHECK(gemm.error().message.find("libcublasLt") != std::string::npos);
}

TEST_CASE("errors after which a process must end are told from those after which it may go on") {
  for (const int error : {700, 719, 214, 999, 710}) CHECK(gpu::cuda::is_sticky(error));
  for (const int error : {0, 1, 2, 100, 600, 801}) CHECK_FALSE(gpu::cuda::is_sticky(error));
}
