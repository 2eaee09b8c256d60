// config.json in two steps: what the file says (checked key by key), then what the sizes must be to
// each other. Defaults are those of the transformers library, which leaves no key out today but did
// in older folders.
#include "model/model_config.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "model/json_file.hpp"

namespace tandem::model {
namespace {

constexpr std::uint64_t max_config_bytes = 4ULL << 20;
// Bounds of each size. They are far above any real model and keep the products of num_parameters()
// below 2^63.
constexpr std::int64_t max_vocab = 1LL << 24;
constexpr std::int64_t max_hidden = 1LL << 20;
constexpr std::int64_t max_intermediate = 1LL << 22;
constexpr std::int64_t max_layers = 1LL << 12;
constexpr std::int64_t max_heads = 1LL << 12;
constexpr std::int64_t max_head_dim = 1LL << 10;
constexpr std::int64_t max_context = 1LL << 30;

struct ArchitectureTraits {
  Architecture architecture;
  std::string_view class_name;
  std::string_view name;
};
constexpr std::array<ArchitectureTraits, 4> architectures{{
    {Architecture::llama, "LlamaForCausalLM", "llama"},
    {Architecture::mistral, "MistralForCausalLM", "mistral"},
    {Architecture::qwen2, "Qwen2ForCausalLM", "qwen2"},
    {Architecture::qwen3, "Qwen3ForCausalLM", "qwen3"},
}};

void read_architecture(JsonFields& fields, ModelConfig& config) {
  std::string allowed;
  for (const auto& traits : architectures) {
    allowed += (allowed.empty() ? "" : ", ") + std::string(traits.class_name);
  }
  const auto* list = fields.array("architectures");
  if (list == nullptr || list->size() != 1 || !list->front().is_string()) {
    fields.fail("architectures", "must name exactly one of " + allowed);
    return;
  }
  const std::string_view found(list->front().get_string());
  for (const auto& traits : architectures) {
    if (traits.class_name != found) continue;
    config.architecture = traits.architecture;
    return;
  }
  fields.fail(
      "architectures",
      "names " + describe(list->front()) + ", which is not supported; it must be one of " + allowed,
      Errc::unsupported);
}

/// Keys that change what a model computes in ways that are not offered here.
void refuse_unsupported(JsonFields& fields) {
  if (fields.has("quantization_config")) {
    fields.fail("quantization_config",
                "is present: quantized weights are not supported; use a folder with float32, "
                "float16 or bfloat16 weights",
                Errc::unsupported);
  }
  for (const char* key : {"attention_bias", "mlp_bias"}) {
    if (fields.boolean(key, false)) {
      fields.fail(key, "is true, which is not supported; it must be false", Errc::unsupported);
    }
  }
  const std::string activation = fields.string("hidden_act", "silu");
  if (activation != "silu") {
    fields.fail("hidden_act", "is \"" + activation + "\"; only \"silu\" is supported",
                Errc::unsupported);
  }
}

void read_sizes(JsonFields& fields, ModelConfig& config) {
  config.vocab_size = fields.integer("vocab_size", 1, max_vocab);
  config.hidden_size = fields.integer("hidden_size", 1, max_hidden);
  config.intermediate_size = fields.integer("intermediate_size", 1, max_intermediate);
  config.num_layers = fields.integer("num_hidden_layers", 1, max_layers);
  config.num_heads = fields.integer("num_attention_heads", 1, max_heads);
  config.num_kv_heads = fields.integer("num_key_value_heads", 1, max_heads, config.num_heads);
  config.max_position = fields.integer("max_position_embeddings", 1, max_context);
  config.rms_norm_eps = fields.number("rms_norm_eps", 0.0, 1.0, 1e-6);
  config.tied_head = fields.boolean("tie_word_embeddings", false);
  if (fields.error()) return;

  if (config.num_heads % config.num_kv_heads != 0) {
    fields.fail("num_key_value_heads", "is " + std::to_string(config.num_kv_heads) +
                                           ", which does not divide num_attention_heads (" +
                                           std::to_string(config.num_heads) + ")");
  }
  if (fields.has("head_dim")) {
    config.head_dim = fields.integer("head_dim", 2, max_head_dim);
  } else if (config.architecture == Architecture::qwen3) {
    config.head_dim = 128;  // The class's default, whatever hidden_size is.
  } else if (config.hidden_size % config.num_heads != 0) {
    fields.fail("head_dim", "is missing and hidden_size (" + std::to_string(config.hidden_size) +
                                ") is not a multiple of num_attention_heads (" +
                                std::to_string(config.num_heads) + ")");
  } else {
    config.head_dim = config.hidden_size / config.num_heads;
  }
  if (!fields.error() && (config.head_dim % 2 != 0 || config.head_dim > max_head_dim)) {
    fields.fail("head_dim", "is " + std::to_string(config.head_dim) +
                                "; it must be even and at most " + std::to_string(max_head_dim));
  }
}

void read_llama3_scaling(JsonFields& rope, RopeConfig& out, std::int64_t max_position) {
  out.scaling = RopeConfig::Scaling::llama3;
  out.factor = rope.number("factor", 1.0, 1e6);
  out.low_freq_factor = rope.number("low_freq_factor", 1e-3, 1e6);
  out.high_freq_factor = rope.number("high_freq_factor", 1e-3, 1e6);
  out.original_max_position =
      rope.integer("original_max_position_embeddings", 1, max_context, max_position);
  if (!rope.error() && out.high_freq_factor <= out.low_freq_factor) {
    rope.fail("high_freq_factor", "must be greater than low_freq_factor");
  }
}

/// Two generations of keys: rope_theta and rope_scaling, or both inside rope_parameters.
void read_rope(JsonFields& fields, ModelConfig& config) {
  const auto* parameters = fields.object("rope_parameters");
  const char* name = parameters != nullptr ? "rope_parameters" : "rope_scaling";
  const auto* scaling = parameters != nullptr ? parameters : fields.object("rope_scaling");
  const double top_theta = fields.number("rope_theta", 1.0, 1e12, 10000.0);
  const double top_partial = fields.number("partial_rotary_factor", 0.0, 1.0, 1.0);
  config.rope.theta = top_theta;
  if (top_partial != 1.0) {
    fields.fail("partial_rotary_factor", "must be 1: partial rotation is not supported",
                Errc::unsupported);
  }
  if (scaling == nullptr || fields.error()) return;

  JsonFields rope(*scaling, fields.where() + ": " + name);
  config.rope.theta = rope.number("rope_theta", 1.0, 1e12, top_theta);
  if (rope.number("partial_rotary_factor", 0.0, 1.0, 1.0) != 1.0) {
    rope.fail("partial_rotary_factor", "must be 1: partial rotation is not supported",
              Errc::unsupported);
  }
  const std::string type =
      rope.string("rope_type", rope.string("type", parameters != nullptr ? "default" : ""));
  if (type == "linear") {
    config.rope.scaling = RopeConfig::Scaling::linear;
    config.rope.factor = rope.number("factor", 1.0, 1e6);
  } else if (type == "llama3") {
    read_llama3_scaling(rope, config.rope, config.max_position);
  } else if (type.empty()) {
    rope.fail("rope_type", "is missing; it must be \"default\", \"linear\" or \"llama3\"");
  } else if (type != "default" && type != "none") {
    rope.fail("rope_type",
              "is \"" + type +
                  "\", which is not supported; it must be \"default\", \"linear\" or \"llama3\"",
              Errc::unsupported);
  }
  for (const auto& [key, value] : *scaling) {
    if (value.is_object()) {
      rope.fail(std::string_view(key), "is an object: positions per layer type are not supported",
                Errc::unsupported);
    }
  }
  if (rope.error()) {
    const Error inner = *rope.error();
    fields.adopt(*rope.error());
  }
}

/// Attention over a window equals full attention as long as the context fits the window, so the
/// context is cut to it.
void read_sliding_window(JsonFields& fields, ModelConfig& config) {
  const bool mistral = config.architecture == Architecture::mistral;
  const bool qwen =
      config.architecture == Architecture::qwen2 || config.architecture == Architecture::qwen3;
  std::int64_t window = 0;
  if (mistral) {
    const bool said = fields.present("sliding_window");  // null means none, absence the default
    window = fields.integer("sliding_window", 1, max_context, said ? max_context : 4096);
  }
  if (qwen && fields.boolean("use_sliding_window", false)) {
    window = fields.integer("sliding_window", 1, max_context, 4096);
  }
  if (const auto* types = fields.array("layer_types")) {
    for (const auto& type : *types) {
      if (type == "full_attention" || (type == "sliding_attention" && window > 0)) continue;
      fields.fail(
          "layer_types",
          "holds " + describe(type) + ", which is not supported; it must be \"full_attention\"",
          Errc::unsupported);
    }
  }
  if (window == 0 || window >= config.max_position || fields.error()) return;
  config.notes.push_back("the context is cut from max_position_embeddings (" +
                         std::to_string(config.max_position) + ") to sliding_window (" +
                         std::to_string(window) + "): windowed attention is not supported");
  config.max_position = window;
}

void read_dtype(JsonFields& fields, ModelConfig& config) {
  const char* key = fields.has("dtype") ? "dtype" : "torch_dtype";
  config.stored_dtype = fields.string(key, "float32");
  if (config.stored_dtype != "float32" && config.stored_dtype != "float16" &&
      config.stored_dtype != "bfloat16") {
    fields.fail(key,
                "is \"" + config.stored_dtype +
                    "\", which is not supported; it must be \"float32\", \"float16\" or "
                    "\"bfloat16\"",
                Errc::unsupported);
  }
}

/// One id, a list of ids, or nothing.
std::vector<TokenId> read_token_ids(JsonFields& fields, std::string_view key, std::int64_t vocab) {
  std::vector<TokenId> ids;
  const auto* value = fields.find(key);
  if (value == nullptr) return ids;
  const auto add = [&](const boost::json::value& one) {
    if (!one.is_int64() || one.get_int64() < 0 || one.get_int64() >= vocab) {
      fields.fail(key, "holds " + describe(one) + "; token ids are whole numbers from 0 to " +
                           std::to_string(vocab - 1));
      return;
    }
    const auto id = static_cast<TokenId>(one.get_int64());
    if (std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
  };
  constexpr std::size_t most = 64;
  if (!value->is_array()) {
    add(*value);
  } else if (value->get_array().size() > most) {
    fields.fail(key, "holds more than " + std::to_string(most) + " token ids");
  } else {
    for (const auto& one : value->get_array()) add(one);
  }
  return ids;
}

void read_generation_config(JsonFields& fields, ModelConfig& config) {
  if (fields.has("eos_token_id")) {
    config.eos_tokens = read_token_ids(fields, "eos_token_id", config.vocab_size);
  }
  if (fields.has("temperature")) {
    config.default_temperature = static_cast<float>(fields.number("temperature", 0.0, 100.0));
  }
  if (fields.has("top_p")) {
    config.default_top_p = static_cast<float>(fields.number("top_p", 1e-6, 1.0));
  }
  if (fields.has("top_k")) {
    config.default_top_k = static_cast<std::int32_t>(fields.integer("top_k", 0, max_vocab));
  }
}

}  // namespace

std::string_view to_string(Architecture architecture) {
  for (const auto& traits : architectures) {
    if (traits.architecture == architecture) return traits.name;
  }
  return "unknown";
}

std::vector<float> ModelConfig::rope_inverse_frequencies() const {
  const auto half = static_cast<std::size_t>(head_dim / 2);
  std::vector<float> frequencies(half);
  const double pi2 = 2.0 * std::numbers::pi;
  const auto original = static_cast<double>(rope.original_max_position);
  for (std::size_t i = 0; i < half; ++i) {
    // Exponent, power and reciprocal are each rounded to f32, as in the training frameworks.
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(head_dim);
    const auto power = static_cast<float>(std::pow(rope.theta, static_cast<double>(exponent)));
    const float base = 1.0F / power;
    float frequency = base;
    if (rope.scaling == RopeConfig::Scaling::linear) {
      frequency = base / static_cast<float>(rope.factor);
    } else if (rope.scaling == RopeConfig::Scaling::llama3) {
      const double wavelength = pi2 / static_cast<double>(base);
      if (wavelength > original / rope.low_freq_factor) {
        frequency = base / static_cast<float>(rope.factor);
      } else if (wavelength > original / rope.high_freq_factor) {
        const double smooth = (original / wavelength - rope.low_freq_factor) /
                              (rope.high_freq_factor - rope.low_freq_factor);
        frequency = static_cast<float>((1.0 - smooth) * static_cast<double>(base) / rope.factor +
                                       smooth * static_cast<double>(base));
      }
    }
    frequencies[i] = frequency;
  }
  return frequencies;
}

std::int64_t ModelConfig::num_parameters() const {
  const std::int64_t q_size = num_heads * head_dim;
  const std::int64_t kv_size = num_kv_heads * head_dim;
  std::int64_t layer = 2 * hidden_size + 2 * q_size * hidden_size + 2 * kv_size * hidden_size +
                       3 * intermediate_size * hidden_size;
  if (qkv_bias) layer += q_size + 2 * kv_size;
  if (qk_norm) layer += 2 * head_dim;
  const std::int64_t embeddings = vocab_size * hidden_size * (tied_head ? 1 : 2);
  return embeddings + num_layers * layer + hidden_size;
}

Result<ModelConfig> load_config(const std::filesystem::path& folder) {
  auto object = read_json_object(folder / "config.json", max_config_bytes);
  if (!object) return std::move(object).error();
  JsonFields fields(*object, (folder / "config.json").string());

  ModelConfig config;
  read_architecture(fields, config);
  if (fields.error()) return *fields.error();
  refuse_unsupported(fields);
  read_sizes(fields, config);
  read_rope(fields, config);
  read_dtype(fields, config);
  if (fields.error()) return *fields.error();
  config.qkv_bias = config.architecture == Architecture::qwen2;
  config.qk_norm = config.architecture == Architecture::qwen3;
  read_sliding_window(fields, config);
  const auto bos = read_token_ids(fields, "bos_token_id", config.vocab_size);
  if (!bos.empty()) config.bos_token = bos.front();
  config.eos_tokens = read_token_ids(fields, "eos_token_id", config.vocab_size);
  if (fields.error()) return *fields.error();

  const auto generation = folder / "generation_config.json";
  std::error_code ignored;
  if (std::filesystem::exists(generation, ignored)) {
    auto defaults = read_json_object(generation, max_config_bytes);
    if (!defaults) return std::move(defaults).error();
    JsonFields generation_fields(*defaults, generation.string());
    read_generation_config(generation_fields, config);
    if (generation_fields.error()) return *generation_fields.error();
  }
  return config;
}

}  // namespace tandem::model
