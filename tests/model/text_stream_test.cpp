// Streaming text: deltas that add up, whole characters only, and stop strings that never show.
#include "model/text_stream.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <map>
#include <random>

#include "model/utf8.hpp"

namespace tandem::model {
namespace {

/// A tokenizer whose tokens are whatever the test says.
class ListTokenizer final : public Tokenizer {
 public:
  explicit ListTokenizer(std::vector<std::string> tokens) : tokens_(std::move(tokens)) {}

  [[nodiscard]] std::vector<TokenId> encode(std::string_view, bool, bool) const override {
    return {};
  }
  [[nodiscard]] std::string_view token_bytes(TokenId id) const override {
    return tokens_.at(static_cast<std::size_t>(id));
  }
  /// Those in square brackets.
  [[nodiscard]] bool is_special(TokenId id) const override {
    return token_bytes(id).starts_with('[');
  }
  [[nodiscard]] std::optional<TokenId> find(std::string_view) const override { return {}; }
  [[nodiscard]] std::size_t vocab_size() const override { return tokens_.size(); }

 private:
  std::vector<std::string> tokens_;
};

struct Streamed {
  std::vector<std::string> deltas;  ///< one per token, then what finish() gave
  std::string text;
  bool stopped = false;
};

/// Streams `pieces` as tokens 0, 1, 2, …
Streamed stream(const std::vector<std::string>& pieces, const std::vector<std::string>& stop = {},
                bool include_stop = false) {
  TextStream stream(std::make_shared<ListTokenizer>(pieces), stop, include_stop);
  Streamed result;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    result.deltas.push_back(stream.push(static_cast<TokenId>(i)));
  }
  result.deltas.push_back(stream.finish());
  for (const auto& delta : result.deltas) result.text += delta;
  result.stopped = stream.stopped();
  return result;
}

using Deltas = std::vector<std::string>;

}  // namespace

TEST_CASE("what follows a prompt is what it adds to the text of both together") {
  std::size_t with_space = 0;
  for (const std::string name :
       {"llama3-like", "qwen2-like", "gpt2-like", "llama2-like", "metaspace-like", "words-like",
        "unigram-like", "unigram-bytes-like"}) {
    const auto loaded = load_tokenizer("tests/golden/tokenizers/" + name);
    REQUIRE(loaded.has_value());
    const auto& tokenizer = **loaded;
    for (const std::string text : {"The quick brown fox", " and  then, it was", "na\u00EFve\n  1 2",
                                   "\u4F60\u597D the end"}) {
      const auto ids = tokenizer.encode(text, false, false);
      const auto whole = tokenizer.decode(ids);
      for (std::size_t cut = 1; cut < ids.size(); ++cut) {
        const auto prompt = std::span(ids).first(cut);
        const auto before = tokenizer.decode(prompt);
        // Only where the prompt shows and does not end in the middle of a character.
        const bool shows = std::any_of(prompt.begin(), prompt.end(),
                                       [&](TokenId id) { return !tokenizer.is_special(id); });
        if (!shows || before.find("\uFFFD") != std::string::npos) continue;
        TextStream stream(*loaded, {}, false, {}, TextPlace::behind_text);
        std::string added;
        for (const auto id : std::span(ids).subspan(cut)) added += stream.push(id);
        added += stream.finish();
        INFO(name << ": '" << before << "' + '" << added << "'");
        REQUIRE(before + added == whole);
        REQUIRE(tokenizer.decode(std::span(ids).subspan(cut), true, TextPlace::behind_text) ==
                added);
        with_space += added.starts_with(' ');
      }
    }
  }
  CHECK(with_space > 20);
}

TEST_CASE("half a character waits for its other half") {
  CHECK(stream({"a", "\xE2", "\x82", "\xAC", "b"}).deltas == Deltas{"a", "", "", "€", "b", ""});
  CHECK(stream({"a\xF0\x9F", "\x98\x80z"}).deltas == Deltas{"a", "😀z", ""});
  CHECK(stream({"\xE2\x82"}).deltas == Deltas{"", "\uFFFD"});
}

TEST_CASE("bytes that can be no character become U+FFFD at once") {
  CHECK(stream({"a\xFF", "b"}).deltas == Deltas{"a\uFFFD", "b", ""});
  CHECK(stream({"\xE2", "b"}).deltas == Deltas{"",
                                               "\uFFFD"
                                               "b",
                                               ""});
}

TEST_CASE("a stop string is cut off wherever tokens divide it") {
  const auto whole = stream({"one two", " STOP", " three"}, {"STOP"});
  CHECK(whole.text == "one two ");
  CHECK(whole.stopped);
  const auto divided = stream({"one S", "T", "OP three"}, {"STOP"});
  CHECK(divided.deltas == Deltas{"one ", "", "", ""});
  CHECK(divided.stopped);
  CHECK(stream({"one S", "T", "OP three"}, {"STOP"}, true).text == "one STOP");
}

TEST_CASE("what only looked like a stop string is released") {
  const auto result = stream({"a S", "TO", "NE"}, {"STOP"});
  CHECK(result.deltas == Deltas{"a ", "", "STONE", ""});
  CHECK_FALSE(result.stopped);
  CHECK(stream({"a STO"}, {"STOP"}).deltas == Deltas{"a ", "STO"});
  CHECK(stream({"aaa", "b"}, {"aab"}).text == "a");
}

TEST_CASE("of several stop strings the one that ends first wins, then the longest") {
  CHECK(stream({"xabcd"}, {"abcd", "bc"}).text == "xa");
  CHECK(stream({"xabc"}, {"bc", "abc"}).text == "x");
  CHECK(stream({"xabc"}, {"bc", "abc"}, true).text == "xabc");
}

TEST_CASE("nothing comes after a stop string, and empty ones are none") {
  const auto result = stream({"a.", "b", "c"}, {"."});
  CHECK(result.deltas == Deltas{"a", "", "", ""});
  CHECK(stream({"abc"}, {""}).text == "abc");
  CHECK_FALSE(stream({"abc"}, {""}).stopped);
}

TEST_CASE("a stop string may be found in what finish() completes") {
  const auto result = stream({"a\xE2"}, {"\uFFFD"});
  CHECK(result.text == "a");
  CHECK(result.stopped);
}

TEST_CASE("special tokens are hidden, but for those that are asked for") {
  const auto tokenizer =
      std::make_shared<ListTokenizer>(std::vector<std::string>{"a", "[call]", "[end]", "b"});
  const auto text_with = [&](std::vector<TokenId> shown, std::vector<std::string> stop = {}) {
    TextStream stream(tokenizer, std::move(stop), false, std::move(shown));
    std::string text;
    for (TokenId token = 0; token < 4; ++token) text += stream.push(token);
    return text + stream.finish();
  };
  CHECK(text_with({}) == "ab");
  CHECK(text_with({1}) == "a[call]b");
  CHECK(text_with({1, 2}) == "a[call][end]b");
  CHECK(text_with({1, 2}, {"l][e"}) == "a[cal");
}

TEST_CASE("the bytes of text are counted before anything is held back or cut off") {
  TextStream stream(std::make_shared<ListTokenizer>(
                        std::vector<std::string>{"aS", "\xE2", "\x82\xAC", "TOP", "\xE2"}),
                    {"STOP"}, false);
  const auto after = [&](TokenId token) {
    stream.push(token);
    return stream.decoded_bytes();
  };
  CHECK(after(0) == 2);
  CHECK(after(1) == 2);
  CHECK(after(2) == 5);
  CHECK(after(4) == 5);
  stream.finish();
  CHECK(stream.decoded_bytes() == 8);
}

TEST_CASE("how bytes are divided into tokens changes nothing but the deltas") {
  std::mt19937 source(3);
  const std::vector<std::string> alphabet{"a", "b", "ab", "€", "\xE2\x82", "\xFF", "é", "😀"};
  const std::vector<std::string> stop{"abba", "a€", "bb\uFFFD"};
  for (int round = 0; round < 2000; ++round) {
    std::string bytes;
    for (std::size_t i = 0; i < 1 + source() % 12; ++i)
      bytes += alphabet[source() % alphabet.size()];
    const bool include = source() % 2 == 0;
    const auto by_byte = [&] {
      std::vector<std::string> pieces;
      for (const char c : bytes) pieces.emplace_back(1, c);
      return stream(pieces, stop, include);
    }();
    std::vector<std::string> pieces;
    for (std::size_t at = 0; at < bytes.size();) {
      const std::size_t size = source() % 5;
      pieces.push_back(bytes.substr(at, size));
      at += size;
    }
    const auto divided = stream(pieces, stop, include);
    REQUIRE(divided.text == by_byte.text);
    REQUIRE(divided.stopped == by_byte.stopped);
    for (const auto& delta : divided.deltas) REQUIRE(is_well_formed(delta));
    if (!divided.stopped) REQUIRE(divided.text == well_formed(bytes));
    if (!include) {
      for (const auto& one : stop) REQUIRE(divided.text.find(one) == std::string::npos);
    }
  }
}

}  // namespace tandem::model
