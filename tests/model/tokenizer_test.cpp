// The tokenizer against Hugging Face tokenizers (tests/golden/tokenizers) and against published
// encodings of real vocabularies (GPT-2, Llama 3, Qwen).
#include "model/tokenizer.hpp"

#include <algorithm>
#include <boost/json/parse.hpp>
#include <catch2/catch.hpp>
#include <fstream>
#include <sstream>

#include "model/utf8.hpp"
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
  for (const char* name : {"llama3-like", "qwen2-like", "gpt2-like", "llama2-like",
                           "metaspace-like", "words-like", "unigram-like", "unigram-bytes-like"}) {
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

TEST_CASE("Llama 2's tokenizer.json gives the published encodings") {
  const auto folder = shared_data / "hf-tokenizers/llama2";
  if (!std::filesystem::exists(folder)) {
    WARN("skipped: " << folder << " is not here");
    return;
  }
  const auto tokenizer = open_tokenizer(folder);
  CHECK(tokenizer->vocab_size() == 32000);
  check_vocabulary_test(*tokenizer, "ggml-vocab-llama-spm.gguf");
  const auto published = boost::json::parse(
      tests::read_whole_file(shared_data / "hf-expected-encodings/llama_encoded.json"));
  const auto ids = tokenizer->encode(published.at("text").as_string(), true, true);
  CHECK(ids == ids_of(published.at("token_ids")));
  CHECK(tokenizer->decode(ids, false) ==
        std::string_view(published.at("decoded_text").as_string()));
}

TEST_CASE("a rank file of Llama 3 gives the published encodings") {
  const auto ranks = shared_data / "llama3-tiktoken/tokenizer.model";
  if (!std::filesystem::exists(ranks)) {
    WARN("skipped: " << ranks << " is not here");
    return;
  }
  const auto tokenizer = open_tokenizer(ranks.parent_path());
  CHECK(tokenizer->vocab_size() == 128256);
  CHECK(tokenizer->find("<|begin_of_text|>") == 128000);
  CHECK(tokenizer->find("<|eot_id|>") == 128009);
  check_vocabulary_test(*tokenizer, "ggml-vocab-llama-bpe.gguf");
  const auto published = boost::json::parse(
      tests::read_whole_file(shared_data / "hf-expected-encodings/llama_3.2_encoded.json"));
  const auto ids = tokenizer->encode(published.at("text").as_string(), true, false);
  CHECK(ids == ids_of(published.at("token_ids")));
}

TEST_CASE("a rank file of Qwen gives the published encodings") {
  const auto ranks = shared_data / "qwen-tiktoken/qwen.tiktoken";
  if (!std::filesystem::exists(ranks)) {
    WARN("skipped: " << ranks << " is not here");
    return;
  }
  const auto tokenizer = open_tokenizer(ranks.parent_path());
  CHECK(tokenizer->find("<|im_end|>") == 151645);
  check_vocabulary_test(*tokenizer, "ggml-vocab-qwen2.gguf");
}

/// What the transformers package does to decoded text where tokenizer_config.json asks for it; the
/// published texts of GPT-2 and Llama 3 went through it.
std::string cleaned_up(std::string text) {
  for (const char* mark : {".", "?", "!", ",", "n't", "'m", "'s", "'ve", "'re"}) {
    const std::string spaced = std::string(" ") + mark;
    for (auto at = text.find(spaced); at != std::string::npos; at = text.find(spaced, at)) {
      text.erase(at, 1);
    }
  }
  return text;
}

TEST_CASE("published encodings with and without special tokens") {
  const auto file = shared_data / "hf-expected-encodings/tokenizer_tests.json";
  if (!std::filesystem::exists(file)) {
    WARN("skipped: " << file << " is not here");
    return;
  }
  const std::pair<const char*, std::filesystem::path> models[] = {
      {"distilgpt2", shared_data / "hf-tokenizers"},
      {"coreml-projects/Llama-2-7b-chat-coreml", shared_data / "hf-tokenizers/llama2"},
      {"pcuenq/Llama-3.2-1B-Instruct-tokenizer", shared_data / "llama3-tiktoken"},
  };
  const auto all = boost::json::parse(tests::read_whole_file(file));
  for (const auto& [name, folder] : models) {
    const auto tokenizer = open_tokenizer(folder);
    const bool llama2 = folder.filename() == "llama2";
    for (const auto& one : all.at(name).as_array()) {
      const std::string text(one.at("input").as_string());
      // The vocabulary file that is here has spaces where the published one has no-break spaces.
      if (llama2 && text.find("\u00A0") != std::string::npos) continue;
      INFO(name << ": " << text);
      const auto ids = tokenizer->encode(text, true, true);
      CHECK(ids == ids_of(one.at("encoded").at("input_ids")));
      const auto decoded = [&](bool skip_special) {
        const std::string plain = tokenizer->decode(ids, skip_special);
        return llama2 ? plain : cleaned_up(plain);
      };
      CHECK(decoded(false) == std::string_view(one.at("decoded_with_special").as_string()));
      CHECK(decoded(true) == std::string_view(one.at("decoded_without_special").as_string()));
    }
  }
}

TEST_CASE("a rank file that is broken or of an unknown family is refused") {
  tests::TemporaryFolder folder;
  const auto refused = [&](const std::string& text) {
    std::ofstream(folder.path() / "x.tiktoken", std::ios::binary) << text;
    const auto tokenizer = load_tokenizer(folder.path());
    REQUIRE(tokenizer.has_error());
    return tokenizer.error().message;
  };
  using Catch::Matchers::Contains;
  CHECK_THAT(refused("YQ== 0\nYg== 1\n"), Contains("has 2 ranks") && Contains("128000 (Llama 3)"));
  CHECK_THAT(refused("YQ== 0\n!! 1\n"), Contains("line 2"));
  CHECK_THAT(refused("YQ== 0\nYg== 7\n"), Contains("has the rank 7; expected 1"));
  CHECK_THAT(refused("nothing"), Contains("line 1"));
}

TEST_CASE("a tokenizer.model that is no model is refused") {
  tests::TemporaryFolder folder;
  std::ofstream(folder.path() / "tokenizer.model", std::ios::binary) << "\x01\x02 not a model";
  const auto tokenizer = load_tokenizer(folder.path());
  REQUIRE(tokenizer.has_error());
  CHECK_THAT(tokenizer.error().message,
             Catch::Matchers::Contains("neither a rank file nor a SentencePiece model"));
}

TEST_CASE("well-formed texts of the UTF-8 stress tests come back exactly") {
  const auto folder = shared_data / "utf8";
  if (!std::filesystem::exists(folder)) {
    WARN("skipped: " << folder << " is not here");
    return;
  }
  for (const char* name : {"llama3-like", "llama2-like"}) {
    const auto tokenizer = open_tokenizer(golden_tokenizers / name);
    for (const char* file : {"UTF-8-test.txt", "utf8tests.bin", "utf8tests.txt"}) {
      std::istringstream lines(tests::read_whole_file(folder / file));
      for (std::string line; std::getline(lines, line);) {
        INFO(name << ", " << file << ": " << line);
        CHECK(tokenizer->decode(tokenizer->encode(line, false, false)) == well_formed(line));
      }
    }
  }
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

TEST_CASE("no token stands for more bytes than its tokenizer says") {
  std::size_t bounded = 0;
  for (const char* name : {"llama3-like", "qwen2-like", "gpt2-like", "llama2-like",
                           "metaspace-like", "words-like", "unigram-like", "unigram-bytes-like"}) {
    INFO(name);
    const auto tokenizer = open_tokenizer(golden_tokenizers / name);
    const auto longest = tokenizer->max_bytes_per_token();
    if (!longest) continue;
    ++bounded;
    const auto cases =
        boost::json::parse(tests::read_whole_file(golden_tokenizers / name / "golden.json"));
    for (const auto& one : cases.as_array()) {
      const std::string text(one.at("text").as_string());
      INFO("text: " << text);
      CHECK(tokenizer->encode(text, false, true).size() * *longest >= text.size());
    }
  }
  CHECK(bounded == 2);  // gpt2-like and llama2-like
  // The longest word of the vocabulary is what the bound is made of: no more than it must be.
  const auto demo = open_tokenizer("examples/demo_model/model");
  CHECK(demo->max_bytes_per_token() == 13);
}

TEST_CASE("a tokenizer that may lose or join text says nothing about bytes of tokens") {
  const auto bound_with = [](const std::string& changes) {
    const auto loaded = parse_tokenizer(
        R"({"model":{"vocab":{"a":0,"b":1,"ab":2,"<unk>":3},"merges":["a b"])" + changes + "}", "");
    INFO(changes << (loaded ? "" : loaded.error().message));
    REQUIRE(loaded.has_value());
    return (*loaded)->max_bytes_per_token();
  };
  const std::string unknown = R"(,"unk_token":"<unk>"})";
  CHECK(bound_with(unknown) == 5);  // "<unk>" itself, in a text
  CHECK_FALSE(bound_with("}"));     // what is unknown leaves no trace
  CHECK_FALSE(bound_with(R"(,"unk_token":"<unk>","fuse_unk":true})"));
  CHECK_FALSE(bound_with(unknown + R"(,"normalizer":{"type":"NFC"})"));
  CHECK_FALSE(bound_with(unknown + R"(,"normalizer":{"type":"Strip"})"));
  CHECK(bound_with(unknown + R"(,"normalizer":{"type":"Prepend","prepend":"a"})") == 5);
  const std::string replace = R"(,"normalizer":{"type":"Replace","pattern":{"String":)";
  CHECK(bound_with(unknown + replace + R"("a"},"content":"bb"})") == 5);
  CHECK_FALSE(bound_with(unknown + replace + R"("aa"},"content":"b"})"));
  CHECK_FALSE(bound_with(unknown + R"(,"pre_tokenizer":{"type":"WhitespaceSplit"})"));
  CHECK(bound_with(unknown + R"(,"pre_tokenizer":{"type":"Digits"})") == 5);
  const std::string added = R"(,"added_tokens":[{"id":4,"content":"<long-token>")";
  CHECK(bound_with(unknown + added + "}]") == 12);
  CHECK_FALSE(bound_with(unknown + added + R"(,"lstrip":true}])"));
  // One that is normalized may be found in a text that is longer than it is.
  CHECK(bound_with(unknown + replace + R"("-"},"content":"\u2581"})" + added + "}]") == 14);
}

TEST_CASE("texts made to be slow are encoded in bounded steps") {
  std::string marks = "a";
  for (int i = 0; i < 100'000; ++i) marks += i % 2 == 0 ? "\u0301" : "\u0323";  // out of order
  std::string open_brackets;
  for (int i = 0; i < 20'000; ++i) open_brackets += "<|begi";
  for (const char* name : {"llama3-like", "qwen2-like", "llama2-like", "unigram-bytes-like"}) {
    INFO(name);
    const auto tokenizer = open_tokenizer(golden_tokenizers / name);
    for (const auto& text : {std::string(1'000'000, ' '), marks, open_brackets}) {
      CHECK_FALSE(tokenizer->encode(text, false, true).empty());
    }
  }
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
