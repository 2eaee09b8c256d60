// config.json: what is understood, and one clear error for everything that is not.
#include "model/model_config.hpp"

#include <catch2/catch.hpp>

#include "tests/model/model_folder.hpp"
#include "tests/support/temporary_folder.hpp"

namespace tandem::model {
namespace {

using Catch::Matchers::Contains;

Result<ModelConfig> load(const std::string& config, const std::string& generation = "") {
  tests::TemporaryFolder folder;
  tests::write_file(folder.path() / "config.json", config);
  if (!generation.empty()) tests::write_file(folder.path() / "generation_config.json", generation);
  return load_config(folder.path());
}

ModelConfig loaded(const std::string& changes, const std::string& generation = "") {
  auto config = load(tests::llama_config(changes), generation);
  INFO((config ? "" : config.error().message));
  REQUIRE(config.has_value());
  return *config;
}

}  // namespace

TEST_CASE("a Llama config is read whole") {
  const ModelConfig config = loaded("{}");
  CHECK(config.architecture == Architecture::llama);
  CHECK(config.vocab_size == 10);
  CHECK(config.hidden_size == 8);
  CHECK(config.intermediate_size == 12);
  CHECK(config.num_layers == 1);
  CHECK(config.num_heads == 2);
  CHECK(config.num_kv_heads == 1);
  CHECK(config.head_dim == 4);
  CHECK(config.max_position == 64);
  CHECK(config.rms_norm_eps == Approx(1e-5));
  CHECK(config.tied_head);
  CHECK_FALSE(config.qkv_bias);
  CHECK_FALSE(config.qk_norm);
  CHECK(config.stored_dtype == "float32");
  CHECK(config.bos_token == 1);
  CHECK(config.eos_tokens == std::vector<TokenId>{2});
  CHECK(config.notes.empty());
  // 80 embedding, 2 x 8 norms, 64 + 32 + 32 + 64 attention, 3 x 96 feed-forward, 8 final norm
  CHECK(config.num_parameters() == 80 + 16 + 192 + 288 + 8);
}

TEST_CASE("missing keys have the defaults of transformers") {
  const ModelConfig config = loaded(
      R"({"num_key_value_heads": "remove", "rope_theta": "remove", "tie_word_embeddings": "remove",
          "hidden_act": "remove", "rms_norm_eps": null, "torch_dtype": "remove",
          "bos_token_id": null, "eos_token_id": null, "head_dim": null})");
  CHECK(config.num_kv_heads == 2);
  CHECK(config.rope.theta == 10000.0);
  CHECK_FALSE(config.tied_head);
  CHECK(config.rms_norm_eps == Approx(1e-6));
  CHECK(config.stored_dtype == "float32");
  CHECK_FALSE(config.bos_token.has_value());
  CHECK(config.eos_tokens.empty());
}

TEST_CASE("each architecture brings its own parts") {
  const ModelConfig qwen2 = loaded(R"({"architectures": ["Qwen2ForCausalLM"]})");
  CHECK(qwen2.architecture == Architecture::qwen2);
  CHECK(qwen2.qkv_bias);
  CHECK_FALSE(qwen2.qk_norm);
  CHECK(qwen2.num_parameters() == 584 + 8 + 4 + 4);
  const ModelConfig qwen3 = loaded(R"({"architectures": ["Qwen3ForCausalLM"]})");
  CHECK(qwen3.qk_norm);
  CHECK_FALSE(qwen3.qkv_bias);
  CHECK(qwen3.head_dim == 128);
  CHECK(loaded(R"({"architectures": ["Qwen3ForCausalLM"], "head_dim": 6})").head_dim == 6);
  const ModelConfig mistral =
      loaded(R"({"architectures": ["MistralForCausalLM"], "sliding_window": null})");
  CHECK(mistral.architecture == Architecture::mistral);
  CHECK(to_string(mistral.architecture) == "mistral");
}

TEST_CASE("both generations of rope keys are understood") {
  using Scaling = RopeConfig::Scaling;
  CHECK(loaded(R"({"rope_scaling": null})").rope.scaling == Scaling::none);
  CHECK(loaded(R"({"rope_scaling": {"rope_type": "default"}})").rope.scaling == Scaling::none);
  for (const char* text : {R"({"rope_scaling": {"type": "linear", "factor": 2.5}})",
                           R"({"rope_parameters": {"rope_type": "linear", "factor": 2.5,
                                                   "rope_theta": 10000}})"}) {
    const RopeConfig linear = loaded(text).rope;
    CHECK(linear.scaling == Scaling::linear);
    CHECK(linear.factor == 2.5);
    CHECK(linear.theta == 10000.0);
  }
  const RopeConfig llama3 = loaded(R"({"rope_theta": 500000.0, "rope_scaling":
      {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
       "original_max_position_embeddings": 8192}})")
                                .rope;
  CHECK(llama3.scaling == Scaling::llama3);
  CHECK(llama3.theta == 500000.0);
  CHECK(llama3.original_max_position == 8192);
  CHECK(loaded(R"({"rope_parameters": {"rope_theta": 77.0}})").rope.theta == 77.0);
}

TEST_CASE("inverse frequencies are scaled as the kinds say") {
  ModelConfig config = loaded(R"({"head_dim": 8, "rope_theta": 10000.0})");
  const auto plain = config.rope_inverse_frequencies();
  REQUIRE(plain.size() == 4);
  CHECK(plain[0] == 1.0F);
  CHECK(plain[1] == Approx(0.1));
  CHECK(plain[3] == Approx(0.001));
  config.rope.scaling = RopeConfig::Scaling::linear;
  config.rope.factor = 4;
  CHECK(config.rope_inverse_frequencies()[1] == Approx(0.025));
  // Wavelengths 6.3, 63, 628 and 6283 around the bounds 100 / 4 and 100 / 1.
  config.rope.scaling = RopeConfig::Scaling::llama3;
  config.rope.low_freq_factor = 1;
  config.rope.high_freq_factor = 4;
  config.rope.original_max_position = 100;
  const auto scaled = config.rope_inverse_frequencies();
  CHECK(scaled[0] == plain[0]);
  const double smooth = (100 / 62.83185 - 1) / 3;
  CHECK(scaled[1] == Approx((1 - smooth) * 0.1 / 4 + smooth * 0.1));
  CHECK(scaled[2] == Approx(0.01 / 4));
  CHECK(scaled[3] == Approx(0.001 / 4));
}

TEST_CASE("the context is cut to a sliding window, and that is noted") {
  const ModelConfig config =
      loaded(R"({"architectures": ["MistralForCausalLM"], "sliding_window": 48})");
  CHECK(config.max_position == 48);
  REQUIRE(config.notes.size() == 1);
  CHECK_THAT(config.notes[0], Contains("sliding_window (48)"));
  CHECK(loaded(R"({"architectures": ["MistralForCausalLM"], "sliding_window": 64})").notes.empty());
  // Qwen writes a window that it does not use.
  const std::string qwen =
      R"({"architectures": ["Qwen2ForCausalLM"], "sliding_window": 48, "use_sliding_window": )";
  CHECK(loaded(qwen + "false}").max_position == 64);
  CHECK(loaded(qwen + "true}").max_position == 48);
  // Without the key Mistral's class has a window of 4096.
  CHECK(loaded(R"({"architectures": ["MistralForCausalLM"], "max_position_embeddings": 8192})")
            .max_position == 4096);
}

TEST_CASE("generation_config.json overrules end tokens and names sampling defaults") {
  const ModelConfig config =
      loaded(R"({"eos_token_id": [2, 3]})",
             R"({"eos_token_id": [4, 5, 4], "temperature": 0.6, "top_p": 0.9, "top_k": 20})");
  CHECK(config.eos_tokens == std::vector<TokenId>{4, 5});
  CHECK(config.default_temperature == 0.6F);
  CHECK(config.default_top_p == 0.9F);
  CHECK(config.default_top_k == 20);
  const ModelConfig silent = loaded(R"({"eos_token_id": [2, 3]})", R"({"max_length": 20})");
  CHECK(silent.eos_tokens == std::vector<TokenId>{2, 3});
  CHECK_FALSE(silent.default_temperature.has_value());
}

TEST_CASE("every bad config gets one error that names the key and what is allowed") {
  struct Case {
    const char* changes;
    const char* key;
    const char* message;
    Errc code;
  };
  constexpr Errc invalid = Errc::invalid_value;
  constexpr Errc unsupported = Errc::unsupported;
  const Case cases[] = {
      {R"({"architectures": "remove"})", "architectures", "LlamaForCausalLM", invalid},
      {R"({"architectures": ["LlamaForCausalLM", "Qwen2ForCausalLM"]})", "architectures",
       "exactly one", invalid},
      {R"({"architectures": ["GemmaForCausalLM"]})", "architectures", "GemmaForCausalLM",
       unsupported},
      {R"({"hidden_size": "remove"})", "hidden_size", "is missing", invalid},
      {R"({"hidden_size": 0})", "hidden_size", "is 0; it must be a whole number from 1", invalid},
      {R"({"hidden_size": -8})", "hidden_size", "is -8", invalid},
      {R"({"hidden_size": 8.5})", "hidden_size", "is 8.5", invalid},
      {R"({"hidden_size": "8"})", "hidden_size", "is \"8\"", invalid},
      {R"({"hidden_size": 9223372036854775807})", "hidden_size", "9223372036854775807", invalid},
      {R"({"hidden_size": 18446744073709551615})", "hidden_size", "18446744073709551615", invalid},
      {R"({"vocab_size": 4294967296})", "vocab_size", "4294967296", invalid},
      {R"({"num_hidden_layers": 1000000})", "num_hidden_layers", "to 4096", invalid},
      {R"({"intermediate_size": [12]})", "intermediate_size", "an array of 1", invalid},
      {R"({"num_attention_heads": 3})", "head_dim", "not a multiple", invalid},
      {R"({"num_key_value_heads": 0})", "num_key_value_heads", "is 0", invalid},
      {R"({"num_attention_heads": 4, "num_key_value_heads": 3})", "num_key_value_heads",
       "does not divide", invalid},
      {R"({"head_dim": 5})", "head_dim", "even", invalid},
      {R"({"head_dim": 4096})", "head_dim", "is 4096", invalid},
      {R"({"max_position_embeddings": "remove"})", "max_position_embeddings", "missing", invalid},
      {R"({"rms_norm_eps": -1})", "rms_norm_eps", "is -1", invalid},
      {R"({"rms_norm_eps": "small"})", "rms_norm_eps", "small", invalid},
      {R"({"tie_word_embeddings": 1})", "tie_word_embeddings", "true or false", invalid},
      {R"({"hidden_act": "gelu"})", "hidden_act", "\"gelu\"", unsupported},
      {R"({"attention_bias": true})", "attention_bias", "not supported", unsupported},
      {R"({"mlp_bias": true})", "mlp_bias", "not supported", unsupported},
      {R"({"quantization_config": {"bits": 4}})", "quantization_config", "float16", unsupported},
      {R"({"torch_dtype": "float8_e4m3fn"})", "torch_dtype", "float8_e4m3fn", unsupported},
      {R"({"dtype": "int8"})", "dtype", "int8", unsupported},
      {R"({"rope_theta": 0})", "rope_theta", "is 0", invalid},
      {R"({"partial_rotary_factor": 0.5})", "partial_rotary_factor", "must be 1", unsupported},
      {R"({"rope_scaling": {"type": "yarn", "factor": 4}})", "rope_type", "\"yarn\"", unsupported},
      {R"({"rope_scaling": {"factor": 4}})", "rope_type", "is missing", invalid},
      {R"({"rope_scaling": {"type": "linear"}})", "factor", "is missing", invalid},
      {R"({"rope_scaling": {"type": "linear", "factor": 0}})", "factor", "is 0", invalid},
      {R"({"rope_scaling": {"type": "llama3", "factor": 8, "low_freq_factor": 4,
           "high_freq_factor": 4}})",
       "high_freq_factor", "greater than low_freq_factor", invalid},
      {R"({"rope_parameters": {"full_attention": {"rope_theta": 1e4}}})", "full_attention",
       "per layer type", unsupported},
      {R"({"rope_scaling": "linear"})", "rope_scaling", "must be an object", invalid},
      {R"({"bos_token_id": 10})", "bos_token_id", "from 0 to 9", invalid},
      {R"({"eos_token_id": [2, -1]})", "eos_token_id", "holds -1", invalid},
      {R"({"eos_token_id": "2"})", "eos_token_id", "holds \"2\"", invalid},
      {R"({"architectures": ["MistralForCausalLM"], "sliding_window": 0})", "sliding_window",
       "is 0", invalid},
      {R"({"architectures": ["Qwen2ForCausalLM"], "layer_types": ["sliding_attention"]})",
       "layer_types", "sliding_attention", unsupported},
  };
  for (const auto& one : cases) {
    INFO(one.changes);
    const auto config = load(tests::llama_config(one.changes));
    REQUIRE(config.has_error());
    CHECK_THAT(config.error().message, Contains("config.json"));
    CHECK_THAT(config.error().message, Contains(std::string("\"") + one.key + "\""));
    CHECK_THAT(config.error().message, Contains(one.message));
    CHECK(config.error().param == one.key);
    CHECK(config.error().code == one.code);
  }
}

TEST_CASE("a config that is no JSON object, or not there, is an error with the file's name") {
  const std::string deep = std::string(100, '[') + std::string(100, ']');
  for (const std::string& text :
       {std::string(), std::string("[]"), std::string("{\"a\":"), std::string("{} {}"),
        "{\"a\":" + deep + "}", std::string("{\"a\":\"\xFF\"}")}) {
    INFO(text);
    const auto config = load(text);
    REQUIRE(config.has_error());
    CHECK_THAT(config.error().message, Contains("config.json"));
  }
  tests::TemporaryFolder empty;
  CHECK(load_config(empty.path()).error().code == Errc::not_found);
  CHECK(load(std::string(5 << 20, ' ')).error().code == Errc::too_large);
  const auto generation = load(tests::llama_config(), "{\"eos_token_id\": 99}");
  REQUIRE(generation.has_error());
  CHECK_THAT(generation.error().message, Contains("generation_config.json"));
  CHECK_THAT(load(tests::llama_config(), "[").error().message, Contains("generation_config.json"));
}

}  // namespace tandem::model
