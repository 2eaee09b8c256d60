// safetensors files and folders of them: what is read, and what is refused with the tensor's name.
#include "model/weights.hpp"

#include <catch2/catch.hpp>
#include <cmath>

#include "model/float_formats.hpp"
#include "model/safetensors.hpp"
#include "tests/model/model_folder.hpp"
#include "tests/support/golden.hpp"
#include "tests/support/temporary_folder.hpp"

namespace tandem::model {
namespace {

using Catch::Matchers::Contains;
namespace json = boost::json;

ModelConfig config_of(const std::filesystem::path& folder) {
  auto config = load_config(folder);
  INFO((config ? "" : config.error().message));
  REQUIRE(config.has_value());
  return *config;
}

Result<StoredTensors> read_header(const std::string& file) {
  return read_safetensors_header(std::as_bytes(std::span(file)), "x.safetensors");
}

/// Loads a folder with llama_config and the given header.
Result<WeightsPtr> load_with(const json::object& header, std::size_t data_bytes,
                             const std::string& changes = "{}") {
  tests::TemporaryFolder folder;
  tests::write_file(folder.path() / "config.json", tests::llama_config(changes));
  tests::write_file(folder.path() / "model.safetensors",
                    tests::safetensors_file(json::serialize(header), data_bytes));
  return load_weights(folder.path(), config_of(folder.path()));
}

}  // namespace

TEST_CASE("a header is read into names, shapes and places") {
  const std::string file = tests::safetensors_file(
      R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
      R"("b":{"dtype":"BF16","shape":[],"data_offsets":[24,26]},)"
      R"("c":{"dtype":"I64","shape":[0,5],"data_offsets":[26,26]}})",
      26);
  const auto tensors = read_header(file);
  REQUIRE(tensors.has_value());
  REQUIRE(tensors->size() == 3);
  CHECK(tensors->at("a").shape == std::vector<std::uint64_t>{2, 3});
  CHECK(tensors->at("a").end - tensors->at("a").begin == 24);
  CHECK(tensors->at("b").end == file.size());
  CHECK(tensors->at("c").dtype == "I64");
}

TEST_CASE("every lie of a header is an error that names the tensor") {
  struct Case {
    const char* tensor;  ///< the description of a tensor "a" in a file with 16 data bytes
    const char* message;
  };
  const Case cases[] = {
      {R"({"dtype":"F32","shape":[4],"data_offsets":[0,17]})", "the file is truncated"},
      {R"({"dtype":"F32","shape":[4],"data_offsets":[8,24]})", "the file is truncated"},
      {R"({"dtype":"F32","shape":[4],"data_offsets":[0,18446744073709551615]})", "truncated"},
      {R"({"dtype":"F32","shape":[4],"data_offsets":[16,0]})", "begin <= end"},
      {R"({"dtype":"F32","shape":[4],"data_offsets":[-16,0]})", "begin <= end"},
      {R"({"dtype":"F32","shape":[4],"data_offsets":[0]})", "begin <= end"},
      {R"({"dtype":"F32","shape":[4],"data_offsets":[0,1,2]})", "begin <= end"},
      {R"({"dtype":"F32","shape":[4]})", "data_offsets"},
      {R"({"dtype":"F32","shape":[5],"data_offsets":[0,16]})", "takes 20"},
      {R"({"dtype":"BF16","shape":[4],"data_offsets":[0,16]})", "takes 8"},
      {R"({"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]})", "overflows"},
      {R"({"dtype":"F32","shape":[9223372036854775808,2],"data_offsets":[0,0]})", "overflows"},
      {R"({"dtype":"F32","shape":[-4],"data_offsets":[0,16]})", "no valid shape"},
      {R"({"dtype":"F32","shape":[4.0],"data_offsets":[0,16]})", "no valid shape"},
      {R"({"dtype":"F32","shape":4,"data_offsets":[0,16]})", "no valid shape"},
      {R"({"dtype":"F32","shape":[1,1,1,1,1,1,1,1,4],"data_offsets":[0,16]})", "at most 8"},
      {R"({"dtype":"F4","shape":[4],"data_offsets":[0,16]})", "unknown dtype \"F4\""},
      {R"({"dtype":7,"shape":[4],"data_offsets":[0,16]})", "unknown dtype"},
      {R"({"shape":[4],"data_offsets":[0,16]})", "unknown dtype \"\""},
      {R"([1,2])", "described by an object"},
  };
  for (const auto& one : cases) {
    INFO(one.tensor);
    const auto tensors =
        read_header(tests::safetensors_file("{\"a\":" + std::string(one.tensor) + "}", 16));
    REQUIRE(tensors.has_error());
    CHECK_THAT(tensors.error().message, Contains("x.safetensors: tensor \"a\""));
    CHECK_THAT(tensors.error().message, Contains(one.message));
  }
}

TEST_CASE("a file whose header length lies is refused before anything is read") {
  const auto message = [](const std::string& file) {
    const auto tensors = read_header(file);
    REQUIRE(tensors.has_error());
    return tensors.error().message;
  };
  CHECK_THAT(message(""), Contains("has 0 bytes"));
  CHECK_THAT(message("1234567"), Contains("at least 8"));
  CHECK_THAT(message(std::string("\x10\0\0\0\0\0\0\0{}", 10)), Contains("the file is truncated"));
  CHECK_THAT(message(std::string(8, '\xFF') + "{}"), Contains("at most 100000000"));
  CHECK_THAT(message(std::string(8, '\0')), Contains("not valid JSON"));
  CHECK_THAT(message(tests::safetensors_file("[]", 0)), Contains("must be a JSON object"));
  CHECK_THAT(message(tests::safetensors_file("{\"a\":[[[[[[1]]]]]]}", 0)),
             Contains("not valid JSON"));
  CHECK_THAT(message(tests::safetensors_file(std::string(100'000, '['), 0)),
             Contains("not valid JSON"));
}

TEST_CASE("published sample files are read as their makers wrote them") {
  const std::filesystem::path folder = "../shared/data/safetensors-samples";
  if (!std::filesystem::exists(folder)) {
    WARN("skipped: " << folder << " is not here");
    return;
  }
  std::size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".safetensors") continue;
    INFO(entry.path());
    auto file = MappedFile::open(entry.path());
    REQUIRE(file.has_value());
    const auto tensors = read_safetensors_header(file->bytes(), entry.path().string());
    INFO((tensors ? "" : tensors.error().message));
    REQUIRE(tensors.has_value());
    CHECK_FALSE(tensors->empty());
    ++files;
  }
  CHECK(files == 6);
  auto cube = MappedFile::open(folder / "tensor-3d-float32.safetensors");
  const auto tensors = read_safetensors_header(cube->bytes(), "cube");
  REQUIRE(tensors->size() == 1);
  CHECK(tensors->begin()->second.dtype == "F32");
  CHECK(tensors->begin()->second.shape.size() == 3);
}

TEST_CASE("a folder with a wrong tensor is refused with the tensor's name and the shape it wants") {
  std::size_t bytes = 0;
  const json::object good = tests::llama_header(bytes);
  REQUIRE(load_with(good, bytes).has_value());
  const std::string q = "model.layers.0.self_attn.q_proj.weight";
  const auto refused = [&](const json::object& header, std::size_t data_bytes,
                           const std::string& changes = "{}") {
    auto weights = load_with(header, data_bytes, changes);
    REQUIRE(weights.has_error());
    return weights.error().message;
  };
  SECTION("missing") {
    auto header = good;
    header.erase(q);
    CHECK_THAT(refused(header, bytes), Contains(q) && Contains("is missing") && Contains("[8, 8]"));
  }
  SECTION("wrong shape") {
    auto header = good;
    tests::add_tensor(header, bytes, q, {8, 9});
    CHECK_THAT(refused(header, bytes), Contains(q) && Contains("[8, 9]") && Contains("[8, 8]"));
  }
  SECTION("a vector where a matrix belongs") {
    auto header = good;
    tests::add_tensor(header, bytes, q, {64});
    CHECK_THAT(refused(header, bytes), Contains(q) && Contains("[64]"));
  }
  SECTION("integers") {
    auto header = good;
    tests::add_tensor(header, bytes, q, {8, 8}, "I16");
    CHECK_THAT(refused(header, bytes), Contains(q) && Contains("I16") && Contains("BF16"));
  }
  SECTION("truncated") {
    CHECK_THAT(refused(good, bytes - 1), Contains("truncated") && Contains("model.norm.weight"));
  }
  SECTION("no head, though it is not tied") {
    CHECK_THAT(refused(good, bytes, R"({"tie_word_embeddings": false})"),
               Contains("lm_head.weight") && Contains("[10, 8]"));
  }
  SECTION("biases and norms that the architecture wants") {
    CHECK_THAT(refused(good, bytes, R"({"architectures": ["Qwen2ForCausalLM"]})"),
               Contains("self_attn.q_proj.bias"));
    CHECK_THAT(refused(good, bytes, R"({"architectures": ["Qwen3ForCausalLM"], "head_dim": 4})"),
               Contains("self_attn.q_norm.weight"));
  }
}

TEST_CASE("tensors that the model does not use are passed over") {
  std::size_t bytes = 0;
  auto header = tests::llama_header(bytes);
  tests::add_tensor(header, bytes, "model.layers.0.self_attn.rotary_emb.inv_freq", {2});
  tests::add_tensor(header, bytes, "lm_head.weight", {10, 8});
  const auto weights = load_with(header, bytes);
  REQUIRE(weights.has_value());
  CHECK((*weights)->head.data == (*weights)->embedding.data);
}

TEST_CASE("a sharded folder is read through its index, and the index is not believed") {
  tests::TemporaryFolder folder;
  std::filesystem::copy(tests::golden_models / "llama-llama3-rope", folder.path(),
                        std::filesystem::copy_options::recursive);
  const auto config = config_of(folder.path());
  REQUIRE(load_weights(folder.path(), config).has_value());
  const auto index_path = folder.path() / "model.safetensors.index.json";
  auto index = json::parse(tests::read_whole_file(index_path)).as_object();
  auto& map = index["weight_map"].as_object();
  const auto refused = [&] {
    tests::write_file(index_path, json::serialize(index));
    const auto weights = load_weights(folder.path(), config);
    REQUIRE(weights.has_error());
    return weights.error().message;
  };
  SECTION("a tensor that is not in the index") {
    map.erase("model.norm.weight");
    CHECK_THAT(refused(), Contains("model.norm.weight") && Contains("is missing"));
  }
  SECTION("a tensor in another shard than the index says") {
    map["model.norm.weight"] = map["model.embed_tokens.weight"];
    CHECK_THAT(refused(), Contains("model.norm.weight") && Contains("index.json says"));
  }
  SECTION("a shard that is not there") {
    map["model.norm.weight"] = "model-00009-of-00003.safetensors";
    CHECK_THAT(refused(), Contains("model-00009-of-00003.safetensors"));
  }
  SECTION("a file outside the folder") {
    for (const char* name : {"../x.safetensors", "/etc/passwd", "..", ""}) {
      map["model.norm.weight"] = name;
      CHECK_THAT(refused(), Contains("in the same folder"));
    }
    map["model.norm.weight"] = 7;
    CHECK_THAT(refused(), Contains("in the same folder"));
  }
  SECTION("no map") {
    index.erase("weight_map");
    CHECK_THAT(refused(), Contains("weight_map"));
  }
  SECTION("a shard cut short") {
    const auto shard = folder.path() / std::string(map["model.norm.weight"].as_string());
    std::filesystem::resize_file(shard, std::filesystem::file_size(shard) - 100);
    CHECK_THAT(refused(), Contains(shard.filename().string()) && Contains("truncated"));
  }
  SECTION("neither weights nor index") {
    std::filesystem::remove(index_path);
    const auto weights = load_weights(folder.path(), config);
    REQUIRE(weights.has_error());
    CHECK(weights.error().code == Errc::not_found);
    CHECK_THAT(weights.error().message, Contains("model.safetensors.index.json"));
  }
}

TEST_CASE("16-bit floats convert exactly both ways") {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const float from_half = f32_of_f16(half);
    const float from_brain = f32_of_bf16(half);
    if (std::isnan(from_half)) {
      REQUIRE((half & 0x7FFF) > 0x7C00);
      REQUIRE(std::isnan(f32_of_f16(f16_of_f32(from_half))));
    } else {
      REQUIRE(f16_of_f32(from_half) == half);
    }
    if (std::isnan(from_brain)) {
      REQUIRE(std::isnan(f32_of_bf16(bf16_of_f32(from_brain))));
    } else {
      REQUIRE(bf16_of_f32(from_brain) == half);
    }
  }
  CHECK(f32_of_f16(0x3C00) == 1.0F);
  CHECK(f32_of_f16(0x0001) == 0x1p-24F);
  CHECK(f32_of_f16(0x7BFF) == 65504.0F);
  CHECK(f32_of_f16(0xFC00) == -std::numeric_limits<float>::infinity());
  CHECK(f16_of_f32(65519.0F) == 0x7BFF);
  CHECK(f16_of_f32(65520.0F) == 0x7C00);
  CHECK(f16_of_f32(1.0F + 0x1p-11F) == 0x3C00);  // a tie goes to even
  CHECK(f16_of_f32(1.0F + 3 * 0x1p-11F) == 0x3C02);
  CHECK(bf16_of_f32(1.0F + 0x1p-8F) == 0x3F80);
  CHECK(bf16_of_f32(1.0F + 3 * 0x1p-8F) == 0x3F82);
}

TEST_CASE("dummy weights have the config's shapes, are reproducible and bell-shaped") {
  tests::TemporaryFolder folder;
  tests::write_file(folder.path() / "config.json",
                    tests::llama_config(R"({"architectures": ["Qwen2ForCausalLM"],
                        "hidden_size": 64, "vocab_size": 300, "tie_word_embeddings": false})"));
  const auto config = config_of(folder.path());
  const auto weights = dummy_weights(config, Dtype::f32, 5);
  REQUIRE(weights->layers.size() == 1);
  const auto& layer = weights->layers[0];
  CHECK(layer.k.rows == 32);
  CHECK(layer.k.cols == 64);
  CHECK(layer.down.rows == 64);
  CHECK(layer.down.cols == 12);
  CHECK(layer.k_bias.rows == 1);
  CHECK(layer.k_bias.cols == 32);
  CHECK(layer.q_norm.empty());
  CHECK(weights->head.data != weights->embedding.data);

  std::vector<float> values(static_cast<std::size_t>(weights->embedding.size()));
  to_f32(weights->embedding, 0, values);
  double sum = 0;
  double squares = 0;
  for (const float v : values) {
    sum += static_cast<double>(v);
    squares += static_cast<double>(v) * static_cast<double>(v);
  }
  const auto count = static_cast<double>(values.size());
  CHECK(std::abs(sum / count) < 0.005);
  CHECK(std::sqrt(squares / count) == Approx(1.0 / 8).epsilon(0.03));
  std::vector<float> norm(64);
  to_f32(layer.input_norm, 0, norm);
  CHECK(norm == std::vector<float>(64, 1.0F));

  for (const Dtype dtype : {Dtype::f32, Dtype::bf16, Dtype::f16}) {
    std::vector<float> again(values.size());
    to_f32(dummy_weights(config, dtype, 5)->embedding, 0, again);
    for (std::size_t i = 0; i < values.size(); ++i) {
      REQUIRE(again[i] == Approx(values[i]).epsilon(0.005).margin(1e-6));
    }
    to_f32(dummy_weights(config, dtype, 6)->embedding, 0, again);
    CHECK(again != values);
  }
}

TEST_CASE("dummy weights do not depend on how many threads make them") {
  // As many as a matrix is large enough for, so that these two are divided at different places.
  const auto embedding_of = [](std::int64_t vocab) {
    tests::TemporaryFolder folder;
    const auto rows = std::to_string(vocab);
    tests::write_file(folder.path() / "config.json",
                      tests::llama_config(R"({"hidden_size": 512, "vocab_size": )" + rows + "}"));
    const auto weights = dummy_weights(config_of(folder.path()), Dtype::f32, 5);
    std::vector<float> values(static_cast<std::size_t>(vocab * 512));
    to_f32(weights->embedding, 0, values);
    return values;
  };
  const auto small = embedding_of(2 * 2048), large = embedding_of(3 * 2048 + 1);
  CHECK(std::equal(small.begin(), small.end(), large.begin()));
  CHECK(std::count(large.begin(), large.end(), 0.0F) < 100);
}

}  // namespace tandem::model
