// Weights in the layout that the GEMM streams: panels of 64 output columns, k from top to bottom;
// with bf16, two consecutive k of a column lie side by side. Packed once at start.
#pragma once

#include <cstdint>
#include <span>

#include "gpu/host/aligned_buffer.hpp"
#include "gpu/host/kernels.hpp"
#include "gpu/host/thread_pool.hpp"
#include "model/weights.hpp"

namespace tandem::gpu {

enum class HostDtype : std::uint8_t { f32, bf16 };

/// Rows of a GEMM's input: f32 and, for a bf16 matrix, the same rounded. Both lie `stride` elements
/// apart.
struct GemmInput {
  const float* f32 = nullptr;
  const std::uint16_t* bf16 = nullptr;
  std::int64_t stride = 0;
};

class PackedMatrix {
 public:
  PackedMatrix() = default;
  /// `parts` are (out_features, in_features) each and stand one after another in the output, every
  /// part padded to whole panels; padding columns yield zeros.
  PackedMatrix(std::span<const model::TensorView> parts, HostDtype dtype, ThreadPool& pool);

  [[nodiscard]] std::int64_t columns() const { return num_panels_ * panel_columns; }  ///< padded
  [[nodiscard]] std::int64_t panels() const { return num_panels_; }
  [[nodiscard]] std::size_t bytes() const { return f32_.bytes() + bf16_.bytes(); }

  /// out[rows, columns] (+)= in * W. Parallel over panels; out rows lie `stride` elements apart.
  void multiply(const Kernels& kernels, ThreadPool& pool, const GemmInput& in, float* out,
                std::int64_t stride, std::int64_t rows, bool add) const;

 private:
  void pack_panel(const model::TensorView& part, std::int64_t first_row, std::int64_t panel);

  std::int64_t inputs_ = 0;  ///< k, even for bf16
  std::int64_t num_panels_ = 0;
  AlignedBuffer<float> f32_;
  AlignedBuffer<std::uint16_t> bf16_;
};

}  // namespace tandem::gpu
