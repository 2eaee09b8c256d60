// OwnAttention of attention.hpp. Empty grids are not launched.
#include <cmath>

#include "gpu/cuda/attention.hpp"

namespace tandem::gpu::cuda {
namespace {

std::int32_t narrow(std::int64_t value) { return static_cast<std::int32_t>(value); }

}  // namespace

void OwnAttention::run_items(std::int64_t layer, const ItemKind& kind, std::int64_t items,
                             std::int64_t merges, Stream stream) const {
  const auto& shape = parts_.shape;
  kind.attend({.num_items = kind.num_items,
               .items = kind.items,
               .sequences = parts_.iteration.sequences,
               .tables = parts_.iteration.tables,
               .query = parts_.query,
               .pool = parts_.pool,
               .out = parts_.out,
               .partial_out = parts_.partial_out,
               .partial_lse = parts_.partial_lse,
               .strides = parts_.strides,
               .layer = narrow(layer),
               .heads = narrow(shape.heads),
               .kv_heads = narrow(shape.kv_heads),
               .head_dim = narrow(shape.head_dim),
               .stored_head_dim = narrow(shape.stored_head_dim),
               .scale = 1.0F / std::sqrt(static_cast<float>(shape.head_dim))},
              items, stream);
  parts_.kernels->merge({.num_items = kind.num_merges,
                         .items = kind.merges,
                         .sequences = parts_.iteration.sequences,
                         .partial_out = parts_.partial_out,
                         .partial_lse = parts_.partial_lse,
                         .out = parts_.out,
                         .heads = narrow(shape.heads),
                         .kv_heads = narrow(shape.kv_heads),
                         .head_dim = narrow(shape.head_dim),
                         .tile_rows = narrow(kind.tile_rows)},
                        merges, stream);
}

void OwnAttention::run_decodes(std::int64_t layer, const PassSizes& sizes, Stream stream) const {
  const auto& input = parts_.iteration;
  run_items(layer,
            {parts_.kernels->attend_decode, &input.header->decode_items, input.decode_items,
             &input.header->decode_merges, input.decode_merges, decode_tile_rows},
            sizes.decode_items, sizes.decode_merges, stream);
}

void OwnAttention::run_prefills(std::int64_t layer, const PassSizes& sizes, Stream stream) const {
  const auto& input = parts_.iteration;
  run_items(layer,
            {parts_.kernels->attend_prefill, &input.header->prefill_items, input.prefill_items,
             &input.header->prefill_merges, input.prefill_merges, prefill_tile_rows},
            sizes.prefill_items, sizes.prefill_merges, stream);
}

Result<void> OwnAttention::run(std::int64_t layer, const PassSizes& sizes, Stream stream) {
  // The two share the room for partial results, one after the other.
  run_decodes(layer, sizes, stream);
  run_prefills(layer, sizes, stream);
  return {};
}

}  // namespace tandem::gpu::cuda
