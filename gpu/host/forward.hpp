// One forward pass over the rows of a plan: embedding, layers, and the logits of the rows that
// sample. Owns packed weights, the paged KV cache and the workspaces; allocates nothing once it is
// built.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "core/plan.hpp"
#include "gpu/host/aligned_buffer.hpp"
#include "gpu/host/kernels.hpp"
#include "gpu/host/packed_matrix.hpp"
#include "gpu/host/thread_pool.hpp"
#include "model/weights.hpp"

namespace tandem::gpu {

struct ForwardOptions {
  HostDtype dtype = HostDtype::f32;  ///< of weights, GEMM inputs and KV
  std::int64_t num_blocks = 0;
  std::int64_t max_rows = 0;
  std::int64_t max_context = 0;
};

/// Bytes of one KV block over all layers.
std::int64_t kv_block_bytes(const model::ModelConfig& config, HostDtype dtype);

class Forward {
 public:
  /// Throws std::bad_alloc.
  Forward(const model::Weights& weights, const Kernels& kernels, ThreadPool& pool,
          const ForwardOptions& options);

  /// Row r of the pass: its token, its position, and the block table of its sequence.
  struct Row {
    TokenId token = 0;
    std::int64_t position = 0;
    const std::uint32_t* blocks = nullptr;
  };
  /// Starts a pass; `rows` must stay valid until its last layer has run.
  void begin(std::span<const Row> rows);
  void run_layers(std::int64_t first, std::int64_t end);
  /// Calls consume(i, logits of rows[i]) for each i, on any thread; the logits may be overwritten.
  using Consume = std::function<void(std::int64_t, std::span<float>)>;
  void logits(std::span<const std::uint32_t> rows, const Consume& consume);

  [[nodiscard]] std::int64_t num_layers() const {
    return static_cast<std::int64_t>(layers_.size());
  }
  /// Bytes of weights that one pass reads (the embedding is read by row).
  [[nodiscard]] std::size_t weight_bytes() const;

 private:
  struct Layer {
    std::vector<float> input_norm, post_norm, q_norm, k_norm, qkv_bias;
    PackedMatrix qkv, out, gate_up, down;
  };
  Layer pack_layer(const model::LayerWeights& weights);
  void normalise(const std::vector<float>& weight);
  void prepare_row(const Layer& layer, std::int64_t layer_index, std::int64_t row);
  void append_kv(std::int64_t layer_index, std::int64_t row, const float* keys,
                 const float* values);
  void attend(std::int64_t layer_index);
  void activate();
  void round(const AlignedBuffer<float>& from, std::int64_t stride, std::int64_t width,
             std::int64_t row);
  [[nodiscard]] GemmInput input(const AlignedBuffer<float>& from, std::int64_t stride) const;

  const model::ModelConfig config_;
  const model::TensorView embedding_;
  const Kernels& kernels_;
  ThreadPool& pool_;
  const ForwardOptions options_;

  // Widths in floats; all are whole panels, so that a GEMM may write full panels.
  std::int64_t hidden_ = 0, query_ = 0, key_ = 0, middle_ = 0, vocab_ = 0;
  std::int64_t padded_dim_ = 0;  ///< head_dim in whole vectors of 16

  std::vector<Layer> layers_;
  std::vector<float> final_norm_;
  PackedMatrix head_;
  std::vector<float> cosines_, sines_;  ///< (max_context, head_dim / 2)

  AlignedBuffer<float> kv_f32_;
  AlignedBuffer<std::uint16_t> kv_bf16_;
  std::int64_t key_block_ = 0,
               value_block_ = 0;  ///< elements of one layer's K and V part of a block

  std::span<const Row> rows_;
  AlignedBuffer<float> residual_, normed_, qkv_, attended_, gate_up_, active_, logits_;
  AlignedBuffer<std::uint16_t> rounded_;  ///< the GEMM input at hand, in bf16
};

}  // namespace tandem::gpu
