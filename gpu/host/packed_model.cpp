// See packed_model.hpp.
#include "gpu/host/packed_model.hpp"

#include <algorithm>
#include <bit>

#include "core/check.hpp"
#include "model/float_formats.hpp"

namespace tandem::gpu {
namespace {

/// The kernels ask for the cache lines of a panel a little before they read them.
constexpr std::int64_t margin_words = 4096;

struct Sizes {
  std::int64_t hidden, query, keys, middle, vocab;
  explicit Sizes(const model::ModelConfig& config)
      : hidden(config.hidden_size),
        query(config.num_heads * config.head_dim),
        keys(config.num_kv_heads * config.head_dim),
        middle(config.intermediate_size),
        vocab(config.vocab_size) {}
};

std::int64_t panels_of(std::int64_t columns) {
  return (columns + panel_columns - 1) / panel_columns;
}

std::int64_t matrix_words(std::int64_t in_features, std::int64_t panels, HostDtype dtype) {
  return pad_to(words_of(in_features, dtype), word_multiple) * panels * panel_columns;
}

std::vector<float> padded_floats(const model::TensorView& view, std::int64_t size) {
  std::vector<float> values(static_cast<std::size_t>(size));
  const auto count = static_cast<std::size_t>(view.size());
  if (!view.empty()) model::to_f32(view, 0, std::span(values).first(count));
  return values;
}

std::vector<float> joined_bias(const model::LayerWeights& weights, std::int64_t size) {
  if (weights.q_bias.empty()) return {};
  std::vector<float> bias(static_cast<std::size_t>(size));
  auto to = std::span(bias);
  for (const auto* part : {&weights.q_bias, &weights.k_bias, &weights.v_bias}) {
    const auto count = static_cast<std::size_t>(part->size());
    model::to_f32(*part, 0, to.first(count));
    to = to.subspan(count);
  }
  return bias;
}

}  // namespace

std::int64_t PackedModel::bytes_of(const model::ModelConfig& config, HostDtype dtype) {
  const Sizes size(config);
  const auto words = [&](std::int64_t in, std::int64_t panels) {
    return matrix_words(in, panels, dtype);
  };
  const auto layer = words(size.hidden, panels_of(size.query + 2 * size.keys)) +
                     words(size.query, panels_of(size.hidden)) +
                     words(size.hidden, panels_of(2 * pad_to(size.middle, panel_columns / 2))) +
                     words(size.middle, panels_of(size.hidden));
  return 4 * (config.num_layers * layer + words(size.hidden, panels_of(size.vocab)) + margin_words);
}

PackedModel::PackedModel(const model::Weights& weights, HostDtype dtype, ThreadPool& pool)
    : dtype_(dtype),
      pool_(pool),
      memory_(static_cast<std::size_t>(bytes_of(weights.config, dtype) / 4)) {
  const Sizes size(weights.config);
  const auto hidden = pad_to(size.hidden, panel_columns);
  for (const auto& from : weights.layers) {
    PackedLayer layer;
    layer.qkv = place(size.hidden, panels_of(size.query + 2 * size.keys));
    pack_joined(layer.qkv, {&from.q, &from.k, &from.v});
    layer.out = place(size.query, panels_of(size.hidden));
    pack_joined(layer.out, {&from.o});
    layer.gate_up = place(size.hidden, panels_of(2 * pad_to(size.middle, panel_columns / 2)));
    pack_paired(layer.gate_up, from.gate, from.up);
    layer.down = place(size.middle, panels_of(size.hidden));
    pack_joined(layer.down, {&from.down});
    layer.input_norm = padded_floats(from.input_norm, hidden);
    layer.post_norm = padded_floats(from.post_attention_norm, hidden);
    layer.q_norm = padded_floats(from.q_norm, from.q_norm.size());
    layer.k_norm = padded_floats(from.k_norm, from.k_norm.size());
    layer.qkv_bias = joined_bias(from, layer.qkv.panels * panel_columns);
    layers_.push_back(std::move(layer));
  }
  final_norm_ = padded_floats(weights.final_norm, hidden);
  head_ = place(size.hidden, panels_of(size.vocab));
  pack_joined(head_, {&weights.head});
}

PackedMatrix PackedModel::place(std::int64_t in_features, std::int64_t panels) {
  const PackedMatrix matrix{memory_.data() + used_,
                            pad_to(words_of(in_features, dtype_), word_multiple), panels};
  used_ += matrix_words(in_features, panels, dtype_);
  TANDEM_CHECK(used_ + margin_words <= static_cast<std::int64_t>(memory_.size()),
               "packing needs more memory than was counted");
  return matrix;
}

void PackedModel::pack_joined(PackedMatrix& matrix, std::vector<const model::TensorView*> parts) {
  std::vector<ColumnSource> sources;
  for (const auto* part : parts)
    for (std::int64_t row = 0; row < part->rows; ++row) sources.push_back({part, row});
  sources.resize(static_cast<std::size_t>(matrix.panels * panel_columns));
  pool_.run(matrix.panels, [&](std::int64_t panel) {
    std::array<ColumnSource, panel_columns> columns;
    std::copy_n(sources.begin() + panel * panel_columns, panel_columns, columns.begin());
    pack_panel(matrix, panel, columns);
  });
}

void PackedModel::pack_paired(PackedMatrix& matrix, const model::TensorView& gate,
                              const model::TensorView& up) {
  constexpr auto half = panel_columns / 2;
  pool_.run(matrix.panels, [&](std::int64_t panel) {
    std::array<ColumnSource, panel_columns> columns;
    for (std::int64_t c = 0; c < half; ++c) {
      const auto row = panel * half + c;
      if (row >= gate.rows) break;
      columns[static_cast<std::size_t>(c)] = {&gate, row};
      columns[static_cast<std::size_t>(half + c)] = {&up, row};
    }
    pack_panel(matrix, panel, columns);
  });
}

void PackedModel::pack_panel(const PackedMatrix& matrix, std::int64_t panel,
                             const std::array<ColumnSource, panel_columns>& columns) {
  constexpr std::int64_t piece = 256;  // elements of k: what is written stays in the cache
  std::array<float, piece> values;
  auto* base = memory_.data() + (matrix.panel(panel) - memory_.data());
  for (std::int64_t first = 0;; first += piece) {
    bool any = false;
    for (std::size_t c = 0; c < columns.size(); ++c) {
      const auto [view, row] = columns[c];
      if (!view || first >= view->cols) continue;
      any = true;
      const auto count = std::min(piece, view->cols - first);
      model::to_f32(*view, row * view->cols + first,
                    std::span(values).first(static_cast<std::size_t>(count)));
      for (std::int64_t i = 0; i < count; ++i) {
        const auto value = values[static_cast<std::size_t>(i)];
        const auto k = first + i;
        const auto column = static_cast<std::int64_t>(c);
        if (dtype_ == HostDtype::f32)
          base[k * panel_columns + column] = std::bit_cast<std::uint32_t>(value);
        else
          base[k / 2 * panel_columns + column] |=
              static_cast<std::uint32_t>(model::bf16_of_f32(value)) << (k % 2 * 16);
      }
    }
    if (!any) return;
  }
}

}  // namespace tandem::gpu
