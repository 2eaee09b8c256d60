// The shape of a model, read from a Hugging Face folder's config.json and generation_config.json.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.hpp"
#include "core/units.hpp"

namespace tandem::model {

enum class Architecture : std::uint8_t { llama, mistral, qwen2, qwen3 };
std::string_view to_string(Architecture architecture);

/// How positions turn into rotation angles; `factor` and the rest belong to the scaling kinds.
struct RopeConfig {
  enum class Scaling : std::uint8_t { none, linear, llama3 };
  double theta = 10000.0;
  Scaling scaling = Scaling::none;
  double factor = 1.0;
  double low_freq_factor = 1.0;
  double high_freq_factor = 4.0;
  std::int64_t original_max_position = 8192;
};

/// Every size is positive, in range and consistent with the others once `load_config` returned it.
struct ModelConfig {
  Architecture architecture = Architecture::llama;
  std::int64_t vocab_size = 0;
  std::int64_t hidden_size = 0;
  std::int64_t intermediate_size = 0;
  std::int64_t num_layers = 0;
  std::int64_t num_heads = 0;
  std::int64_t num_kv_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t max_position = 0;  ///< longest context, in tokens
  double rms_norm_eps = 1e-5;
  RopeConfig rope;
  bool tied_head = false;
  bool qkv_bias = false;     ///< Qwen2 (attention_bias elsewhere is refused)
  bool qk_norm = false;      ///< Qwen3
  std::string stored_dtype;  ///< "float32", "float16", "bfloat16"
  std::optional<TokenId> bos_token;
  std::vector<TokenId> eos_tokens;  ///< of generation_config.json if present, else config.json
  /// Sampling defaults of generation_config.json, if it names them.
  std::optional<float> default_temperature;
  std::optional<float> default_top_p;
  std::optional<std::int32_t> default_top_k;

  /// What an operator should know of how the file was understood, one sentence each (for the log).
  std::vector<std::string> notes;

  /// Inverse frequencies of the rotation, (head_dim / 2), scaling applied.
  [[nodiscard]] std::vector<float> rope_inverse_frequencies() const;
  [[nodiscard]] std::int64_t num_parameters() const;
};

/// Errors name the file, the key, what it held and what is allowed.
Result<ModelConfig> load_config(const std::filesystem::path& folder);

}  // namespace tandem::model
