// See device_model.hpp. The floors of an iteration follow the usual counts: two operations per
// weight and row, four per head dimension and pair of positions, every weight read once.
#include "sim/device_model.hpp"

#include <algorithm>

namespace tandem::sim {
namespace {

constexpr double bytes_per_value = 2;  // bfloat16

Duration seconds(double value) { return Duration(static_cast<Duration::rep>(value * 1e9 + 0.5)); }

class Roofline final : public DeviceModel {
 public:
  Roofline(const DeviceSpec& device, const ModelShape& shape)
      : bytes_s_(device.bandwidth_tb_s * 1e12 * device.bandwidth_share),
        gemm_s_(device.tflops * 1e12 * device.gemm_share),
        attention_s_(device.tflops * 1e12 * device.attention_share),
        iteration_s_(device.iteration_us * 1e-6),
        sequence_s_(device.sequence_us * 1e-6),
        layer_parameters_(static_cast<double>(shape.layer_parameters)),
        head_parameters_(static_cast<double>(shape.head_parameters)),
        kv_bytes_(static_cast<double>(shape.kv_bytes_per_token().value())),
        pair_operations_(4.0 * static_cast<double>(shape.layers * shape.heads * shape.head_dim)) {}

  [[nodiscard]] Duration cost(const Plan& plan) const override {
    double rows = 0, samples = 0, attention_s = 0, decode_bytes = 0;
    for (const Slice& slice : plan.slices) {
      const double l = slice.num_tokens, context = slice.context;
      rows += l;
      samples += slice.samples ? 1 : 0;
      const double bytes = (context + l) * kv_bytes_;
      if (slice.num_tokens == 1) {
        decode_bytes += bytes;
        continue;
      }
      // Row i of the slice attends to context + i + 1 positions.
      const double pairs = l * context + l * (l + 1) / 2;
      attention_s += std::max(pairs * pair_operations_ / attention_s_, bytes / bytes_s_);
    }
    const double layers_s = gemm(layer_parameters_, rows);
    const double head_s = samples > 0 ? gemm(head_parameters_, samples) : 0;
    return seconds(iteration_s_ + sequence_s_ * static_cast<double>(plan.slices.size()) + layers_s +
                   head_s + attention_s + decode_bytes / bytes_s_);
  }

 private:
  [[nodiscard]] double gemm(double parameters, double rows) const {
    return std::max(parameters * bytes_per_value / bytes_s_, 2 * parameters * rows / gemm_s_);
  }

  double bytes_s_, gemm_s_, attention_s_, iteration_s_, sequence_s_;
  double layer_parameters_, head_parameters_, kv_bytes_, pair_operations_;
};

class FittedDevice final : public DeviceModel {
 public:
  explicit FittedDevice(const policy::LatencyModel& model) : model_(model) {}

  [[nodiscard]] Duration cost(const Plan& plan) const override {
    return seconds(model_.predict_ms(policy::IterationShape::of(plan)) * 1e-3);
  }

 private:
  policy::LatencyModel model_;
};

}  // namespace

Bytes ModelShape::kv_bytes_per_token() const {
  return Bytes(2 * layers * kv_heads * head_dim * static_cast<std::int64_t>(bytes_per_value));
}

ModelShape shape_of(const model::ModelConfig& config) {
  ModelShape shape;
  shape.layers = config.num_layers;
  shape.heads = config.num_heads;
  shape.kv_heads = config.num_kv_heads;
  shape.head_dim = config.head_dim;
  shape.vocab = config.vocab_size;
  shape.parameters = config.num_parameters();
  shape.head_parameters = config.vocab_size * config.hidden_size;
  shape.layer_parameters = shape.parameters - shape.head_parameters * (config.tied_head ? 1 : 2);
  shape.max_context = config.max_position;
  return shape;
}

DeviceModelPtr make_roofline(const DeviceSpec& device, const ModelShape& shape) {
  return std::make_shared<const Roofline>(device, shape);
}

DeviceModelPtr make_fitted_device(const policy::LatencyModel& model) {
  return std::make_shared<const FittedDevice>(model);
}

Result<Blocks> kv_blocks(const DeviceSpec& device, const ModelShape& shape) {
  constexpr double gib = 1024.0 * 1024.0 * 1024.0;
  const double weights = static_cast<double>(shape.parameters) * bytes_per_value;
  const double room =
      (device.memory_gib * device.memory_share - device.work_space_gib) * gib - weights;
  const double block = static_cast<double>(shape.kv_bytes_per_token().value()) *
                       static_cast<double>(kv_block_tokens);
  if (room < block)
    return error(Errc::invalid_value,
                 "the model's weights take " + std::to_string(weights / gib).substr(0, 5) +
                     " GiB; of the " + std::to_string(device.memory_gib).substr(0, 5) + " GiB of " +
                     device.name + " nothing is left for its KV cache",
                 "device");
  return Blocks(static_cast<std::int64_t>(room / block));
}

}  // namespace tandem::sim
