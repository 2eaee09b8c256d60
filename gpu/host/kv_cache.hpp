// The paged KV cache: blocks of 16 positions, each with the K and V of all layers side by side, so
// that a block is one piece of memory: [block][layer][kv_head][K | V], the inner layouts those of
// kernel_table.hpp.
#pragma once

#include <cstdint>

#include "core/plan.hpp"
#include "gpu/host/aligned_buffer.hpp"
#include "gpu/host/kernels.hpp"
#include "model/model_config.hpp"

namespace tandem::gpu {

/// Sizes and distances, in words.
struct KvLayout {
  std::int64_t value_offset = 0;  ///< from a head's K to its V
  std::int64_t head_stride = 0;
  std::int64_t layer_stride = 0;
  std::int64_t block_stride = 0;

  KvLayout() = default;
  KvLayout(const model::ModelConfig& config, HostDtype dtype) {
    value_offset = words_of(config.head_dim, dtype) * kv_block_tokens;
    head_stride = value_offset + words_of(kv_block_tokens, dtype) * pad_to(config.head_dim, 16);
    layer_stride = head_stride * config.num_kv_heads;
    block_stride = layer_stride * config.num_layers;
  }
  [[nodiscard]] std::int64_t block_bytes() const { return block_stride * 4; }
};

class KvCache {
 public:
  /// Throws std::bad_alloc.
  KvCache(const model::ModelConfig& config, HostDtype dtype, std::int64_t num_blocks)
      : layout_(config, dtype),
        memory_(static_cast<std::size_t>(layout_.block_stride * num_blocks)) {}

  [[nodiscard]] const KvLayout& layout() const { return layout_; }
  /// A layer's part of a block.
  [[nodiscard]] std::uint32_t* at(std::int64_t block, std::int64_t layer) {
    return memory_.data() + block * layout_.block_stride + layer * layout_.layer_stride;
  }
  [[nodiscard]] AlignedBuffer<std::uint32_t>& memory() { return memory_; }

 private:
  KvLayout layout_;
  AlignedBuffer<std::uint32_t> memory_;
};

}  // namespace tandem::gpu
