// A model's weights on the device: matrices in bf16, Q, K and V merged into one and gate and up
// into another, norms and biases in f32, all in one piece of memory that is filled once at start.
#pragma once

#include <cstdint>
#include <vector>

#include "core/result.hpp"
#include "gpu/cuda/driver.hpp"
#include "gpu/cuda/model_shape.hpp"
#include "gpu/cuda/resources.hpp"
#include "model/weights.hpp"

namespace tandem::gpu::cuda {

/// Matrices are (out_features, in_features).
struct DeviceLayer {
  const std::uint16_t* qkv = nullptr;      ///< rows of Q, then K, then V
  const std::uint16_t* out = nullptr;      ///< of attention
  const std::uint16_t* gate_up = nullptr;  ///< rows of gate, then up
  const std::uint16_t* down = nullptr;
  const float *input_norm = nullptr, *post_norm = nullptr;
  const float* qkv_bias = nullptr;                   ///< or none
  const float *q_norm = nullptr, *k_norm = nullptr;  ///< or none
};

class DeviceModel {
 public:
  DeviceModel() = default;
  /// Converts and uploads; returns when the device has everything. `weights` are not needed then.
  static Result<DeviceModel> upload(Driver& driver, Stream stream, const model::Weights& weights);
  /// The device memory that upload() takes.
  static Bytes bytes_of(const model::Weights& weights);

  [[nodiscard]] const std::vector<DeviceLayer>& layers() const { return layers_; }
  [[nodiscard]] const std::uint16_t* embedding() const { return embedding_; }
  [[nodiscard]] const std::uint16_t* head() const { return head_; }
  [[nodiscard]] const float* final_norm() const { return final_norm_; }

 private:
  DeviceBuffer memory_;
  std::vector<DeviceLayer> layers_;
  const std::uint16_t *embedding_ = nullptr, *head_ = nullptr;
  const float* final_norm_ = nullptr;
};

}  // namespace tandem::gpu::cuda
