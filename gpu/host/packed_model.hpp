// A model's weights in the layout that the GEMMs stream: panels of 64 output columns, K from top to
// bottom (kernel_table.hpp). Packed once at start into one block of memory on huge pages, in the
// order in which a pass reads them.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "gpu/host/aligned_buffer.hpp"
#include "gpu/host/kernels.hpp"
#include "gpu/host/thread_pool.hpp"
#include "model/weights.hpp"

namespace tandem::gpu {

/// Views into the PackedModel that made it.
struct PackedMatrix {
  const std::uint32_t* data = nullptr;  ///< [panel][word of k][64]
  std::int64_t words = 0;               ///< k in words, padded
  std::int64_t panels = 0;

  [[nodiscard]] const std::uint32_t* panel(std::int64_t index) const {
    return data + index * words * panel_columns;
  }
};

struct PackedLayer {
  PackedMatrix qkv;      ///< columns of q, k and v one after another
  PackedMatrix out;      ///< of attention
  PackedMatrix gate_up;  ///< each panel: 32 columns of gate, the same 32 of up
  PackedMatrix down;
  /// Norms are zero beyond their count, to whole panels; so is the bias, which is empty without
  /// one.
  std::vector<float> input_norm, post_norm, q_norm, k_norm, qkv_bias;
};

/// One of a packed matrix's columns: a row of a stored matrix.
struct ColumnSource {
  const model::TensorView* matrix = nullptr;  ///< none: a column of zeros
  std::int64_t row = 0;
};

class PackedModel {
 public:
  /// Throws std::bad_alloc. `weights` are not needed afterwards.
  PackedModel(const model::Weights& weights, HostDtype dtype, ThreadPool& pool);

  /// The memory that packing this config takes.
  static std::int64_t bytes_of(const model::ModelConfig& config, HostDtype dtype);

  [[nodiscard]] const std::vector<PackedLayer>& layers() const { return layers_; }
  [[nodiscard]] const std::vector<float>& final_norm() const { return final_norm_; }
  [[nodiscard]] const PackedMatrix& head() const { return head_; }
  /// Bytes of matrices that one pass reads (the embedding is read by row, elsewhere).
  [[nodiscard]] std::int64_t bytes() const { return static_cast<std::int64_t>(memory_.bytes()); }

 private:
  PackedMatrix place(std::int64_t in_features, std::int64_t panels);
  void pack_joined(PackedMatrix& matrix, std::vector<const model::TensorView*> parts);
  void pack_paired(PackedMatrix& matrix, const model::TensorView& gate,
                   const model::TensorView& up);
  void pack_panel(const PackedMatrix& matrix, std::int64_t panel,
                  const std::array<ColumnSource, panel_columns>& columns);

  HostDtype dtype_;
  ThreadPool& pool_;
  AlignedBuffer<std::uint32_t> memory_;
  std::int64_t used_ = 0;  ///< words of memory_
  std::vector<PackedLayer> layers_;
  std::vector<float> final_norm_;
  PackedMatrix head_;
};

}  // namespace tandem::gpu
