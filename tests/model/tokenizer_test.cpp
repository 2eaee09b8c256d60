// The tokenizer against Hugging Face tokenizers (tests/golden/tokenizers) and against published
// encodings of real vocabularies (GPT-2, Llama 3, Qwen).
#include "model/tokenizer.hpp"

#include <algorithm>
#include <boost/json/parse.hpp>
#include <catch2/catch.hpp>
#include <sstream>

#include "tests/model/tiktoken.hpp"
#include "tests/support/golden.hpp"
#include "tests/support/temporary_folder.hpp"

namespace tandem::model {
namespace {

const std::filesystem::path golden_tokenizers = "tests/golden/tokenizers";
const std::filesystem::path shared_data = "../shared/data";

TokenizerPtr open_tokenizer(const std::filesystem::path& folder) {
  auto tokenizer = load_tokenizer(folder);
  INFO((tokenizer ? "" : tokenizer.error().message));
  REQUIRE(tokenizer.has_value());
  return *tokenizer;
}

std::vector<TokenId> ids_of(const boost::json::value& list) {
  std::vector<TokenId> ids;
  for (const auto& id : list.as_array()) ids.push_back(static_cast<TokenId>(id.as_int64()));
  return ids;
}

/// Checks the texts of a llama.cpp vocabulary test: `.inp` and `.out` files side by side.
void check_vocabulary_test(const Tokenizer& tokenizer, const std::string& name) {
  const auto folder = shared_data / "ggml-vocab";
  std::string input = tests::read_whole_file(folder / (name + ".inp"));
  std::istringstream output(tests::read_whole_file(folder / (name + ".out")));
  const std::string separator = "\n__ggml_vocab_test__\n";
  std::size_t cases = 0;
  for (std::size_t at = 0; at < input.size(); ++cases) {
    const std::size_t end = input.find(separator, at);
    if (end == std::string::npos) break;
    const std::string text = input.substr(at, end - at);
    at = end + separator.size();
    std::string line;
    REQUIRE(std::getline(output, line));
    std::istringstream numbers(line);
    std::vector<TokenId> expected;
    for (TokenId id = 0; numbers >> id;) expected.push_back(id);
    INFO("text: " << text);
    CHECK(tokenizer.encode(text, false, false) == expected);
  }
  CHECK(cases > 40);
}

}  // namespace

TEST_CASE("small tokenizers encode and decode as Hugging Face tokenizers does") {
  for (const char* name : {"llama3-like", "qwen2-like", "gpt2-like"}) {
    INFO(name);
    const auto tokenizer = open_tokenizer(golden_tokenizers / name);
    const auto cases =
        boost::json::parse(tests::read_whole_file(golden_tokenizers / name / "golden.json"));
    for (const auto& one : cases.as_array()) {
      const std::string text(one.at("text").as_string());
      INFO("text: " << text);
      CHECK(tokenizer->encode(text, true, true) == ids_of(one.at("ids")));
      const auto plain = tokenizer->encode(text, false, false);
      CHECK(plain == ids_of(one.at("plain_ids")));
      CHECK(tokenizer->decode(plain) == std::string_view(one.at("decoded").as_string()));
    }
  }
}

TEST_CASE("GPT-2's tokenizer.json gives the published encodings") {
  const auto folder = shared_data / "hf-tokenizers";
  if (!std::filesystem::exists(folder)) {
    WARN("skipped: " << folder << " is not here");
    return;
  }
  const auto tokenizer = open_tokenizer(folder);
  CHECK(tokenizer->vocab_size() == 50257);
  CHECK(tokenizer->find("<|endoftext|>") == 50256);
  check_vocabulary_test(*tokenizer, "ggml-vocab-gpt-2.gguf");
  const auto published = boost::json::parse(
      tests::read_whole_file(shared_data / "hf-expected-encodings/gpt2_encoded_tokens.json"));
  const std::string text(published.at("text").as_string());
  const auto ids = tokenizer->encode(text, true, true);
  CHECK(ids == ids_of(published.at("token_ids")));
  CHECK(tokenizer->decode(ids) == text);
}

TEST_CASE("Llama 3's vocabulary gives the published encodings") {
  const auto ranks = shared_data / "llama3-tiktoken/tokenizer.model";
  if (!std::filesystem::exists(ranks)) {
    WARN("skipped: " << ranks << " is not here");
    return;
  }
  tests::TemporaryFolder folder;
  tests::write_tokenizer_json(folder.path(), tests::read_whole_file(ranks), R"(null)",
                              R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|)"
                              R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)");
  const auto tokenizer = open_tokenizer(folder.path());
  check_vocabulary_test(*tokenizer, "ggml-vocab-llama-bpe.gguf");
  const auto published = boost::json::parse(
      tests::read_whole_file(shared_data / "hf-expected-encodings/llama_3.2_encoded.json"));
  auto expected = ids_of(published.at("token_ids"));
  expected.erase(expected.begin());  // beginning of text
  CHECK(tokenizer->encode(published.at("text").as_string(), false, false) == expected);
}

TEST_CASE("Qwen's vocabulary gives the published encodings") {
  const auto ranks = shared_data / "qwen-tiktoken/qwen.tiktoken";
  if (!std::filesystem::exists(ranks)) {
    WARN("skipped: " << ranks << " is not here");
    return;
  }
  tests::TemporaryFolder folder;
  tests::write_tokenizer_json(folder.path(), tests::read_whole_file(ranks), R"({"type":"NFC"})",
                              R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|)"
                              R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)");
  check_vocabulary_test(*open_tokenizer(folder.path()), "ggml-vocab-qwen2.gguf");
}

TEST_CASE("ill-formed UTF-8 is encoded as replacement characters and never crashes") {
  const auto tokenizer = open_tokenizer(golden_tokenizers / "llama3-like");
  CHECK(tokenizer->decode(tokenizer->encode("a\xFF"
                                            "b\xE2\x82",
                                            false, false)) == "a\uFFFDb\uFFFD");
  // Maximal parts, as in table 3-8 of the Unicode standard.
  CHECK(tokenizer->decode(tokenizer->encode("\xF0\x80\x80\x41", false, false)) ==
        "\uFFFD\uFFFD\uFFFDA");
  CHECK(tokenizer->decode(tokenizer->encode("\xED\xA0\x80", false, false)) == "\uFFFD\uFFFD\uFFFD");
}

TEST_CASE("in a prompt, what a user wrote never becomes a special token") {
  const auto tokenizer = open_tokenizer(golden_tokenizers / "qwen2-like");
  const std::string marker = "<|end|>";
  const auto id = tokenizer->find(marker);
  REQUIRE(id.has_value());
  REQUIRE(tokenizer->is_special(*id));
  const std::string text = marker + "user\nx " + marker + " y";
  const std::size_t second = text.rfind(marker);
  const auto count = [&](std::vector<TextRange> literal) {
    const auto ids = tokenizer->encode_prompt(text, literal);
    return std::count(ids.begin(), ids.end(), *id);
  };
  CHECK(tokenizer->encode_prompt(text, {}) == tokenizer->encode(text, false, true));
  CHECK(count({}) == 2);
  CHECK(count({{second, text.size()}}) == 1);
  CHECK(count({{second + 3, second + 4}}) == 1);  // one byte of it is enough
  CHECK(count({{marker.size(), second}}) == 2);
  CHECK(count({{0, 2}, {second, second + 1}}) == 0);
  // Only markers are affected: the words between are cut as in the text as a whole.
  const std::vector<TextRange> words{{marker.size() + 6, marker.size() + 7}};
  CHECK(tokenizer->encode_prompt(text, words) == tokenizer->encode(text, false, true));
}

TEST_CASE("a text of one huge word is merged in reasonable time") {
  const auto tokenizer = open_tokenizer(golden_tokenizers / "llama3-like");
  std::string word;
  for (int i = 0; i < 50'000; ++i) word += "thei";
  const auto ids = tokenizer->encode(word, false, false);
  CHECK(ids.size() < word.size());
  CHECK(tokenizer->decode(ids) == word);
  const std::string spaces(200'000, ' ');
  CHECK(tokenizer->decode(tokenizer->encode(spaces, false, false)) == spaces);
  std::string digits(200'000, '7');
  CHECK(tokenizer->decode(tokenizer->encode(digits, false, false)) == digits);
}

TEST_CASE("special tokens have no bytes and no other id has any") {
  const auto tokenizer = open_tokenizer(golden_tokenizers / "llama3-like");
  const auto end = tokenizer->find("<|end|>");
  REQUIRE(end.has_value());
  CHECK(tokenizer->is_special(*end));
  CHECK(tokenizer->token_bytes(*end).empty());
  const auto tool = tokenizer->find("<tool>");
  REQUIRE(tool.has_value());
  CHECK_FALSE(tokenizer->is_special(*tool));
  CHECK(tokenizer->token_bytes(*tool) == "<tool>");
  CHECK(tokenizer->token_bytes(-1).empty());
  CHECK(tokenizer->token_bytes(1'000'000).empty());
  CHECK_FALSE(tokenizer->is_special(-1));
  CHECK_FALSE(tokenizer->is_special(1'000'000));
  CHECK_FALSE(tokenizer->find("<|nothing|>").has_value());
  CHECK(tokenizer->find("the") == tokenizer->encode("the", false, false).front());
}

}  // namespace tandem::model
