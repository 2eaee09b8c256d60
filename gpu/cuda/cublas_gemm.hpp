// Gemm over cuBLASLt, which is opened at start; cuBLAS where cuBLASLt knows no algorithm. A shape's
// plan (descriptor, layouts, algorithm) is made once and kept.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "gpu/cuda/gemm.hpp"
#include "gpu/cuda/gemm_tuning.hpp"

namespace tandem::gpu::cuda {

class CublasGemm : public Gemm {
 public:
  [[nodiscard]] virtual std::uint64_t library_version() const = 0;
  /// Takes measured choices in place of the library's own; before anything is prepared.
  virtual void use(GemmTuning tuning) = 0;
  /// Up to `count` algorithms for a shape, the library's favourite first.
  virtual Result<std::vector<TunedGemm>> candidates(const GemmKey& key, std::int64_t out_stride,
                                                    std::size_t count) = 0;
  /// Makes `choice` the plan of a shape.
  virtual Result<void> prepare_with(const GemmKey& key, std::int64_t out_stride,
                                    const TunedGemm& choice) = 0;
};

/// Fails by the name of what is missing: the library, or a function in it.
Result<std::unique_ptr<CublasGemm>> open_cublas();

}  // namespace tandem::gpu::cuda
