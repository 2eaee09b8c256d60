// How long a device takes for a plan, without the device. Two sources: a roofline over what its
// data sheet says, less measured shares of it, or a latency model fitted on the real thing.
// Pure: equal plans cost the same; noise and faults are added elsewhere (faults.hpp).
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "core/plan.hpp"
#include "core/result.hpp"
#include "core/units.hpp"
#include "model/model_config.hpp"
#include "policy/latency_model.hpp"

namespace tandem::sim {

class DeviceModel {
 public:
  virtual ~DeviceModel() = default;
  /// Of the whole iteration, first launch to last sample.
  [[nodiscard]] virtual Duration cost(const Plan& plan) const = 0;
};
using DeviceModelPtr = std::shared_ptr<const DeviceModel>;

/// A device file (config/devices/*.yaml): peaks of the data sheet, and how much of them is reached.
struct DeviceSpec {
  std::string name;
  double memory_gib = 0;
  double bandwidth_tb_s = 0;   ///< 10^12 bytes per second
  double tflops = 0;           ///< dense bfloat16, 10^12 operations per second
  double bandwidth_share = 1;  ///< of it that weights and KV are read at
  double gemm_share = 1;       ///< of tflops that the projections reach with many rows
  double attention_share = 1;  ///< of tflops that attention over a prompt reaches
  double iteration_us = 0;     ///< launches and sampling that nothing hides, per iteration
  double sequence_us = 0;      ///< the same per sequence in it
  double memory_share = 0.9;   ///< of memory that weights, KV and work space may take
  double work_space_gib = 0;   ///< activations and libraries
};

/// Errors name file, key and what is allowed; every key is needed, none may be unknown.
Result<DeviceSpec> load_device(const std::filesystem::path& file);

/// What of a model its cost depends on; bytes in bfloat16.
struct ModelShape {
  std::int64_t layers = 0, heads = 0, kv_heads = 0, head_dim = 0, vocab = 0;
  std::int64_t parameters = 0;        ///< all, for memory
  std::int64_t layer_parameters = 0;  ///< of all layers: what each row is multiplied with
  std::int64_t head_parameters = 0;   ///< of the output projection: each sampled row
  std::int64_t max_context = 0;

  [[nodiscard]] Bytes kv_bytes_per_token() const;
};
ModelShape shape_of(const model::ModelConfig& config);

/// Roofline: projections take the longer of reading the weights and multiplying; prompts' attention
/// is bound by operations or by reading KV, decodes' attention by reading KV.
DeviceModelPtr make_roofline(const DeviceSpec& device, const ModelShape& shape);
/// A fitted model. Its error is not simulated: ask for noise.
DeviceModelPtr make_fitted_device(const policy::LatencyModel& model);

/// Blocks in what memory is left by weights and work space. An error if there is none left.
Result<Blocks> kv_blocks(const DeviceSpec& device, const ModelShape& shape);

}  // namespace tandem::sim
