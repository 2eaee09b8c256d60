// The tiny models of tests/golden/models and what Hugging Face transformers computes for them.
// Programs run from the repository's root.
#pragma once

#include <boost/json/parse.hpp>
#include <catch2/catch.hpp>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "core/units.hpp"

namespace tandem::tests {

inline const std::filesystem::path golden_models = "tests/golden/models";

/// The folders' names, under golden_models.
inline std::vector<std::string> golden_model_names() {
  return {"llama-llama3-rope", "llama-linear-tied", "mistral", "qwen2", "qwen3"};
}

struct Golden {
  std::vector<TokenId> prompt;
  std::int64_t vocab = 0;
  std::vector<float> logits;  ///< (prompt.size(), vocab): after each position of the prompt
};

inline std::string read_whole_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  INFO("reading " << path);
  REQUIRE(in.good());
  return std::string(std::istreambuf_iterator<char>(in), {});
}

/// `folder`: one model's, e.g. golden_models / "qwen3". A missing file fails the test.
inline Golden load_golden(const std::filesystem::path& folder) {
  const auto object = boost::json::parse(read_whole_file(folder / "golden.json")).as_object();
  Golden golden;
  golden.vocab = object.at("vocab").as_int64();
  for (const auto& id : object.at("prompt").as_array()) {
    golden.prompt.push_back(static_cast<TokenId>(id.as_int64()));
  }
  const std::string bytes = read_whole_file(folder / "golden_logits.bin");
  golden.logits.resize(bytes.size() / sizeof(float));
  REQUIRE(golden.logits.size() == golden.prompt.size() * static_cast<std::size_t>(golden.vocab));
  bytes.copy(reinterpret_cast<char*>(golden.logits.data()), bytes.size());
  return golden;
}

/// The digest by which goldens stand for texts that are not kept here.
inline std::string fnv1a(std::string_view text) {
  std::uint64_t hash = 0xcbf29ce484222325ULL;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  char hex[17];
  std::snprintf(hex, sizeof hex, "%016llx", static_cast<unsigned long long>(hash));
  return hex;
}

}  // namespace tandem::tests
