// See device_forward.hpp.
#include "gpu/cuda/device_forward.hpp"

#include <algorithm>

#include "gpu/cuda/buckets.hpp"

namespace tandem::gpu::cuda {
namespace {

std::int32_t narrow(std::int64_t value) { return static_cast<std::int32_t>(value); }

}  // namespace

DeviceForward::Product DeviceForward::qkv(std::int64_t rows) const {
  return {{rows, shape_.qkv_width(), shape_.hidden, GemmOutput::bf16}, shape_.qkv_width()};
}
DeviceForward::Product DeviceForward::attention_out(std::int64_t rows) const {
  return {{rows, shape_.hidden, shape_.query_width(), GemmOutput::f32_added}, shape_.hidden};
}
DeviceForward::Product DeviceForward::gate_up(std::int64_t rows) const {
  return {{rows, 2 * shape_.intermediate, shape_.hidden, GemmOutput::bf16},
          2 * shape_.intermediate};
}
DeviceForward::Product DeviceForward::down(std::int64_t rows) const {
  return {{rows, shape_.hidden, shape_.intermediate, GemmOutput::f32_added}, shape_.hidden};
}
DeviceForward::Product DeviceForward::head(std::int64_t rows) const {
  return {{rows, shape_.vocab, shape_.hidden, GemmOutput::f32}, parts_.logit_stride};
}

Result<void> DeviceForward::prepare(std::int64_t rows, std::int64_t sampled) {
  for (const auto bucket : buckets_up_to(rows))
    for (const auto& product : {qkv(bucket), attention_out(bucket), gate_up(bucket), down(bucket)})
      if (auto r = parts_.gemm->prepare(product.key, product.out_stride); !r) return r;
  for (const auto bucket : buckets_up_to(std::min(sampled, parts_.logit_rows)))
    if (auto r = parts_.gemm->prepare(head(bucket).key, parts_.logit_stride); !r) return r;
  return {};
}

Result<void> DeviceForward::multiply(const Product& product, const std::uint16_t* a,
                                     const std::uint16_t* weights, void* out, Stream stream) const {
  return parts_.gemm->run(product.key, {a, weights, out, product.out_stride}, stream);
}

void DeviceForward::embed(const PassSizes& sizes, Stream stream) const {
  parts_.kernels->embed({.header = parts_.iteration.header,
                         .tokens = parts_.iteration.tokens,
                         .drawn = parts_.workspace.drawn,
                         .table = parts_.model->embedding(),
                         .residual = parts_.workspace.residual,
                         .hidden = narrow(shape_.hidden)},
                        sizes.rows, stream);
}

void DeviceForward::normalise(const float* weight, const PassSizes& sizes, Stream stream) const {
  parts_.kernels->norm({.header = parts_.iteration.header,
                        .x = parts_.workspace.residual,
                        .weight = weight,
                        .out = parts_.workspace.normed,
                        .rows = nullptr,
                        .first = 0,
                        .hidden = narrow(shape_.hidden),
                        .epsilon = parts_.epsilon},
                       sizes.rows, stream);
}

RotateArgs DeviceForward::rotate_args(std::int64_t layer) const {
  const auto& weights = parts_.model->layers()[static_cast<std::size_t>(layer)];
  return {.header = parts_.iteration.header,
          .positions = parts_.iteration.positions,
          .kv_slots = parts_.iteration.kv_slots,
          .qkv = parts_.workspace.qkv,
          .bias = weights.qkv_bias,
          .q_norm = weights.q_norm,
          .k_norm = weights.k_norm,
          .angles = parts_.workspace.angles,
          .query = parts_.workspace.query,
          .pool = parts_.pool,
          .strides = parts_.strides,
          .layer = narrow(layer),
          .heads = narrow(shape_.heads),
          .kv_heads = narrow(shape_.kv_heads),
          .head_dim = narrow(shape_.head_dim),
          .stored_head_dim = narrow(shape_.stored_head_dim),
          .epsilon = parts_.epsilon};
}

Result<void> DeviceForward::run_layers(std::int64_t first, std::int64_t end, const PassSizes& sizes,
                                       Stream stream) const {
  const auto& space = parts_.workspace;
  for (auto index = first; index < end; ++index) {
    const auto& layer = parts_.model->layers()[static_cast<std::size_t>(index)];
    normalise(layer.input_norm, sizes, stream);
    if (auto r = multiply(qkv(sizes.rows), space.normed, layer.qkv, space.qkv, stream); !r)
      return r;
    parts_.kernels->rotate(rotate_args(index), sizes.rows, stream);
    if (auto r = parts_.attention->run(index, sizes, stream); !r) return r;
    if (auto r =
            multiply(attention_out(sizes.rows), space.attended, layer.out, space.residual, stream);
        !r)
      return r;
    normalise(layer.post_norm, sizes, stream);
    if (auto r = multiply(gate_up(sizes.rows), space.normed, layer.gate_up, space.gate_up, stream);
        !r)
      return r;
    parts_.kernels->swiglu({.header = parts_.iteration.header,
                            .gate_up = space.gate_up,
                            .active = space.active,
                            .width = narrow(shape_.intermediate)},
                           sizes.rows, stream);
    if (auto r = multiply(down(sizes.rows), space.active, layer.down, space.residual, stream); !r)
      return r;
  }
  return {};
}

Result<void> DeviceForward::sample(const PassSizes& sizes, Stream stream) const {
  const auto& space = parts_.workspace;
  for (std::int64_t first = 0; first < sizes.sampled; first += parts_.logit_rows) {
    const auto count = std::min(parts_.logit_rows, sizes.sampled - first);
    parts_.kernels->norm({.header = parts_.iteration.header,
                          .x = space.residual,
                          .weight = parts_.model->final_norm(),
                          .out = space.normed,
                          .rows = parts_.iteration.sampled_rows,
                          .first = narrow(first),
                          .hidden = narrow(shape_.hidden),
                          .epsilon = parts_.epsilon},
                         count, stream);
    const auto rows = bucket_of(count);
    if (auto r = multiply(head(rows), space.normed, parts_.model->head(), space.logits, stream); !r)
      return r;
    parts_.kernels->draw({.header = parts_.iteration.header,
                          .samples = parts_.iteration.samples,
                          .biases = parts_.iteration.biases,
                          .logits = space.logits,
                          .counts = space.counts,
                          .outputs = parts_.outputs,
                          .drawn = space.drawn,
                          .first = narrow(first),
                          .vocab = narrow(shape_.vocab),
                          .stride = parts_.logit_stride},
                         count, stream);
  }
  return {};
}

}  // namespace tandem::gpu::cuda
