#include "model/rank_file.hpp"

#include <array>
#include <boost/json/array.hpp>
#include <boost/unordered/unordered_flat_map.hpp>
#include <charconv>
#include <optional>
#include <vector>

#include "model/byte_alphabet.hpp"

namespace tandem::model {
namespace {

namespace json = boost::json;

constexpr std::size_t max_ranks = 1 << 20;
constexpr std::size_t max_token_bytes = 4096;

/// What a rank file leaves unsaid.
struct Family {
  std::size_t num_ranks;
  const char* name;
  const char* pattern;
  bool nfc;
  std::vector<std::string> specials;  ///< ids from num_ranks on
  const char* begin;                  ///< put in front of a text; "" if nothing is
};

std::string numbered(const std::string& name, int number) {
  return "<|" + name + std::to_string(number) + "|>";
}

Family gpt2() {
  return {50256,
          "GPT-2",
          R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)",
          false,
          {"<|endoftext|>"},
          ""};
}

Family llama3() {
  Family family{
      128000,
      "Llama 3",
      R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|)"
      R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
      false,
      {"<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>",
       "<|reserved_special_token_1|>", "<|finetune_right_pad_id|>", "<|reserved_special_token_2|>",
       "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>", "<|python_tag|>"},
      "<|begin_of_text|>"};
  for (int i = 3; family.specials.size() < 256; ++i) {
    family.specials.push_back(numbered("reserved_special_token_", i));
  }
  return family;
}

Family qwen() {
  Family family{151643,
                "Qwen",
                R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|)"
                R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
                true,
                {"<|endoftext|>", "<|im_start|>", "<|im_end|>"},
                ""};
  for (int i = 0; i < 205; ++i) family.specials.push_back(numbered("extra_", i));
  return family;
}

std::optional<std::string> from_base64(std::string_view text) {
  std::string bytes;
  std::uint32_t buffer = 0;
  int bits = 0;
  while (text.ends_with('=')) text.remove_suffix(1);
  for (const char c : text) {
    constexpr std::string_view digits =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const std::size_t digit = digits.find(c);
    if (digit == std::string_view::npos) return std::nullopt;
    buffer = (buffer << 6) | static_cast<std::uint32_t>(digit);
    bits += 6;
    if (bits < 8) continue;
    bits -= 8;
    bytes.push_back(static_cast<char>((buffer >> bits) & 0xFFU));
  }
  return bytes;
}

struct RankLine {
  std::string token;
  std::size_t rank = 0;
};

/// "base64 rank"; nothing if the line is something else.
std::optional<RankLine> parse_line(std::string_view line) {
  if (line.ends_with('\r')) line.remove_suffix(1);
  const std::size_t space = line.find(' ');
  if (space == std::string_view::npos || space == 0) return std::nullopt;
  auto token = from_base64(line.substr(0, space));
  const std::string_view number = line.substr(space + 1);
  std::size_t rank = 0;
  const auto end = std::from_chars(number.data(), number.data() + number.size(), rank);
  if (!token || token->empty() || end.ec != std::errc() ||
      end.ptr != number.data() + number.size()) {
    return std::nullopt;
  }
  return RankLine{std::move(*token), rank};
}

Result<std::vector<std::string>> parse_ranks(std::string_view text, const std::string& where) {
  std::vector<std::string> tokens;
  std::size_t number = 0;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const auto line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    ++number;
    if (line.empty()) continue;
    auto parsed = parse_line(line);
    const std::string place = where + ": line " + std::to_string(number);
    if (!parsed || parsed->token.size() > max_token_bytes) {
      return error(Errc::invalid_value, place + " is not \"base64 rank\"", where);
    }
    if (parsed->rank != tokens.size() || parsed->rank >= max_ranks) {
      return error(Errc::invalid_value,
                   place + " has the rank " + std::to_string(parsed->rank) + "; expected " +
                       std::to_string(tokens.size()) + " of at most " + std::to_string(max_ranks),
                   where);
    }
    tokens.push_back(std::move(parsed->token));
  }
  return tokens;
}

/// Every way to make a token of two others, by the token's rank: then the pair that merges first is
/// the one whose bytes together have the lowest rank, which is how these vocabularies merge.
json::array merges_of(const std::vector<std::string>& tokens, const ByteAlphabet& alphabet) {
  boost::unordered_flat_map<std::string_view, std::size_t> ranks;
  for (std::size_t rank = 0; rank < tokens.size(); ++rank) ranks.emplace(tokens[rank], rank);
  json::array merges;
  for (const std::string& token : tokens) {
    const std::string_view bytes = token;
    for (std::size_t cut = 1; cut < bytes.size(); ++cut) {
      if (!ranks.contains(bytes.substr(0, cut)) || !ranks.contains(bytes.substr(cut))) continue;
      merges.push_back(json::array{json::string(alphabet.entry_of(bytes.substr(0, cut))),
                                   json::string(alphabet.entry_of(bytes.substr(cut)))});
    }
  }
  return merges;
}

json::object put_together(const Family& family, const std::vector<std::string>& tokens) {
  const ByteAlphabet alphabet;
  json::object vocab;
  vocab.reserve(tokens.size());
  for (std::size_t rank = 0; rank < tokens.size(); ++rank) {
    vocab.emplace(alphabet.entry_of(tokens[rank]), static_cast<std::int64_t>(rank));
  }
  json::array added;
  for (std::size_t i = 0; i < family.specials.size(); ++i) {
    added.push_back({{"id", static_cast<std::int64_t>(tokens.size() + i)},
                     {"content", family.specials[i]},
                     {"special", true},
                     {"normalized", false}});
  }
  json::object root{
      {"added_tokens", std::move(added)},
      {"pre_tokenizer",
       {{"type", "Sequence"},
        {"pretokenizers",
         {{{"type", "Split"}, {"pattern", {{"Regex", family.pattern}}}, {"behavior", "Isolated"}},
          {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}}}}},
      {"decoder", {{"type", "ByteLevel"}}},
      {"model",
       {{"type", "BPE"},
        {"ignore_merges", true},
        {"vocab", std::move(vocab)},
        {"merges", merges_of(tokens, alphabet)}}}};
  if (family.nfc) root["normalizer"] = {{"type", "NFC"}};
  if (*family.begin != '\0') {
    const json::object special{{"SpecialToken", {{"id", family.begin}, {"type_id", 0}}}};
    const json::object sequence{{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
    const json::object ids{{"ids", json::array{static_cast<std::int64_t>(tokens.size())}}};
    root["post_processor"] = {{"type", "TemplateProcessing"},
                              {"single", json::array{special, sequence}},
                              {"special_tokens", {{family.begin, ids}}}};
  }
  return root;
}

}  // namespace

bool is_rank_file(std::string_view text) {
  return parse_line(text.substr(0, text.find('\n'))).has_value();
}

Result<json::object> tokenizer_of_rank_file(std::string_view text, const std::string& where) {
  const auto tokens = parse_ranks(text, where);
  if (!tokens) return tokens.error();
  std::string known;
  for (const Family& family : {gpt2(), llama3(), qwen()}) {
    if (family.num_ranks == tokens->size()) return put_together(family, *tokens);
    known +=
        (known.empty() ? "" : ", ") + std::to_string(family.num_ranks) + " (" + family.name + ")";
  }
  return error(Errc::unsupported,
               where + ": the rank file has " + std::to_string(tokens->size()) +
                   " ranks; how text is split is known for those of " + known +
                   "; a tokenizer.json would say it",
               where);
}

}  // namespace tandem::model
