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

std::vector<TokenId> ByteLevelTokenizer::encode(std::string_view text, bool add_special,
                                                bool parse_special) const {
  std::vector<TokenId> ids;
  ids.reserve(text.size() / 3 + 8);
  if (add_special) ids = parts_.prefix;
  const std::string clean = well_formed(text);
  parts_.raw_tokens.split(
      clean, parse_special,
      [&](std::string_view piece) {
        if (parts_.nfc) {
          encode_normalized(to_nfc(piece), parse_special, ids);
        } else {
          encode_normalized(piece, parse_special, ids);
        }
      },
      [&](TokenId id) { ids.push_back(id); });
  if (add_special) ids.insert(ids.end(), parts_.suffix.begin(), parts_.suffix.end());
  return ids;
}

void ByteLevelTokenizer::encode_normalized(std::string_view text, bool parse_special,
                                           std::vector<TokenId>& out) const {
  parts_.normalized_tokens.split(
      text, parse_special,
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
