// See forward.hpp.
#include "gpu/host/forward.hpp"

#include <algorithm>
#include <cmath>

#include "gpu/host/bf16.hpp"

namespace tandem::gpu {
namespace {

/// Sampled rows whose logits are in memory at once.
constexpr std::int64_t logit_rows = 32;

std::vector<float> as_floats(const model::TensorView& view) {
  std::vector<float> values(static_cast<std::size_t>(view.size()));
  if (!view.empty()) model::to_f32(view, 0, values);
  return values;
}

std::size_t product(std::int64_t a, std::int64_t b) { return static_cast<std::size_t>(a * b); }

}  // namespace

std::int64_t kv_block_bytes(const model::ModelConfig& config, HostDtype dtype) {
  const auto per_head =
      config.head_dim * kv_block_tokens + pad_to(config.head_dim, 16) * kv_block_tokens;
  return config.num_layers * config.num_kv_heads * per_head * (dtype == HostDtype::f32 ? 4 : 2);
}

Forward::Forward(const model::Weights& weights, const Kernels& kernels, ThreadPool& pool,
                 const ForwardOptions& options)
    : config_(weights.config),
      embedding_(weights.embedding),
      kernels_(kernels),
      pool_(pool),
      options_(options) {
  hidden_ = pad_to(config_.hidden_size, panel_columns);
  query_ = pad_to(config_.num_heads * config_.head_dim, panel_columns);
  key_ = pad_to(config_.num_kv_heads * config_.head_dim, panel_columns);
  middle_ = pad_to(config_.intermediate_size, panel_columns);
  vocab_ = pad_to(config_.vocab_size, panel_columns);
  padded_dim_ = pad_to(config_.head_dim, 16);
  for (const auto& layer : weights.layers) layers_.push_back(pack_layer(layer));
  final_norm_ = as_floats(weights.final_norm);
  head_ = PackedMatrix(std::span(&weights.head, 1), options_.dtype, pool_);

  const auto frequencies = config_.rope_inverse_frequencies();
  const auto half = config_.head_dim / 2;
  cosines_.resize(product(options_.max_context, half));
  sines_.resize(product(options_.max_context, half));
  for (std::int64_t p = 0; p < options_.max_context; ++p)
    for (std::int64_t i = 0; i < half; ++i) {
      // As in the reference implementations: the angle is a float product, its cosine is rounded
      // once.
      const float angle = static_cast<float>(p) * frequencies[static_cast<std::size_t>(i)];
      cosines_[product(p, half) + static_cast<std::size_t>(i)] =
          static_cast<float>(std::cos(static_cast<double>(angle)));
      sines_[product(p, half) + static_cast<std::size_t>(i)] =
          static_cast<float>(std::sin(static_cast<double>(angle)));
    }

  key_block_ = config_.num_kv_heads * config_.head_dim * kv_block_tokens;
  value_block_ = config_.num_kv_heads * padded_dim_ * kv_block_tokens;
  const auto kv_size = product(options_.num_blocks * config_.num_layers, key_block_ + value_block_);
  if (options_.dtype == HostDtype::f32)
    kv_f32_ = AlignedBuffer<float>(kv_size);
  else
    kv_bf16_ = AlignedBuffer<std::uint16_t>(kv_size);

  const auto rows = options_.max_rows;
  residual_ = AlignedBuffer<float>(product(rows, hidden_));
  normed_ = AlignedBuffer<float>(product(std::max(rows, logit_rows), hidden_));
  qkv_ = AlignedBuffer<float>(product(rows, query_ + 2 * key_));
  attended_ = AlignedBuffer<float>(product(rows, query_));
  gate_up_ = AlignedBuffer<float>(product(rows, 2 * middle_));
  active_ = AlignedBuffer<float>(product(rows, middle_));
  logits_ = AlignedBuffer<float>(product(logit_rows, vocab_));
  if (options_.dtype == HostDtype::bf16)
    rounded_ = AlignedBuffer<std::uint16_t>(
        product(std::max(rows, logit_rows), std::max({hidden_, query_, middle_})));
}

Forward::Layer Forward::pack_layer(const model::LayerWeights& weights) {
  Layer layer;
  layer.input_norm = as_floats(weights.input_norm);
  layer.post_norm = as_floats(weights.post_attention_norm);
  layer.q_norm = as_floats(weights.q_norm);
  layer.k_norm = as_floats(weights.k_norm);
  if (!weights.q_bias.empty()) {
    layer.qkv_bias.resize(static_cast<std::size_t>(query_ + 2 * key_));
    const auto place = [&](const model::TensorView& bias, std::int64_t at) {
      const auto values = as_floats(bias);
      std::copy(values.begin(), values.end(), layer.qkv_bias.begin() + at);
    };
    place(weights.q_bias, 0);
    place(weights.k_bias, query_);
    place(weights.v_bias, query_ + key_);
  }
  const model::TensorView qkv[] = {weights.q, weights.k, weights.v};
  const model::TensorView gate_up[] = {weights.gate, weights.up};
  layer.qkv = PackedMatrix(qkv, options_.dtype, pool_);
  layer.out = PackedMatrix(std::span(&weights.o, 1), options_.dtype, pool_);
  layer.gate_up = PackedMatrix(gate_up, options_.dtype, pool_);
  layer.down = PackedMatrix(std::span(&weights.down, 1), options_.dtype, pool_);
  return layer;
}

std::size_t Forward::weight_bytes() const {
  std::size_t bytes = head_.bytes();
  for (const auto& layer : layers_)
    bytes += layer.qkv.bytes() + layer.out.bytes() + layer.gate_up.bytes() + layer.down.bytes();
  return bytes;
}

void Forward::begin(std::span<const Row> rows) {
  rows_ = rows;
  pool_.run(static_cast<std::int64_t>(rows.size()), [&](std::int64_t r) {
    model::to_f32(
        embedding_, rows_[static_cast<std::size_t>(r)].token * config_.hidden_size,
        std::span(residual_.data() + r * hidden_, static_cast<std::size_t>(config_.hidden_size)));
  });
}

GemmInput Forward::input(const AlignedBuffer<float>& from, std::int64_t stride) const {
  return {from.data(), rounded_.data(), stride};
}

/// The bf16 copy of a row that the next GEMM reads; nothing to do in f32.
void Forward::round(const AlignedBuffer<float>& from, std::int64_t stride, std::int64_t width,
                    std::int64_t row) {
  if (rounded_.data())
    kernels_.to_bf16(rounded_.data() + row * stride, from.data() + row * stride, width);
}

void Forward::normalise(const std::vector<float>& weight) {
  pool_.run(static_cast<std::int64_t>(rows_.size()), [&](std::int64_t r) {
    kernels_.rmsnorm(normed_.data() + r * hidden_, residual_.data() + r * hidden_, weight.data(),
                     config_.hidden_size, static_cast<float>(config_.rms_norm_eps));
    round(normed_, hidden_, config_.hidden_size, r);
  });
}

/// Bias, QK norm and rotation of one row, and its K and V into the cache.
void Forward::prepare_row(const Layer& layer, std::int64_t layer_index, std::int64_t row) {
  const auto width = query_ + 2 * key_;
  const auto dim = config_.head_dim;
  auto* query = qkv_.data() + row * width;
  auto* keys = query + query_;
  if (!layer.qkv_bias.empty())
    for (std::int64_t i = 0; i < width; ++i)
      query[i] += layer.qkv_bias[static_cast<std::size_t>(i)];
  const auto position = rows_[static_cast<std::size_t>(row)].position;
  const auto* cosines = cosines_.data() + position * (dim / 2);
  const auto* sines = sines_.data() + position * (dim / 2);
  const auto eps = static_cast<float>(config_.rms_norm_eps);
  const auto turn = [&](float* head, const std::vector<float>& norm) {
    if (!norm.empty()) kernels_.rmsnorm(head, head, norm.data(), dim, eps);
    kernels_.rope(head, cosines, sines, dim / 2);
  };
  for (std::int64_t h = 0; h < config_.num_heads; ++h) turn(query + h * dim, layer.q_norm);
  for (std::int64_t h = 0; h < config_.num_kv_heads; ++h) turn(keys + h * dim, layer.k_norm);
  append_kv(layer_index, row, keys, keys + key_);
}

void Forward::append_kv(std::int64_t layer_index, std::int64_t row, const float* keys,
                        const float* values) {
  const auto& place = rows_[static_cast<std::size_t>(row)];
  const auto dim = config_.head_dim;
  const auto lane = place.position % kv_block_tokens;
  const auto block =
      layer_index * options_.num_blocks + place.blocks[place.position / kv_block_tokens];
  const auto values_begin = options_.num_blocks * config_.num_layers * key_block_;
  const auto write = [&](auto* cache, auto convert) {
    auto* key_to = cache + block * key_block_ + lane;
    auto* value_to = cache + values_begin + block * value_block_ + lane * padded_dim_;
    for (std::int64_t h = 0; h < config_.num_kv_heads; ++h)
      for (std::int64_t d = 0; d < dim; ++d) {
        key_to[(h * dim + d) * kv_block_tokens] = convert(keys[h * dim + d]);
        value_to[h * padded_dim_ * kv_block_tokens + d] = convert(values[h * dim + d]);
      }
  };
  if (kv_f32_.data()) return write(kv_f32_.data(), [](float x) { return x; });
  write(kv_bf16_.data(), [](float x) { return round_to_bf16(x); });
}

void Forward::attend(std::int64_t layer_index) {
  const auto heads = config_.num_kv_heads;
  const auto group = config_.num_heads / heads;
  const auto dim = config_.head_dim;
  const auto layer_keys = layer_index * options_.num_blocks * key_block_;
  const auto layer_values = options_.num_blocks * config_.num_layers * key_block_ +
                            layer_index * options_.num_blocks * value_block_;
  pool_.run(static_cast<std::int64_t>(rows_.size()) * heads, [&](std::int64_t piece) {
    const auto row = piece / heads, head = piece % heads;
    const auto& place = rows_[static_cast<std::size_t>(row)];
    AttendArgs args{.query = qkv_.data() + row * (query_ + 2 * key_) + head * group * dim,
                    .out = attended_.data() + row * query_ + head * group * dim,
                    .blocks = place.blocks,
                    .key_block_stride = key_block_,
                    .value_block_stride = value_block_,
                    .key_offset = head * dim * kv_block_tokens,
                    .value_offset = head * padded_dim_ * kv_block_tokens,
                    .length = place.position + 1,
                    .group = group,
                    .head_dim = dim,
                    .padded_dim = padded_dim_,
                    .scale = 1.0F / std::sqrt(static_cast<float>(dim))};
    if (kv_f32_.data()) {
      args.keys = kv_f32_.data() + layer_keys;
      args.values = kv_f32_.data() + layer_values;
      return kernels_.attend_f32(args);
    }
    args.keys = kv_bf16_.data() + layer_keys;
    args.values = kv_bf16_.data() + layer_values;
    kernels_.attend_bf16(args);
  });
}

void Forward::activate() {
  pool_.run(static_cast<std::int64_t>(rows_.size()), [&](std::int64_t r) {
    const auto* gate = gate_up_.data() + r * 2 * middle_;
    kernels_.swiglu(active_.data() + r * middle_, gate, gate + middle_, config_.intermediate_size);
    round(active_, middle_, config_.intermediate_size, r);
  });
}

void Forward::run_layers(std::int64_t first, std::int64_t end) {
  const auto rows = static_cast<std::int64_t>(rows_.size());
  for (auto i = first; i < end; ++i) {
    const auto& layer = layers_[static_cast<std::size_t>(i)];
    normalise(layer.input_norm);
    layer.qkv.multiply(kernels_, pool_, input(normed_, hidden_), qkv_.data(), query_ + 2 * key_,
                       rows, false);
    pool_.run(rows, [&](std::int64_t r) { prepare_row(layer, i, r); });
    attend(i);
    if (rounded_.data())
      pool_.run(rows, [&](std::int64_t r) {
        round(attended_, query_, config_.num_heads * config_.head_dim, r);
      });
    layer.out.multiply(kernels_, pool_, input(attended_, query_), residual_.data(), hidden_, rows,
                       true);
    normalise(layer.post_norm);
    layer.gate_up.multiply(kernels_, pool_, input(normed_, hidden_), gate_up_.data(), 2 * middle_,
                           rows, false);
    activate();
    layer.down.multiply(kernels_, pool_, input(active_, middle_), residual_.data(), hidden_, rows,
                        true);
  }
}

void Forward::logits(std::span<const std::uint32_t> rows, const Consume& consume) {
  for (std::size_t done = 0; done < rows.size(); done += logit_rows) {
    const auto part = rows.subspan(done, std::min<std::size_t>(logit_rows, rows.size() - done));
    const auto count = static_cast<std::int64_t>(part.size());
    pool_.run(count, [&](std::int64_t i) {
      kernels_.rmsnorm(normed_.data() + i * hidden_,
                       residual_.data() + part[static_cast<std::size_t>(i)] * hidden_,
                       final_norm_.data(), config_.hidden_size,
                       static_cast<float>(config_.rms_norm_eps));
      round(normed_, hidden_, config_.hidden_size, i);
    });
    head_.multiply(kernels_, pool_, input(normed_, hidden_), logits_.data(), vocab_, count, false);
    pool_.run(count, [&](std::int64_t i) {
      consume(static_cast<std::int64_t>(done) + i,
              std::span(logits_.data() + i * vocab_, static_cast<std::size_t>(config_.vocab_size)));
    });
  }
}

}  // namespace tandem::gpu
