// The part of cuBLAS and cuBLASLt that is used, declared here: the libraries are opened when the
// program starts (cublas_gemm.cpp), so that building needs neither their headers nor 500 MB of
// them. Names and values are those of the library's documentation; where its headers are at hand,
// tests/cuda/cublas_api_test.cpp holds these to them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tandem::gpu::cuda::cublas {

using Status = int;
using Handle = void*;
using DataType = int;
using ComputeType = int;

inline constexpr Status success = 0;
inline constexpr DataType real_f32 = 0;    // CUDA_R_32F
inline constexpr DataType real_bf16 = 14;  // CUDA_R_16BF
inline constexpr ComputeType compute_f32 = 68;
inline constexpr int operation_none = 0, operation_transpose = 1;
inline constexpr int gemm_default = -1;
// Attributes.
inline constexpr int matmul_transpose_a = 3;
inline constexpr int preference_workspace = 1;

struct MatmulAlgorithm {
  std::uint64_t data[8];
};
struct HeuristicResult {
  MatmulAlgorithm algorithm;
  std::size_t workspace_bytes;
  Status state;
  float waves;
  int reserved[4];
};

/// Functions of libcublasLt, by their names there.
struct LtFunctions {
  std::size_t (*cublasLtGetVersion)();
  Status (*cublasLtCreate)(Handle*);
  Status (*cublasLtDestroy)(Handle);
  Status (*cublasLtMatmulDescCreate)(Handle*, ComputeType, DataType);
  Status (*cublasLtMatmulDescDestroy)(Handle);
  Status (*cublasLtMatmulDescSetAttribute)(Handle, int, const void*, std::size_t);
  Status (*cublasLtMatrixLayoutCreate)(Handle*, DataType, std::uint64_t rows, std::uint64_t columns,
                                       std::int64_t stride);
  Status (*cublasLtMatrixLayoutDestroy)(Handle);
  Status (*cublasLtMatmulPreferenceCreate)(Handle*);
  Status (*cublasLtMatmulPreferenceDestroy)(Handle);
  Status (*cublasLtMatmulPreferenceSetAttribute)(Handle, int, const void*, std::size_t);
  Status (*cublasLtMatmulAlgoGetHeuristic)(Handle, Handle operation, Handle a, Handle b, Handle c,
                                           Handle d, Handle preference, int wanted,
                                           HeuristicResult*, int* found);
  Status (*cublasLtMatmulAlgoCheck)(Handle, Handle operation, Handle a, Handle b, Handle c,
                                    Handle d, const MatmulAlgorithm*, HeuristicResult*);
  Status (*cublasLtMatmul)(Handle, Handle operation, const void* alpha, const void* a,
                           Handle a_layout, const void* b, Handle b_layout, const void* beta,
                           const void* c, Handle c_layout, void* d, Handle d_layout,
                           const MatmulAlgorithm*, void* workspace, std::size_t workspace_bytes,
                           void* stream);
};

/// Functions of libcublas: the fallback.
struct Functions {
  Status (*cublasCreate_v2)(Handle*);
  Status (*cublasDestroy_v2)(Handle);
  Status (*cublasSetStream_v2)(Handle, void* stream);
  Status (*cublasSetWorkspace_v2)(Handle, void* workspace, std::size_t bytes);
  Status (*cublasGemmEx)(Handle, int operation_a, int operation_b, int m, int n, int k,
                         const void* alpha, const void* a, DataType, int a_stride, const void* b,
                         DataType, int b_stride, const void* beta, void* c, DataType, int c_stride,
                         ComputeType, int algorithm);
};

}  // namespace tandem::gpu::cuda::cublas
