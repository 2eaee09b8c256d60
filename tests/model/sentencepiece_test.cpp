// tokenizer.model files, trained here and now by the library itself and held to what the library
// makes of texts: byte fallback and the unknown token, the space in front, normalization, control
// tokens.
#include <algorithm>
#include <catch2/catch.hpp>
#include <random>
#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>
#include <unordered_map>

#include "model/text_stream.hpp"
#include "model/tokenizer.hpp"
#include "model/utf8.hpp"
#include "tests/model/model_folder.hpp"
#include "tests/support/golden.hpp"
#include "tests/support/temporary_folder.hpp"

namespace tandem::model {
namespace {

using Options = std::unordered_map<std::string, std::string>;

/// The lines of the demo model's topics.
class Sentences final : public sentencepiece::SentenceIterator {
 public:
  Sentences() {
    std::string line;
    for (const char c : tests::read_whole_file("examples/demo_model/topics_nature.txt")) {
      if (c != '\n') {
        line.push_back(c);
        continue;
      }
      if (!line.empty()) lines_.push_back(std::move(line));
      line.clear();
    }
  }
  bool done() const override { return at_ >= lines_.size(); }
  void Next() override { ++at_; }
  const std::string& value() const override { return lines_[at_]; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  std::vector<std::string> lines_;
  std::size_t at_ = 0;
};

std::string trained(const Options& options) {
  Options all{{"vocab_size", "700"},          {"hard_vocab_limit", "false"},
              {"minloglevel", "2"},           {"num_threads", "1"},
              {"num_sub_iterations", "1"},    {"character_coverage", "0.999"},
              {"max_sentence_length", "9999"}};
  for (const auto& [key, value] : options) all[key] = value;
  Sentences sentences;
  std::string model;
  const auto status = sentencepiece::SentencePieceTrainer::Train(all, &sentences, &model);
  INFO(status.ToString());
  REQUIRE(status.ok());
  return model;
}

/// One model: the library's processor of it, and our tokenizer of a folder that holds it.
struct Pair {
  sentencepiece::SentencePieceProcessor library;
  TokenizerPtr ours;

  explicit Pair(const Options& options, const std::string& config = "") {
    const std::string model = trained(options);
    REQUIRE(library.LoadFromSerializedProto(model).ok());
    tests::TemporaryFolder folder;
    tests::write_file(folder.path() / "tokenizer.model", model);
    if (!config.empty()) tests::write_file(folder.path() / "tokenizer_config.json", config);
    const auto loaded = load_tokenizer(folder.path());
    INFO((loaded ? "" : loaded.error().message));
    REQUIRE(loaded.has_value());
    ours = *loaded;
  }
  [[nodiscard]] std::vector<TokenId> library_ids(const std::string& text) const {
    std::vector<int> ids;
    REQUIRE(library.Encode(text, &ids).ok());
    return {ids.begin(), ids.end()};
  }
  [[nodiscard]] std::string library_text(const std::vector<TokenId>& ids) const {
    std::string text;
    REQUIRE(library.Decode(std::vector<int>(ids.begin(), ids.end()), &text).ok());
    return text;
  }
};

/// As Llama 2 and Mistral are trained.
const Options llama{{"model_type", "bpe"},
                    {"byte_fallback", "true"},
                    {"normalization_rule_name", "identity"},
                    {"remove_extra_whitespaces", "false"},
                    {"split_digits", "true"}};
/// The library's defaults, as T5 and many others have them.
const Options unigram{{"model_type", "unigram"}};

const std::vector<std::string>& texts() {
  static const std::vector<std::string> all = [] {
    std::vector<std::string> made{"",
                                  " ",
                                  "   ",
                                  "a",
                                  " a",
                                  "  a  b ",
                                  "The ocean is deep.",
                                  " The ocean is deep. ",
                                  "\tThe\nocean\r\n\r\nis",
                                  "1234567890 12 3",
                                  "na\u00EFve caf\u00E9 e\u0301",
                                  "\u4F60\u597D\uFF0C\u4E16\u754C",
                                  "\U0001F44D\U0001F3FD \U0001F469\u200D\U0001F4BB",
                                  "\u2581a \u2581",
                                  "\uFB01ne \u2460 \uFF21\uFF22\uFF23",
                                  "<0x41> <s> </s> <unk>",
                                  std::string("a\0b", 3),
                                  std::string(300, 'a') + std::string(300, ' ') + "b"};
    std::mt19937 source(5);
    const std::string pieces[] = {"the",    " ",      "ocean", "\u2581", "e",
                                  "\u00E9", "\u4F60", "\n",    "7"};
    for (int i = 0; i < 2000; ++i) {
      std::string text;
      for (std::size_t n = source() % 20; n > 0; --n) {
        if (source() % 4 == 0)
          append_utf8(text, static_cast<char32_t>(0x20 + source() % 0x500));
        else
          text += pieces[source() % std::size(pieces)];
      }
      made.push_back(well_formed(text));
    }
    return made;
  }();
  return all;
}

}  // namespace

TEST_CASE("a SentencePiece model encodes and decodes as the library does") {
  const auto& options = GENERATE_REF(llama, unigram);
  const Pair pair(options);
  for (const auto& text : texts()) {
    INFO("text: " << text);
    const auto ids = pair.ours->encode(text, false, false);
    REQUIRE(ids == pair.library_ids(text));
    // The library spells the unknown token; here it is hidden like every special one.
    if (std::find(ids.begin(), ids.end(), pair.library.unk_id()) == ids.end())
      REQUIRE(pair.ours->decode(ids) == pair.library_text(ids));
    TextStream stream(pair.ours, {}, false);
    std::string streamed;
    for (const auto id : ids) streamed += stream.push(id);
    REQUIRE(streamed + stream.finish() == pair.ours->decode(ids));
  }
}

TEST_CASE("with byte fallback every text comes back, without it the unknown token stands for it") {
  const Pair with_bytes(llama);
  const std::string text = "\u4F60 \U0001F44D\u00E9\n";
  CHECK(with_bytes.ours->decode(with_bytes.ours->encode(text, false, false)) == text);
  // Bytes that are no character, as a model may make them.
  const auto byte = [&](const char* content) {
    const auto id = with_bytes.ours->find(content);
    REQUIRE(id.has_value());
    return *id;
  };
  for (const auto& ids : {std::vector<TokenId>{byte("<0xE4>"), byte("<0xBD>")},
                          std::vector<TokenId>{byte("<0xFF>"), byte("<0x41>")},
                          std::vector<TokenId>{byte("<0xE4>"), byte("<0xBD>"), byte("<0xA0>")}})
    CHECK(with_bytes.ours->decode(ids) == with_bytes.library_text(ids));

  const Pair without(unigram);
  const auto ids = without.ours->encode("the \u4F60\u597D", false, false);
  const auto unknown = static_cast<TokenId>(without.library.unk_id());
  CHECK(std::count(ids.begin(), ids.end(), unknown) == 1);
  CHECK(without.ours->is_special(unknown));
}

TEST_CASE("the space in front is the model's own rule") {
  auto without_prefix = llama;
  without_prefix["add_dummy_prefix"] = "false";
  const Pair prefixed(llama), plain(without_prefix);
  const auto first = [](const Pair& pair) {
    return std::string(pair.ours->token_content(pair.ours->encode("ocean", false, false).front()));
  };
  CHECK(first(prefixed).starts_with("\u2581"));
  CHECK_FALSE(first(plain).starts_with("\u2581"));
  for (const std::string text : {"ocean", " ocean", "  ocean"}) {
    INFO("text: '" << text << "'");
    for (const auto* pair : {&prefixed, &plain}) {
      const auto ids = pair->ours->encode(text, false, false);
      CHECK(ids == pair->library_ids(text));
      CHECK(pair->ours->decode(ids) == pair->library_text(ids));
      CHECK(pair->ours->decode(ids) == text);
    }
  }
}

TEST_CASE("control tokens stand around a text as tokenizer_config.json says, and none is forged") {
  const Pair usual(llama), closed(llama, R"({"add_bos_token": false, "add_eos_token": true})");
  const auto inside = usual.library_ids("The ocean");
  auto with_begin = inside, with_end = inside;
  with_begin.insert(with_begin.begin(), usual.library.bos_id());
  with_end.push_back(usual.library.eos_id());
  CHECK(usual.ours->encode("The ocean", true, false) == with_begin);
  CHECK(closed.ours->encode("The ocean", true, false) == with_end);
  CHECK(usual.ours->decode(with_begin) == "The ocean");
  CHECK(usual.ours->encode("</s>", false, true) ==
        std::vector<TokenId>{static_cast<TokenId>(usual.library.eos_id())});
  const auto literal = usual.ours->encode("</s>", false, false);
  CHECK(std::none_of(literal.begin(), literal.end(),
                     [&](TokenId id) { return usual.ours->is_special(id); }));
  CHECK(usual.ours->decode(literal) == "</s>");
}

}  // namespace tandem::model
