#include "model/reference.hpp"

#include <algorithm>
#include <cmath>

#include "core/check.hpp"

namespace tandem::model {
namespace {

using Vector = std::vector<float>;

Vector vector_of(const TensorView& view) {
  Vector values(static_cast<std::size_t>(view.size()));
  to_f32(view, 0, values);
  return values;
}

/// out[r] = sum over c of matrix[r, c] * x[c], plus bias[r] if there is a bias.
Vector multiply(const TensorView& matrix, std::span<const float> x, const TensorView& bias = {}) {
  TANDEM_CHECK(static_cast<std::int64_t>(x.size()) == matrix.cols, "shapes that do not match");
  Vector out = bias.empty() ? Vector(static_cast<std::size_t>(matrix.rows)) : vector_of(bias);
  Vector row(x.size());
  for (std::int64_t r = 0; r < matrix.rows; ++r) {
    to_f32(matrix, r * matrix.cols, row);
    double sum = 0;
    for (std::size_t c = 0; c < row.size(); ++c) {
      sum += static_cast<double>(row[c]) * static_cast<double>(x[c]);
    }
    out[static_cast<std::size_t>(r)] += static_cast<float>(sum);
  }
  return out;
}

/// out = x / sqrt(mean(x^2) + epsilon) * weight, over the whole of `x`.
void rms_norm(std::span<float> x, const Vector& weight, double epsilon) {
  double squares = 0;
  for (const float v : x) squares += static_cast<double>(v) * static_cast<double>(v);
  const auto scale =
      static_cast<float>(1.0 / std::sqrt(squares / static_cast<double>(x.size()) + epsilon));
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = x[i] * scale * weight[i];
}

Vector normalized(Vector x, const TensorView& weight, double epsilon) {
  rms_norm(x, vector_of(weight), epsilon);
  return x;
}

/// Normalizes each head of `x` (heads*head_dim) by itself, if the model does that.
void norm_heads(Vector& x, const TensorView& weight, const ModelConfig& config) {
  if (weight.empty()) return;
  const Vector scale = vector_of(weight);
  const auto width = static_cast<std::size_t>(config.head_dim);
  for (std::size_t at = 0; at < x.size(); at += width) {
    rms_norm(std::span(x).subspan(at, width), scale, config.rms_norm_eps);
  }
}

/// Turns each head's pairs (i, i + head_dim/2) by position * frequency[i].
void rotate(Vector& x, std::int64_t position, const Vector& frequencies) {
  const std::size_t half = frequencies.size();
  for (std::size_t head = 0; head < x.size(); head += 2 * half) {
    for (std::size_t i = 0; i < half; ++i) {
      const float angle = static_cast<float>(position) * frequencies[i];
      const float c = std::cos(angle);
      const float s = std::sin(angle);
      const float first = x[head + i];
      const float second = x[head + half + i];
      x[head + i] = first * c - second * s;
      x[head + half + i] = second * c + first * s;
    }
  }
}

/// Attention of one query row (heads*head_dim) over the first `length` rows of keys and values
/// (kv_heads*head_dim each). Query head h reads KV head h / (heads / kv_heads).
Vector attend(const Vector& query, const Vector& keys, const Vector& values, std::size_t length,
              const ModelConfig& config) {
  const auto width = static_cast<std::size_t>(config.head_dim);
  const auto stride = static_cast<std::size_t>(config.num_kv_heads) * width;
  const auto group = static_cast<std::size_t>(config.num_heads / config.num_kv_heads);
  const double scale = 1.0 / std::sqrt(static_cast<double>(width));
  Vector out(query.size());
  std::vector<double> weights(length);
  for (std::size_t head = 0; head < static_cast<std::size_t>(config.num_heads); ++head) {
    const float* q = query.data() + head * width;
    const std::size_t column = head / group * width;
    for (std::size_t t = 0; t < length; ++t) {
      const float* k = keys.data() + t * stride + column;
      double dot = 0;
      for (std::size_t i = 0; i < width; ++i) {
        dot += static_cast<double>(q[i]) * static_cast<double>(k[i]);
      }
      weights[t] = dot * scale;
    }
    const double top = *std::max_element(weights.begin(), weights.end());
    double sum = 0;
    for (double& w : weights) sum += w = std::exp(w - top);
    for (std::size_t i = 0; i < width; ++i) {
      double mixed = 0;
      for (std::size_t t = 0; t < length; ++t) {
        mixed += weights[t] * static_cast<double>(values[t * stride + column + i]);
      }
      out[head * width + i] = static_cast<float>(mixed / sum);
    }
  }
  return out;
}

/// down(silu(gate(x)) * up(x))
Vector feed_forward(const LayerWeights& layer, const Vector& x) {
  Vector gate = multiply(layer.gate, x);
  const Vector up = multiply(layer.up, x);
  for (std::size_t i = 0; i < gate.size(); ++i) {
    gate[i] = gate[i] / (1.0F + std::exp(-gate[i])) * up[i];
  }
  return multiply(layer.down, gate);
}

void add(Vector& x, const Vector& y) {
  for (std::size_t i = 0; i < x.size(); ++i) x[i] += y[i];
}

}  // namespace

Reference::Reference(WeightsPtr weights) : weights_(std::move(weights)) { reset(); }

void Reference::reset() {
  keys_.assign(weights_->layers.size(), {});
  values_.assign(weights_->layers.size(), {});
  length_ = 0;
}

std::vector<float> Reference::forward(std::span<const TokenId> tokens) {
  const ModelConfig& config = weights_->config;
  const Vector frequencies = config.rope_inverse_frequencies();
  std::vector<float> logits;
  logits.reserve(tokens.size() * static_cast<std::size_t>(config.vocab_size));
  for (const TokenId token : tokens) {
    TANDEM_CHECK(token >= 0 && token < config.vocab_size, "a token outside the vocabulary");
    Vector x(static_cast<std::size_t>(config.hidden_size));
    to_f32(weights_->embedding, token * config.hidden_size, x);
    for (std::size_t i = 0; i < weights_->layers.size(); ++i) {
      const LayerWeights& layer = weights_->layers[i];
      const Vector h = normalized(x, layer.input_norm, config.rms_norm_eps);
      Vector query = multiply(layer.q, h, layer.q_bias);
      Vector key = multiply(layer.k, h, layer.k_bias);
      const Vector value = multiply(layer.v, h, layer.v_bias);
      norm_heads(query, layer.q_norm, config);
      norm_heads(key, layer.k_norm, config);
      rotate(query, length_, frequencies);
      rotate(key, length_, frequencies);
      keys_[i].insert(keys_[i].end(), key.begin(), key.end());
      values_[i].insert(values_[i].end(), value.begin(), value.end());
      const auto length = static_cast<std::size_t>(length_) + 1;
      add(x, multiply(layer.o, attend(query, keys_[i], values_[i], length, config)));
      add(x, feed_forward(layer, normalized(x, layer.post_attention_norm, config.rms_norm_eps)));
    }
    const Vector last = normalized(std::move(x), weights_->final_norm, config.rms_norm_eps);
    const Vector row = multiply(weights_->head, last);
    logits.insert(logits.end(), row.begin(), row.end());
    ++length_;
  }
  return logits;
}

}  // namespace tandem::model
