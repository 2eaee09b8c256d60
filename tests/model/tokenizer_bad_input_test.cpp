// tokenizer.json files that are broken or of another kind: one error each, naming the place.
#include <catch2/catch.hpp>

#include "model/tokenizer.hpp"
#include "tests/model/model_folder.hpp"
#include "tests/support/golden.hpp"
#include "tests/support/temporary_folder.hpp"

namespace tandem::model {
namespace {

using Catch::Matchers::Contains;
namespace json = boost::json;

json::object good_tokenizer() {
  return json::parse(tests::read_whole_file("tests/golden/tokenizers/llama3-like/tokenizer.json"))
      .as_object();
}

Result<TokenizerPtr> load(const std::string& text, const std::string& config = "") {
  tests::TemporaryFolder folder;
  tests::write_file(folder.path() / "tokenizer.json", text);
  if (!config.empty()) tests::write_file(folder.path() / "tokenizer_config.json", config);
  return load_tokenizer(folder.path());
}

/// The good tokenizer with one part replaced; `path` is a key, or two joined by a dot.
Result<TokenizerPtr> load_with(const std::string& path, const std::string& value) {
  json::object root = good_tokenizer();
  const std::size_t dot = path.find('.');
  if (dot == std::string::npos) {
    root[path] = json::parse(value);
  } else {
    root[path.substr(0, dot)].as_object()[path.substr(dot + 1)] = json::parse(value);
  }
  return load(json::serialize(root));
}

}  // namespace

TEST_CASE("every tokenizer.json that is broken or of another kind is refused by name") {
  struct Case {
    const char* path;
    const char* value;
    const char* message;
    Errc code;
  };
  constexpr Errc invalid = Errc::invalid_value;
  constexpr Errc unsupported = Errc::unsupported;
  const Case cases[] = {
      {"model", "null", "\"model\" is missing", invalid},
      {"model", "[]", "\"model\" is an array", invalid},
      {"model.type", "\"WordPiece\"", "\"WordPiece\"; only \"BPE\" and", unsupported},
      {"model.type", "\"Unigram\"", "behind a ByteLevel", unsupported},
      {"model.type", "7", "\"type\" is 7", invalid},
      {"model.dropout", "0.1", "deterministic", unsupported},
      {"model.continuing_subword_prefix", "\"##\"", "\"##\"", unsupported},
      {"model.end_of_word_suffix", "\"</w>\"", "\"</w>\"", unsupported},
      {"model.vocab", "null", "\"vocab\" is missing", invalid},
      {"model.vocab", "[1]", "\"vocab\" is an array", invalid},
      {"model.vocab", R"({"a": -1})", "the id -1", invalid},
      {"model.vocab", R"({"a": 1e30})", "the id 1E30", invalid},
      {"model.vocab", R"({"a": 99999999999})", "the id 99999999999", invalid},
      {"model.vocab", R"({"a": "1"})", "the id \"1\"", invalid},
      {"model.vocab", R"({"a": 1, "b": 1})", "and to another entry", invalid},
      {"model.vocab", R"({"a": 1, "b": 2})", "no token for the byte 0", unsupported},
      {"model.merges", "null", "\"merges\" is missing", invalid},
      {"model.merges", "{}", "\"merges\" is an object", invalid},
      {"model.merges", R"(["ab"])", "a merge is", invalid},
      {"model.merges", R"([["a"]])", "a merge is", invalid},
      {"model.merges", R"([["a", 3]])", "a merge is", invalid},
      {"model.merges", R"(["a zzz"])", "\"zzz\" is not in the vocab", invalid},
      {"model.merges", R"(["q z"])", "\"qz\" is not in the vocab", invalid},
      {"model.ignore_merges", "1", "true or false", invalid},
      {"added_tokens", "{}", "\"added_tokens\" is an object", invalid},
      {"added_tokens", "[1]", "must hold objects", invalid},
      {"added_tokens", R"([{"content": "x"}])", "\"id\" is missing", invalid},
      {"added_tokens", R"([{"id": 9999999999, "content": "x"}])", "9999999999", invalid},
      {"added_tokens", R"([{"id": 900}])", "\"content\" is missing", invalid},
      {"added_tokens", R"([{"id": 900, "content": ""}])", "1 to 1024 bytes", invalid},
      {"added_tokens", R"([{"id": 3, "content": "<x>"}])", "gives that id to another", invalid},
      {"added_tokens", R"([{"id": 900, "content": "x"}, {"id": 901, "content": "x"}])",
       "for two ids", invalid},
      {"normalizer", R"({"type": "Precompiled"})", "\"Precompiled\"", unsupported},
      {"normalizer", R"({"type": "Sequence", "normalizers": [{"type": "Nmt"}]})", "\"Nmt\"",
       unsupported},
      {"normalizer", R"({"type": "Replace", "pattern": {"String": ""}, "content": ""})", "is empty",
       invalid},
      {"normalizer", R"({"type": "Replace", "pattern": {"Regex": "\\bx"}, "content": ""})",
       "uses \\b", unsupported},
      {"normalizer", R"({"type": "Sequence"})", "\"normalizers\" is missing", invalid},
      {"pre_tokenizer", R"({"type": "BertPreTokenizer"})", "\"BertPreTokenizer\"", unsupported},
      {"pre_tokenizer", R"({"type": "UnicodeScripts"})", "\"UnicodeScripts\"", unsupported},
      {"pre_tokenizer", R"({"type": "Metaspace", "prepend_scheme": "last"})", "\"last\"", invalid},
      {"pre_tokenizer", R"({"type": "Metaspace", "replacement": ""})", "one character", invalid},
      {"pre_tokenizer", R"({"type": "Sequence", "pretokenizers":
         [{"type": "ByteLevel"}, {"type": "Digits"}]})",
       "after ByteLevel", unsupported},
      {"pre_tokenizer", R"({"type": "Split", "behavior": "Isolated"})", "\"pattern\" is missing",
       invalid},
      {"pre_tokenizer", R"({"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated"})",
       "is not valid", invalid},
      {"pre_tokenizer",
       R"({"type": "Split", "pattern": {"Regex": "[a&&b]"}, "behavior": "Isolated"})", "&&",
       unsupported},
      {"pre_tokenizer", R"({"type": "Split", "pattern": {"Regex": "a"},
         "behavior": "Sideways"})",
       "\"Sideways\"", invalid},
      {"pre_tokenizer", R"({"type": "Split", "pattern": {}, "behavior": "Isolated"})",
       "\"String\" is missing", invalid},
      {"post_processor", R"({"type": "BertProcessing"})", "\"BertProcessing\"", unsupported},
      {"post_processor", R"({"type": "TemplateProcessing"})", "\"single\" is missing", invalid},
      {"post_processor", R"({"type": "TemplateProcessing", "single": []})", "exactly one Sequence",
       invalid},
      {"post_processor", R"({"type": "TemplateProcessing", "single": [{"X": 1}]})", "SpecialToken",
       invalid},
      {"post_processor", R"({"type": "TemplateProcessing", "single":
         [{"SpecialToken": {"id": "<q>"}}, {"Sequence": {"id": "A"}}], "special_tokens": {}})",
       "no ids for \"<q>\"", invalid},
      {"post_processor", R"({"type": "TemplateProcessing", "single":
         [{"SpecialToken": {"id": "q"}}, {"Sequence": {"id": "A"}}],
         "special_tokens": {"q": {"ids": [5000]}}})",
       "5000, which no token has", invalid},
      {"decoder", R"({"type": "WordPiece"})", "\"WordPiece\"", unsupported},
      {"decoder", R"({"type": "Strip", "content": "", "start": 1})", "is empty", invalid},
      {"decoder", R"({"type": "Sequence", "decoders": [{"type": "Fuse"}, {"type": "Metaspace"}]})",
       "behind a step that joins", unsupported},
      {"decoder", R"({"type": "Sequence", "decoders": [{"type": "Fuse"},
         {"type": "Strip", "content": " ", "start": 0, "stop": 1}]})",
       "strips the end", unsupported},
  };
  for (const auto& one : cases) {
    INFO(one.path << " = " << one.value);
    const auto tokenizer = load_with(one.path, one.value);
    REQUIRE(tokenizer.has_error());
    CHECK_THAT(tokenizer.error().message, Contains("tokenizer.json"));
    CHECK_THAT(tokenizer.error().message, Contains(one.message));
    CHECK(tokenizer.error().code == one.code);
  }
}

TEST_CASE("a folder without a tokenizer, or with unreadable files, says so") {
  tests::TemporaryFolder empty;
  const auto none = load_tokenizer(empty.path());
  REQUIRE(none.has_error());
  CHECK(none.error().code == Errc::not_found);
  CHECK_THAT(load("{").error().message, Contains("not valid JSON"));
  CHECK_THAT(load("{\"a\":\"\\ud800\"}").error().message, Contains("not valid JSON"));
  const std::string good = json::serialize(good_tokenizer());
  REQUIRE(load(good).has_value());
  CHECK_THAT(load(good, "[]").error().message, Contains("tokenizer_config.json"));
  CHECK_THAT(load(good, R"({"added_tokens_decoder": {"x": {}}})").error().message,
             Contains("added_tokens_decoder"));
  CHECK_THAT(load(good, R"({"added_tokens_decoder": {"5": {"content": "<new>"}}})").error().message,
             Contains("gives that id to another"));
  CHECK_THAT(load(good, R"({"add_bos_token": "yes"})").error().message, Contains("add_bos_token"));
  CHECK_THAT(load(good, R"({"add_bos_token": true, "bos_token": "<no>"})").error().message,
             Contains("\"<no>\""));
}

TEST_CASE("tokenizer_config.json decides whether the beginning token is added") {
  const std::string good = json::serialize(good_tokenizer());
  const auto begin = *(*load(good))->find("<|begin|>");
  const auto first = [&](const Result<TokenizerPtr>& tokenizer) {
    REQUIRE(tokenizer.has_value());
    return (*tokenizer)->encode("a", true, false);
  };
  const auto plain = (*load(good))->encode("a", false, false);
  REQUIRE(plain.size() == 1);
  const std::vector<TokenId> with_begin{begin, plain[0]};
  CHECK(first(load(good)) == with_begin);
  CHECK(first(load(good, R"({"add_bos_token": true, "bos_token": "<|begin|>"})")) == with_begin);
  CHECK(first(load(good, R"({"add_bos_token": false, "bos_token": "<|begin|>"})")) == plain);
  auto without = good_tokenizer();
  without["post_processor"] = nullptr;
  CHECK(first(load(json::serialize(without))) == plain);
  CHECK(first(load(json::serialize(without),
                   R"({"add_bos_token": true, "bos_token": {"content": "<|begin|>"}})")) ==
        with_begin);
}

TEST_CASE("tokenizer_config.json adds the end token and tokens that tokenizer.json lacks") {
  const std::string good = json::serialize(good_tokenizer());
  const auto next = static_cast<TokenId>((*load(good))->vocab_size());
  const auto tokenizer = load(good, R"({"add_eos_token": true, "eos_token": "<new>",
      "added_tokens_decoder": {")" + std::to_string(next) +
                                        R"(": {"content": "<new>", "special": true,
      "normalized": false}}})");
  REQUIRE(tokenizer.has_value());
  CHECK((*tokenizer)->find("<new>") == next);
  CHECK((*tokenizer)->is_special(next));
  CHECK((*tokenizer)->encode("a", true, false).back() == next);
  CHECK((*tokenizer)->encode("<new>", false, true) == std::vector<TokenId>{next});
}

TEST_CASE("tokenizer_config.json overrules the prefix space of a ByteLevel step") {
  json::object root = good_tokenizer();
  root["pre_tokenizer"] = json::parse(R"({"type": "ByteLevel", "add_prefix_space": false})");
  const std::string text = json::serialize(root);
  const auto with_space = (*load(text))->encode(" the", false, false);
  CHECK((*load(text))->encode("the", false, false) != with_space);
  const auto overruled = load(text, R"({"add_prefix_space": true})");
  REQUIRE(overruled.has_value());
  CHECK((*overruled)->encode("the", false, false) == with_space);
}

TEST_CASE("an expression that explodes leaves its piece uncut and still ends") {
  json::object root = good_tokenizer();
  root["pre_tokenizer"] = json::parse(R"({"type": "Sequence", "pretokenizers": [
      {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated"},
      {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]})");
  const auto tokenizer = load(json::serialize(root));
  REQUIRE(tokenizer.has_value());
  const std::string text = std::string(60, 'a') + "b";
  CHECK((*tokenizer)->decode((*tokenizer)->encode(text, false, false)) == text);
}

}  // namespace tandem::model
