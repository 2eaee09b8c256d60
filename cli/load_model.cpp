// See load_model.hpp.
#include "cli/load_model.hpp"

#include <ctime>
#include <spdlog/spdlog.h>
#include <string>

#include "gpu/cuda_devices.hpp"

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
    const auto format = model::load_chat_format(config.model);
    if (!format) return format.error();
    loaded.served.chat_format = *format;
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

Result<void> choose_device(const config::Config& config) {
  if (config.device == "cuda")
    return error(Errc::unsupported,
                 "device: cuda: serving on CUDA devices is not part of this version; allowed: "
                 "auto, host",
                 "device");
  if (config.device == "host") return {};
  const auto devices = gpu::cuda_devices();
  const auto why = !devices ? devices.error().message
                   : devices->empty()
                       ? std::string("no NVIDIA device was found")
                       : devices->front().name + " is there, but this version does not serve on it";
  spdlog::info("device_chosen device=host reason=\"{}\"", why);
  return {};
}

}  // namespace tandem::cli
