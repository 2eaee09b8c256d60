#include "model/tokenizer.hpp"

#include "model/byte_level_tokenizer.hpp"
#include "model/nfc.hpp"
#include "model/utf8.hpp"

namespace tandem::model {

std::string Tokenizer::decode(std::span<const TokenId> ids) const {
  std::string bytes;
  for (const TokenId id : ids) bytes += token_bytes(id);
  return well_formed(bytes);
}

std::vector<TokenId> Tokenizer::encode_prompt(std::string_view text,
                                              std::span<const TextRange> literal) const {
  std::vector<TokenId> ids;
  const auto add = [&](std::size_t begin, std::size_t end, bool parse_special) {
    if (begin >= end) return;
    const auto more = encode(text.substr(begin, end - begin), false, parse_special);
    ids.insert(ids.end(), more.begin(), more.end());
  };
  std::size_t done = 0;
  for (const auto& range : literal) {
    add(done, range.begin, true);
    add(range.begin, range.end, false);
    done = range.end;
  }
  add(done, text.size(), true);
  return ids;
}

std::vector<TokenId> ByteLevelTokenizer::encode(std::string_view text, bool add_special,
                                                bool parse_special) const {
  std::vector<TokenId> ids;
  ids.reserve(text.size() / 3 + 8);
  if (add_special) ids = parts_.prefix;
  const std::string clean = well_formed(text);
  const TextRange whole{0, clean.size()};
  encode_between(clean, std::span(&whole, parse_special ? 0 : 1), ids);
  if (add_special) ids.insert(ids.end(), parts_.suffix.begin(), parts_.suffix.end());
  return ids;
}

std::vector<TokenId> ByteLevelTokenizer::encode_prompt(std::string_view text,
                                                       std::span<const TextRange> literal) const {
  // Replacing ill-formed bytes would move the ranges.
  if (well_formed(text) != text) return Tokenizer::encode_prompt(text, literal);
  std::vector<TokenId> ids;
  ids.reserve(text.size() / 3 + 8);
  encode_between(text, literal, ids);
  return ids;
}

void ByteLevelTokenizer::encode_between(std::string_view text, std::span<const TextRange> literal,
                                        std::vector<TokenId>& out) const {
  parts_.raw_tokens.split(
      text, literal,
      [&](std::string_view piece) {
        const auto begin = static_cast<std::size_t>(piece.data() - text.data());
        const bool parse_special = !overlaps(literal, begin, begin + piece.size());
        if (parts_.nfc) {
          encode_normalized(to_nfc(piece), parse_special, out);
        } else {
          encode_normalized(piece, parse_special, out);
        }
      },
      [&](TokenId id) { out.push_back(id); });
}

void ByteLevelTokenizer::encode_normalized(std::string_view text, bool parse_special,
                                           std::vector<TokenId>& out) const {
  const TextRange whole{0, text.size()};
  parts_.normalized_tokens.split(
      text, std::span(&whole, parse_special ? 0 : 1),
      [&](std::string_view piece) {
        parts_.pretokenizer.for_each_word(
            piece, [&](std::string_view word) { parts_.bpe.append(word, out); });
      },
      [&](TokenId id) { out.push_back(id); });
}

std::string_view ByteLevelTokenizer::token_bytes(TokenId id) const {
  const auto index = static_cast<std::size_t>(id);
  return id < 0 || index >= parts_.bytes.size() ? std::string_view() : parts_.bytes[index];
}

bool ByteLevelTokenizer::is_special(TokenId id) const {
  const auto index = static_cast<std::size_t>(id);
  return id >= 0 && index < parts_.special.size() && parts_.special[index];
}

std::optional<TokenId> ByteLevelTokenizer::find(std::string_view content) const {
  const auto added = parts_.added.find(std::string(content));
  if (added != parts_.added.end()) return added->second;
  return parts_.bpe.find(content);
}

}  // namespace tandem::model
