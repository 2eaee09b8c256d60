// The steps around a vocabulary, one by one: Unicode forms, normalizers, cutting, the syntax of
// patterns, decoding.
#include <catch2/catch.hpp>
#include <random>

#include "model/normalizer.hpp"
#include "model/pretokenizer.hpp"
#include "model/regex.hpp"
#include "model/text_decoder.hpp"
#include "model/tokenizer.hpp"
#include "model/unicode.hpp"
#include "model/utf8.hpp"
#include "model/word_cache.hpp"

namespace tandem::model {
namespace {

using Behavior = Pretokenizer::Behavior;
using Words = std::vector<std::string>;

Regex regex(const std::string& pattern) {
  auto compiled = Regex::compile(pattern, "test");
  INFO((compiled ? "" : compiled.error().message));
  REQUIRE(compiled.has_value());
  return std::move(*compiled);
}

Words cut(const Pretokenizer& pretokenizer, const std::string& text, bool at_start = true) {
  Pieces pieces;
  pretokenizer.cut(text, at_start, pieces);
  Words words;
  for (const auto& range : pieces.ranges) {
    words.emplace_back(pieces.text.substr(range.begin, range.end - range.begin));
  }
  return words;
}

Words split(Behavior behavior, const std::string& text, bool invert = false) {
  Pretokenizer pretokenizer;
  pretokenizer.add(Pretokenizer::Split{regex("-"), behavior, invert});
  return cut(pretokenizer, text);
}

bool matches(const std::string& pattern, const std::string& text) {
  const auto match = regex(pattern).next_match(text, 0);
  return match.kind == Regex::Match::Kind::found && match.begin == 0 && match.end == text.size();
}

/// Tokens are the entries of a list; `rules` are the test's.
class ListTokenizer final : public Tokenizer {
 public:
  ListTokenizer(std::vector<std::string> tokens, DecodeRules rules)
      : tokens_(std::move(tokens)), rules_(std::move(rules)) {}
  [[nodiscard]] std::vector<TokenId> encode(std::string_view, bool, bool) const override {
    return {};
  }
  [[nodiscard]] std::string_view token_bytes(TokenId id) const override {
    return is_special(id) ? "" : token_text(id);
  }
  [[nodiscard]] std::string_view token_text(TokenId id) const override {
    return tokens_.at(static_cast<std::size_t>(id));
  }
  [[nodiscard]] bool is_special(TokenId id) const override { return token_text(id) == "<s>"; }
  [[nodiscard]] std::optional<TokenId> find(std::string_view) const override { return {}; }
  [[nodiscard]] std::size_t vocab_size() const override { return tokens_.size(); }
  [[nodiscard]] const DecodeRules& decode_rules() const override { return rules_; }

 private:
  std::vector<std::string> tokens_;
  DecodeRules rules_;
};

}  // namespace

TEST_CASE("the four normal forms of a few hard cases") {
  CHECK(normalized(NormalForm::nfc, "e\u0301") == "é");
  CHECK(normalized(NormalForm::nfd, "é") == "e\u0301");
  CHECK(normalized(NormalForm::nfc, "q\u0307\u0323") == "q\u0323\u0307");
  CHECK(normalized(NormalForm::nfc, "s\u0307\u0323") == "\u1E69");
  CHECK(normalized(NormalForm::nfc, "\u1112\u1161\u11AB") == "\uD55C");
  CHECK(normalized(NormalForm::nfd, "\uD55C") == "\u1112\u1161\u11AB");
  CHECK(normalized(NormalForm::nfkc, "\uFB01\u2460\uFF21") == "fi1A");
  CHECK(normalized(NormalForm::nfkd, "\u1E9B\u0323") == "s\u0323\u0307");
  CHECK(normalized(NormalForm::nfc, "\u0958") == "\u0915\u093C");  // excluded from composition
  CHECK(normalized(NormalForm::nfc, "a\u0301\u0301x") == "á\u0301x");
}

TEST_CASE("normalizing twice changes nothing, and pieces between plain characters are alone") {
  std::mt19937 source(5);
  const std::string alphabet[] = {"a",      "e",  "\u0301", "\u0323", "é",  "\u1100", "\u1161",
                                  "\u11A8", "가", "\uFB01", "x",      "你", "\u0915", "\u093C"};
  for (const auto form : {NormalForm::nfc, NormalForm::nfd, NormalForm::nfkc, NormalForm::nfkd}) {
    for (int round = 0; round < 300; ++round) {
      std::string left;
      std::string right;
      for (int i = 0; i < 6; ++i) left += alphabet[source() % std::size(alphabet)];
      for (int i = 0; i < 6; ++i) right += alphabet[source() % std::size(alphabet)];
      const std::string once = normalized(form, left);
      REQUIRE(normalized(form, once) == once);
      // Nothing joins over a digit.
      REQUIRE(normalized(form, left + "7" + right) == once + "7" + normalized(form, right));
    }
  }
}

TEST_CASE("lower case goes character by character") {
  std::string out;
  append_lower_case("ÀΣ İẞ", out);
  CHECK(out == "àσ i\u0307ß");
}

TEST_CASE("normalizer steps follow one another") {
  Normalizer normalizer;
  normalizer.add(Normalizer::Strip{true, true});
  normalizer.add(Normalizer::Lowercase{});
  normalizer.add(Normalizer::Replace{" ", "__"});
  normalizer.add(Normalizer::ReplaceMatches{regex("\\d+"), "#"});
  normalizer.add(Normalizer::Prepend{">"});
  std::pair<std::string, std::string> buffers;
  CHECK(normalizer.apply("\u3000 A B12 \n", buffers) == ">a__b#");
  CHECK(normalizer.apply(" \n", buffers).empty());
}

TEST_CASE("each behavior makes its own pieces of matches") {
  const std::string text = "the-final--countdown";
  CHECK(split(Behavior::removed, text) == Words{"the", "final", "countdown"});
  CHECK(split(Behavior::isolated, text) == Words{"the", "-", "final", "-", "-", "countdown"});
  CHECK(split(Behavior::merged_with_previous, text) == Words{"the-", "final-", "-", "countdown"});
  CHECK(split(Behavior::merged_with_next, text) == Words{"the", "-final", "-", "-countdown"});
  CHECK(split(Behavior::contiguous, text) == Words{"the", "-", "final", "--", "countdown"});
  CHECK(split(Behavior::removed, text, true) == Words{"-", "-", "-"});
  CHECK(split(Behavior::merged_with_next, "a-") == Words{"a", "-"});
  CHECK(split(Behavior::merged_with_previous, "-a") == Words{"-", "a"});
}

TEST_CASE("Metaspace writes spaces as its character and cuts before it") {
  using Metaspace = Pretokenizer::Metaspace;
  const auto with = [](Metaspace::Prepend prepend, bool split) {
    Pretokenizer pretokenizer;
    pretokenizer.add(Metaspace{"▁", prepend, split});
    return pretokenizer;
  };
  CHECK(cut(with(Metaspace::Prepend::always, true), "a  b") == Words{"▁a", "▁", "▁b"});
  CHECK(cut(with(Metaspace::Prepend::always, false), "a b") == Words{"▁a▁b"});
  CHECK(cut(with(Metaspace::Prepend::never, true), "a b") == Words{"a", "▁b"});
  CHECK(cut(with(Metaspace::Prepend::first, true), "a b") == Words{"▁a", "▁b"});
  CHECK(cut(with(Metaspace::Prepend::first, true), "a b", false) == Words{"a", "▁b"});
  CHECK(cut(with(Metaspace::Prepend::always, true), " a") == Words{"▁a"});
}

TEST_CASE("patterns mean what their own syntax says, not what PCRE2 would read") {
  CHECK_FALSE(matches("\\s", "\u180E"));
  CHECK(matches("\\s\\s\\s", "\u0085\u3000\v"));
  CHECK(matches("[^\\s]", "\u180E"));
  CHECK(matches("\\w\\w", "e\u0301"));
  CHECK(matches("[\\w-]+", "e\u0301-"));
  CHECK(matches("\\h+", "0aF"));
  CHECK_FALSE(matches("\\v", "\n"));
  CHECK(matches("\\p{Han}", "你"));
  CHECK_FALSE(matches("\\p{Han}", "\u3001"));  // used with Han, but not of it
  CHECK(matches("\\u4f60", "你"));
  CHECK(matches("(?i:'s)", "'\u017F"));
  CHECK(regex("^b").next_match("a\nb", 0).begin == 2);
}

TEST_CASE("what cannot be translated is refused by name") {
  for (const char* pattern : {"\\bx", "[a&&b]", "[a[b]]", "(?m:.)", "(?R)", "(*FAIL)", "a{1,2}+",
                              "a{,3}", "\\X", "\\K", "[\\W]", "\\xE9", "(?<n>a)", "\\p{"}) {
    INFO(pattern);
    const auto compiled = Regex::compile(pattern, "here");
    REQUIRE(compiled.has_error());
    CHECK(compiled.error().code == Errc::unsupported);
    CHECK_THAT(compiled.error().message, Catch::Matchers::Contains("here: the pattern"));
  }
}

TEST_CASE("literal patterns match every character as itself") {
  const std::string text = "a.b*[c]\\E(d)|{e}^$ 你-#";
  const auto literal = Regex::literal(text, "test");
  REQUIRE(literal.has_value());
  const auto match = literal->next_match("x" + text, 0);
  CHECK(match.begin == 1);
  CHECK(match.end == 1 + text.size());
}

TEST_CASE("byte tokens become characters as soon as they are whole") {
  DecodeRules rules;
  rules.bytes = DecodeRules::Bytes::fallback;
  rules.byte_tokens = {false, true, true, true, true, false};
  rules.stripped = " ";
  rules.max_stripped = 1;
  const ListTokenizer tokenizer({" a", "\xE2", "\x82", "\xAC", "\xFF", "<s>"}, rules);
  TextDecoder decoder(tokenizer);
  const auto push = [&](TokenId id) {
    std::string delta;
    decoder.push(id, delta);
    return delta;
  };
  CHECK(push(0) == "a");
  CHECK(push(0) == " a");
  CHECK(push(1).empty());
  CHECK(push(2).empty());
  CHECK(push(3) == "€");
  CHECK(push(1).empty());
  CHECK(push(5).empty());  // special tokens do not come between
  CHECK(push(2).empty());
  CHECK(push(0) == "\uFFFD\uFFFD a");
  CHECK(push(4) == "\uFFFD");
  const std::vector<TokenId> ids{5, 0, 1};
  CHECK(tokenizer.decode(ids) == "a\uFFFD");
  CHECK(tokenizer.decode(ids, false) == "<s> a\uFFFD");
}

TEST_CASE("well-formed text is told from ill-formed at every length") {
  for (std::size_t size = 0; size < 40; ++size) {
    const std::string text(size, 'a');
    CHECK(is_well_formed(text));
    CHECK(is_well_formed(text + "é"));
    CHECK_FALSE(is_well_formed(text + "\xC3"));
    CHECK_FALSE(is_well_formed(text + "\x80" + text));
  }
}

TEST_CASE("the word cache gives back what was put in, and forgets another tokenizer's words") {
  WordCache cache;
  cache.use_for(1);
  const std::vector<TokenId> tokens{1, 2, 3};
  std::vector<TokenId> out;
  CHECK_FALSE(cache.append(WordCache::Key("word"), out));
  cache.put(WordCache::Key("word"), tokens);
  CHECK(cache.append(WordCache::Key("word"), out));
  CHECK(out == tokens);
  CHECK_FALSE(cache.append(WordCache::Key(std::string_view("word\0", 5)), out));
  cache.put(WordCache::Key("many"), std::vector<TokenId>(WordCache::max_tokens + 1, 7));
  CHECK_FALSE(cache.append(WordCache::Key("many"), out));
  cache.use_for(2);
  CHECK_FALSE(cache.append(WordCache::Key("word"), out));
}

}  // namespace tandem::model
