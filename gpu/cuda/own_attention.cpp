// OwnAttention of attention.hpp. Empty grids are not launched.
#include <cmath>

#include "gpu/cuda/attention.hpp"

namespace tandem::gpu::cuda {
namespace {

std::int32_t narrow(std::int64_t value) { return static_cast<std::int32_t>(value); }

}  // namespace

AttendArgs OwnAttention::attend_args(std::int64_t layer) const {
  const auto& shape = parts_.shape;
  return {.num_items = nullptr,
          .items = nullptr,
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
          .scale = 1.0F / std::sqrt(static_cast<float>(shape.head_dim))};
}

MergeArgs OwnAttention::merge_args() const {
  const auto& shape = parts_.shape;
  return {.num_items = nullptr,
          .items = nullptr,
          .sequences = parts_.iteration.sequences,
          .partial_out = parts_.partial_out,
          .partial_lse = parts_.partial_lse,
          .out = parts_.out,
          .heads = narrow(shape.heads),
          .kv_heads = narrow(shape.kv_heads),
          .head_dim = narrow(shape.head_dim),
          .tile_rows = 0};
}

void OwnAttention::run_decodes(std::int64_t layer, const PassSizes& sizes, Stream stream) const {
  const auto& input = parts_.iteration;
  auto args = attend_args(layer);
  args.num_items = &input.header->decode_items;
  args.items = input.decode_items;
  parts_.kernels->attend_decode(args, sizes.decode_items, stream);
  auto merge = merge_args();
  merge.num_items = &input.header->decode_merges;
  merge.items = input.decode_merges;
  merge.tile_rows = narrow(decode_tile_rows);
  parts_.kernels->merge(merge, sizes.decode_merges, stream);
}

void OwnAttention::run_prefills(std::int64_t layer, const PassSizes& sizes, Stream stream) const {
  const auto& input = parts_.iteration;
  auto args = attend_args(layer);
  args.num_items = &input.header->prefill_items;
  args.items = input.prefill_items;
  parts_.kernels->attend_prefill(args, sizes.prefill_items, stream);
  auto merge = merge_args();
  merge.num_items = &input.header->prefill_merges;
  merge.items = input.prefill_merges;
  merge.tile_rows = narrow(prefill_tile_rows);
  parts_.kernels->merge(merge, sizes.prefill_merges, stream);
}

Result<void> OwnAttention::run(std::int64_t layer, const PassSizes& sizes, Stream stream) {
  // The two share the room for partial results, one after the other.
  run_decodes(layer, sizes, stream);
  run_prefills(layer, sizes, stream);
  return {};
}

}  // namespace tandem::gpu::cuda
