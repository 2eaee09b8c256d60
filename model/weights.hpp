// The tensors of a model as the file holds them: memory-mapped views, nothing converted. Devices
// pack them into their own layout; the reference reads them through `to_f32`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <vector>

#include "core/result.hpp"
#include "model/model_config.hpp"

namespace tandem::model {

enum class Dtype : std::uint8_t { f32, f16, bf16 };
constexpr std::size_t size_of(Dtype d) { return d == Dtype::f32 ? 4 : 2; }

/// A row-major matrix (rows, cols), or a vector with rows == 1. Valid as long as its Weights lives.
/// `data` need not be aligned: a file may place a tensor at any byte.
struct TensorView {
  const std::byte* data = nullptr;
  Dtype dtype = Dtype::f32;
  std::int64_t rows = 0;
  std::int64_t cols = 0;

  [[nodiscard]] bool empty() const { return data == nullptr; }
  [[nodiscard]] std::int64_t size() const { return rows * cols; }
};

/// Converts elements [first, first + out.size()) of `view`, row-major, to f32.
void to_f32(const TensorView& view, std::int64_t first, std::span<float> out);

/// Matrices are (out_features, in_features), as stored by Hugging Face.
struct LayerWeights {
  TensorView input_norm;              ///< (hidden)
  TensorView q;                       ///< (heads*head_dim, hidden)
  TensorView k, v;                    ///< (kv_heads*head_dim, hidden)
  TensorView o;                       ///< (hidden, heads*head_dim)
  TensorView q_bias, k_bias, v_bias;  ///< empty unless qkv_bias
  TensorView q_norm, k_norm;          ///< (head_dim), empty unless qk_norm
  TensorView post_attention_norm;     ///< (hidden)
  TensorView gate, up, down;          ///< (intermediate, hidden) x2, (hidden, intermediate)
};

class Weights {
 public:
  Weights(const Weights&) = delete;
  Weights& operator=(const Weights&) = delete;
  ~Weights();

  ModelConfig config;
  TensorView embedding;  ///< (vocab, hidden)
  std::vector<LayerWeights> layers;
  TensorView final_norm;  ///< (hidden)
  TensorView head;        ///< (vocab, hidden); the embedding itself if tied

  /// Owns the mapped files or the generated numbers; nobody looks inside.
  struct Storage;
  explicit Weights(std::unique_ptr<Storage> storage);

 private:
  std::unique_ptr<Storage> storage_;
};
using WeightsPtr = std::shared_ptr<const Weights>;

/// Maps `*.safetensors` of the folder (one file, or the shards of model.safetensors.index.json).
/// Every offset and shape is checked against the file's length and the config before use; an error
/// names the file and the tensor.
Result<WeightsPtr> load_weights(const std::filesystem::path& folder, const ModelConfig& config);

/// Random weights of the config's shape: matrices bell-shaped with deviation 1/sqrt(cols), so that
/// activations and logits stay near 1, norms 1. Equal seeds give equal weights, up to the rounding
/// of `dtype`. For benchmarks and tests; a few seconds per 10^9 parameters.
WeightsPtr dummy_weights(const ModelConfig& config, Dtype dtype, std::uint64_t seed);

}  // namespace tandem::model
