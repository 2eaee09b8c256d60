// Thousands of broken model files: whatever is wrong with them, loading ends with a value or an
// error. Meant to be run with the sanitizers as well.
#include <catch2/catch.hpp>
#include <random>

#include "model/chat_format.hpp"
#include "model/model_config.hpp"
#include "model/safetensors.hpp"
#include "model/tokenizer.hpp"
#include "model/weights.hpp"
#include "tests/model/model_folder.hpp"
#include "tests/support/golden.hpp"
#include "tests/support/temporary_folder.hpp"

namespace tandem::model {
namespace {

/// Changes a few bytes: replaced, removed, doubled, or put in from a list of troublesome ones.
std::string mutated(std::string text, std::mt19937& source) {
  static const std::vector<std::string> troublesome{
      "[",  "]",    "{",  "}",    "\"",   ",",          "-1",      "0",      "null",
      "1e", "true", "\\", "\xFF", "\\u0", "4294967296", "1e999",   "[[[[[[", "18446744073709551615",
      ":",  "\x7F", " ",  "é",    "-",    "\"type\":",  "Sequence"};
  const std::size_t changes = 1 + source() % 4;
  for (std::size_t i = 0; i < changes && !text.empty(); ++i) {
    const std::size_t at = source() % text.size();
    switch (source() % 5) {
      case 0: text[at] = static_cast<char>(source() & 0xFF); break;
      case 1: text.erase(at, 1 + source() % 8); break;
      case 2: text.insert(at, text.substr(source() % text.size(), source() % 30)); break;
      case 3: text.insert(at, troublesome[source() % troublesome.size()]); break;
      default: {
        // A number or a word takes another's place: the JSON often stays valid.
        const std::size_t digit = text.find_first_of("0123456789", at);
        if (digit != std::string::npos) text.replace(digit, 1, troublesome[source() % 25]);
      }
    }
  }
  return text;
}

template <class T>
void check_outcome(const Result<T>& result) {
  if (result.has_error()) REQUIRE_FALSE(result.error().message.empty());
}

}  // namespace

TEST_CASE("mutated config.json files end in a value or an error") {
  std::mt19937 source(1);
  tests::TemporaryFolder folder;
  const std::string good = tests::llama_config(
      R"({"rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
          "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}})");
  int loaded = 0;
  for (int i = 0; i < 3000; ++i) {
    tests::write_file(folder.path() / "config.json", mutated(good, source));
    const auto config = load_config(folder.path());
    check_outcome(config);
    if (!config) continue;
    ++loaded;
    REQUIRE(config->num_parameters() > 0);
    REQUIRE(config->rope_inverse_frequencies().size() ==
            static_cast<std::size_t>(config->head_dim / 2));
  }
  CHECK(loaded > 50);
}

TEST_CASE("mutated safetensors files end in a value or an error") {
  std::mt19937 source(2);
  std::size_t bytes = 0;
  const std::string header = boost::json::serialize(tests::llama_header(bytes));
  tests::TemporaryFolder folder;
  tests::write_file(folder.path() / "config.json", tests::llama_config());
  const auto config = load_config(folder.path());
  REQUIRE(config.has_value());
  int loaded = 0;
  for (int i = 0; i < 3000; ++i) {
    std::string file = tests::safetensors_file(mutated(header, source), bytes);
    if (source() % 4 == 0) file[source() % 10] = static_cast<char>(source() & 0xFF);
    if (source() % 4 == 0) file.resize(source() % file.size());
    tests::write_file(folder.path() / "model.safetensors", file);
    const auto weights = load_weights(folder.path(), *config);
    check_outcome(weights);
    if (!weights) continue;
    ++loaded;
    std::vector<float> values(static_cast<std::size_t>((*weights)->embedding.size()));
    to_f32((*weights)->embedding, 0, values);
  }
  CHECK(loaded > 5);
}

TEST_CASE("mutated tokenizer.json files end in a value or an error") {
  std::mt19937 source(3);
  tests::TemporaryFolder folder;
  const std::string good =
      tests::read_whole_file("tests/golden/tokenizers/llama3-like/tokenizer.json");
  // The vocabulary is most of the file; half of the mutations go to what is before and after it.
  const std::size_t vocab = good.find("\"vocab\"");
  const std::size_t merges = good.find("\"merges\"");
  REQUIRE(merges != std::string::npos);
  int loaded = 0;
  for (int i = 0; i < 1500; ++i) {
    const std::string text = source() % 2 == 0
                                 ? mutated(good, source)
                                 : mutated(good.substr(0, vocab), source) +
                                       good.substr(vocab, merges - vocab) + good.substr(merges);
    tests::write_file(folder.path() / "tokenizer.json", text);
    const auto tokenizer = load_tokenizer(folder.path());
    check_outcome(tokenizer);
    if (!tokenizer) continue;
    ++loaded;
    const auto ids = (*tokenizer)->encode("the <tool> 12 naïve <|end|>\n", true, i % 2 == 0);
    for (const TokenId id : ids) {
      REQUIRE(id >= 0);
      REQUIRE(static_cast<std::size_t>(id) < (*tokenizer)->vocab_size());
    }
    (void)(*tokenizer)->decode(ids);
  }
  CHECK(loaded > 50);
}

TEST_CASE("random bytes are encoded and come back as well-formed text") {
  std::mt19937 source(4);
  for (const char* name : {"llama3-like", "qwen2-like", "gpt2-like", "llama2-like", "words-like",
                           "unigram-bytes-like"}) {
    const auto tokenizer = load_tokenizer(std::filesystem::path("tests/golden/tokenizers") / name);
    REQUIRE(tokenizer.has_value());
    for (int i = 0; i < 500; ++i) {
      std::string text;
      for (std::size_t n = source() % 60; n > 0; --n) {
        text.push_back(static_cast<char>(source() % 3 == 0 ? source() & 0xFF : 32 + source() % 95));
      }
      const auto ids = (*tokenizer)->encode(text, false, false);
      REQUIRE(ids.size() <= 3 * text.size() + 1);
      (void)(*tokenizer)->decode(ids);
    }
  }
}

}  // namespace tandem::model
