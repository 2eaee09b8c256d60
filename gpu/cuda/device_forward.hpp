// One forward pass as kernel launches and matrix products on a stream. What the pass is about is in
// the iteration's buffer on the device; the sizes given here are those of grids and buckets, at
// least as large, so that a captured pass serves every iteration that they hold.
#pragma once

#include <cstdint>
#include <memory>

#include "core/result.hpp"
#include "gpu/cuda/attention.hpp"
#include "gpu/cuda/device_model.hpp"
#include "gpu/cuda/gemm.hpp"
#include "gpu/cuda/iteration.hpp"
#include "gpu/cuda/kernels/kernels.hpp"
#include "gpu/cuda/memory_plan.hpp"

namespace tandem::gpu::cuda {

struct PassParts {
  std::shared_ptr<const DeviceModel> model;
  const KernelTable* kernels = nullptr;
  Gemm* gemm = nullptr;
  Attention* attention = nullptr;
  Workspace workspace;
  IterationView iteration;  ///< on the device
  SampleOutput* outputs = nullptr;
  std::uint16_t* pool = nullptr;
  KvStrides strides;
  std::int64_t logit_stride = 0, logit_rows = 0;
  float epsilon = 0;
};

class DeviceForward {
 public:
  DeviceForward(const ModelShape& shape, const PassParts& parts) : shape_(shape), parts_(parts) {}

  /// Prepares the products of every bucket up to `rows` rows and `sampled` sampled ones.
  Result<void> prepare(std::int64_t rows, std::int64_t sampled);

  void embed(const PassSizes& sizes, Stream stream) const;
  /// Layers first .. end - 1.
  Result<void> run_layers(std::int64_t first, std::int64_t end, const PassSizes& sizes,
                          Stream stream) const;
  /// Logits of the rows that sample, and a token from each.
  Result<void> sample(const PassSizes& sizes, Stream stream) const;

 private:
  struct Product {
    GemmKey key;
    std::int64_t out_stride;
  };
  [[nodiscard]] Product qkv(std::int64_t rows) const;
  [[nodiscard]] Product attention_out(std::int64_t rows) const;
  [[nodiscard]] Product gate_up(std::int64_t rows) const;
  [[nodiscard]] Product down(std::int64_t rows) const;
  [[nodiscard]] Product head(std::int64_t rows) const;
  Result<void> multiply(const Product& product, const std::uint16_t* a,
                        const std::uint16_t* weights, void* out, Stream stream) const;
  void normalise(const float* weight, const PassSizes& sizes, Stream stream) const;
  [[nodiscard]] RotateArgs rotate_args(std::int64_t layer) const;

  const ModelShape shape_;
  const PassParts parts_;
};

}  // namespace tandem::gpu::cuda
