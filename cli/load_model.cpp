// See load_model.hpp.
#include "cli/load_model.hpp"

#include <ctime>
#include <spdlog/spdlog.h>
#include <string>

#include "gpu/cuda/cuda_backend.hpp"
#include "gpu/cuda_devices.hpp"
#include "gpu/host/host_backend.hpp"

namespace tandem::cli {
namespace {

model::Dtype dummy_dtype(const config::Config& config) {
  return config.host.dtype == "float32" ? model::Dtype::f32 : model::Dtype::bf16;
}

std::string name_of_folder(const std::filesystem::path& folder) {
  std::error_code ignored;
  const auto whole = std::filesystem::weakly_canonical(folder, ignored);
  return whole.filename().empty() ? whole.parent_path().filename().string()
                                  : whole.filename().string();
}

/// The text side of a folder of dummy weights may be missing: prompts are token ids then.
Result<model::TokenizerPtr> tokenizer_of(const config::Config& config) {
  if (config.load_format == "dummy" && !std::filesystem::exists(config.model / "tokenizer.json"))
    return model::TokenizerPtr();
  return model::load_tokenizer(config.model);
}

/// What the options say, or else the folder's template and vocabulary.
model::AnswerFormat answer_format_of(const config::Config& config, const model::ChatFormat& chat,
                                     const model::Tokenizer& tokenizer) {
  auto format = chat.answer_format(tokenizer);
  for (const auto tools :
       {model::ToolFormat::none, model::ToolFormat::hermes, model::ToolFormat::llama3_json})
    if (config.tool_parser == to_string(tools)) format.tools = tools;
  for (const auto reasoning : {model::ReasoningFormat::none, model::ReasoningFormat::qwen3,
                               model::ReasoningFormat::deepseek_r1})
    if (config.reasoning_parser == to_string(reasoning)) format.reasoning = reasoning;
  spdlog::info("answer_format tool_parser={} reasoning_parser={}", to_string(format.tools),
               to_string(format.reasoning));
  return format;
}

}  // namespace

Result<LoadedModel> load_model(const config::Config& config) {
  const auto shape = model::load_config(config.model);
  if (!shape) return shape.error();
  for (const auto& note : shape->notes) spdlog::info("model_note text=\"{}\"", note);
  LoadedModel loaded;
  const auto tokenizer = tokenizer_of(config);
  if (!tokenizer) return tokenizer.error();
  loaded.served.tokenizer = *tokenizer;
  if (*tokenizer) {
    const auto format = model::load_chat_format(config.model, config.template_limits);
    if (!format) return format.error();
    loaded.served.chat_format = *format;
    if (format->usable())
      loaded.served.answer_format = answer_format_of(config, *format, **tokenizer);
    if (!format->usable())
      spdlog::warn("chat_format_missing reason=\"{}\" effect=\"no chat; text completions work\"",
                   format->problem());
  } else {
    spdlog::warn("tokenizer_missing effect=\"prompts must be token ids, no text comes out\"");
  }
  if (config.load_format == "dummy") {
    loaded.weights = model::dummy_weights(*shape, dummy_dtype(config), config.seed);
  } else {
    const auto weights = model::load_weights(config.model, *shape);
    if (!weights) return weights.error();
    loaded.weights = *weights;
  }
  loaded.served.name =
      config.served_model_name.empty() ? name_of_folder(config.model) : config.served_model_name;
  loaded.served.config = *shape;
  loaded.served.created_at = std::time(nullptr);
  return loaded;
}

namespace {

Error on_cuda(Error reason) {
  reason.message = "device: cuda: " + reason.message;
  return reason;
}

/// What device: auto goes on without: a missing or unusable device, but not a wrong option.
bool is_missing_device(const Error& reason) {
  return reason.code == Errc::unsupported || reason.code == Errc::device_failed;
}

Result<std::unique_ptr<gpu::Backend>> open_host(const config::Config& config,
                                                const model::WeightsPtr& weights,
                                                const std::string& why) {
  auto backend = gpu::make_host_backend(weights, config.host);
  if (backend)
    spdlog::info("device_chosen device=host kernels=\"{}\" kv_blocks={} reason=\"{}\"",
                 (*backend)->limits().kernels, (*backend)->limits().kv_blocks.value(), why);
  return backend;
}

}  // namespace

Result<void> check_device(const config::Config& config) {
  if (config.device != "host")
    if (auto r = gpu::check_attention(config.cuda.attention); !r) return r;
  if (config.device != "cuda") return {};
  const auto devices = gpu::cuda_devices();
  if (!devices) return on_cuda(devices.error());
  if (devices->empty())
    return on_cuda(error(Errc::unsupported, "no NVIDIA device was found", "device"));
  if (config.cuda.device_index < devices->size()) return {};
  return on_cuda(error(Errc::invalid_value,
                       "device_index is " + std::to_string(config.cuda.device_index) +
                           "; this machine has devices 0 to " + std::to_string(devices->size() - 1),
                       "device_index"));
}

Result<std::unique_ptr<gpu::Backend>> open_device(const config::Config& config,
                                                  const model::WeightsPtr& weights) {
  if (config.device == "host") return open_host(config, weights, "device: host");
  auto backend = gpu::make_cuda_backend(*weights, config.cuda);
  if (!backend) {
    if (config.device == "cuda" || !is_missing_device(backend.error()))
      return on_cuda(backend.error());
    return open_host(config, weights, backend.error().message);
  }
  const auto& limits = (*backend)->limits();
  spdlog::info(
      "device_chosen device=cuda index={} name=\"{}\" attention_and_gemm=\"{}\" kv_blocks={} "
      "gpu_memory_fraction={}",
      config.cuda.device_index, limits.device_name, limits.kernels, limits.kv_blocks.value(),
      config.cuda.gpu_memory_fraction);
  if (!limits.remark.empty()) spdlog::warn("device_remark what=\"{}\"", limits.remark);
  return backend;
}

}  // namespace tandem::cli
