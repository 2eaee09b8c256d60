// The sizes of a model as the CUDA kernels see them, and where a key or value lies in the KV pool.
#pragma once

#include <cstdint>

#include "core/plan.hpp"
#include "gpu/cuda/host_device.hpp"
#include "model/model_config.hpp"

namespace tandem::gpu::cuda {

/// Heads are stored padded to whole tiles of the matrix instructions; the padding is zero.
inline constexpr std::int64_t head_dim_multiple = 16;
inline constexpr std::int64_t max_head_dim = 128;
inline constexpr std::int64_t key_block = kv_block_tokens;

TANDEM_HOST_DEVICE constexpr std::int64_t round_up(std::int64_t value, std::int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

struct ModelShape {
  std::int64_t layers = 0, hidden = 0, intermediate = 0, vocab = 0;
  std::int64_t heads = 0, kv_heads = 0, head_dim = 0;
  std::int64_t stored_head_dim = 0;  ///< of the KV pool and the query rows

  ModelShape() = default;
  explicit ModelShape(const model::ModelConfig& config)
      : layers(config.num_layers),
        hidden(config.hidden_size),
        intermediate(config.intermediate_size),
        vocab(config.vocab_size),
        heads(config.num_heads),
        kv_heads(config.num_kv_heads),
        head_dim(config.head_dim),
        stored_head_dim(round_up(config.head_dim, head_dim_multiple)) {}

  [[nodiscard]] std::int64_t group() const { return heads / kv_heads; }
  [[nodiscard]] std::int64_t query_width() const { return heads * head_dim; }
  [[nodiscard]] std::int64_t qkv_width() const { return (heads + 2 * kv_heads) * head_dim; }
};

/// block_major keeps a block's K and V of all layers together, so that it leaves or comes back in
/// one copy; layer_major keeps a layer's blocks together. A build chooses one (TANDEM_KV_ORDER).
enum class KvOrder : std::uint8_t { block_major, layer_major };
#ifdef TANDEM_KV_LAYER_MAJOR
inline constexpr auto kv_order = KvOrder::layer_major;
#else
inline constexpr auto kv_order = KvOrder::block_major;
#endif

/// Distances in elements: [block][layer][K | V][kv head][16][head dim], or with the first two
/// exchanged.
struct KvStrides {
  std::int64_t block = 0, layer = 0, value = 0, head = 0, token = 0;

  KvStrides() = default;
  KvStrides(const ModelShape& shape, std::int64_t num_blocks, KvOrder order = kv_order)
      : value(shape.kv_heads * key_block * shape.stored_head_dim),
        head(key_block * shape.stored_head_dim),
        token(shape.stored_head_dim) {
    const bool by_block = order == KvOrder::block_major;
    layer = by_block ? 2 * value : 2 * value * num_blocks;
    block = by_block ? 2 * value * shape.layers : 2 * value;
  }

  /// Where the K of a position (or its V, `value` further) begins in the pool.
  TANDEM_HOST_DEVICE std::int64_t key_at(std::int64_t block_id, std::int64_t layer_index,
                                         std::int64_t kv_head, std::int64_t token_index) const {
    return block_id * block + layer_index * layer + kv_head * head + token_index * token;
  }
};

/// Bytes of one block over all layers, in bfloat16.
inline Bytes kv_block_bytes(const ModelShape& shape) {
  return Bytes(2 * 2 * shape.layers * shape.kv_heads * key_block * shape.stored_head_dim);
}

}  // namespace tandem::gpu::cuda
