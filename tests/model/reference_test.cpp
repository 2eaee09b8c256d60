// The reference forward pass against Hugging Face transformers (tests/golden/models) and against a
// small trained model.
#include "model/reference.hpp"

#include <catch2/catch.hpp>
#include <cmath>

#include "model/model_config.hpp"
#include "tests/support/golden.hpp"

namespace tandem::model {
namespace {

Reference open_reference(const std::filesystem::path& folder) {
  auto config = load_config(folder);
  INFO((config ? "" : config.error().message));
  REQUIRE(config.has_value());
  auto weights = load_weights(folder, *config);
  INFO((weights ? "" : weights.error().message));
  REQUIRE(weights.has_value());
  return Reference(*weights);
}

float largest_difference(std::span<const float> a, std::span<const float> b) {
  REQUIRE(a.size() == b.size());
  float largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    REQUIRE(std::isfinite(a[i]));
    largest = std::max(largest, std::abs(a[i] - b[i]));
  }
  return largest;
}

TokenId argmax(std::span<const float> logits) {
  return static_cast<TokenId>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

}  // namespace

TEST_CASE("the reference gives the logits of transformers for every architecture") {
  for (const auto& name : tests::golden_model_names()) {
    INFO(name);
    const auto folder = tests::golden_models / name;
    const auto golden = tests::load_golden(folder);
    Reference reference = open_reference(folder);
    const float difference = largest_difference(reference.forward(golden.prompt), golden.logits);
    INFO("largest difference " << difference);
    CHECK(difference <= 1e-4F);
  }
}

TEST_CASE("a prompt in pieces gives the same logits as the whole, and reset forgets it") {
  const auto folder = tests::golden_models / "qwen2";
  const auto golden = tests::load_golden(folder);
  Reference reference = open_reference(folder);
  const auto whole = reference.forward(golden.prompt);
  reference.reset();
  std::vector<float> pieces;
  for (std::size_t at = 0; at < golden.prompt.size(); at += 7) {
    const std::size_t count = std::min<std::size_t>(7, golden.prompt.size() - at);
    const auto some = reference.forward(std::span(golden.prompt).subspan(at, count));
    pieces.insert(pieces.end(), some.begin(), some.end());
  }
  CHECK(pieces == whole);
}

TEST_CASE("a trained model continues from BOS exactly as its author's program does") {
  const std::filesystem::path folder = "../shared/data/stories260k/derived-hf";
  if (!std::filesystem::exists(folder)) {
    WARN("skipped: " << folder << " is not here");
    return;
  }
  const auto golden =
      boost::json::parse(tests::read_whole_file(folder / "greedy_golden.json")).as_object();
  Reference reference = open_reference(folder);
  TokenId token = 1;
  std::vector<TokenId> ids;
  for (std::size_t i = 0; i < golden.at("ids").as_array().size(); ++i) {
    token = argmax(reference.forward(std::span(&token, 1)));
    ids.push_back(token);
  }
  std::vector<TokenId> expected;
  for (const auto& id : golden.at("ids").as_array()) {
    expected.push_back(static_cast<TokenId>(id.as_int64()));
  }
  REQUIRE(expected.size() == 256);
  CHECK(ids == expected);
}

}  // namespace tandem::model
