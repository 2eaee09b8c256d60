// The tokenizer that tokenizer.json describes, put together from its parts. Internal to model/:
// tokenizer_json.cpp builds one, others see tokenizer.hpp.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "model/added_tokens.hpp"
#include "model/bpe.hpp"
#include "model/pretokenizer.hpp"
#include "model/tokenizer.hpp"

namespace tandem::model {

struct TokenizerParts {
  ByteBpe bpe;
  Pretokenizer pretokenizer;
  AddedTokenSet raw_tokens;         ///< looked for in the text as given
  AddedTokenSet normalized_tokens;  ///< looked for after normalization
  bool nfc = false;
  std::vector<std::string> bytes;  ///< by id; empty for special tokens and for holes
  std::vector<bool> special;       ///< by id
  std::unordered_map<std::string, TokenId> added;  ///< by content
  std::vector<TokenId> prefix;                     ///< what add_special puts before
  std::vector<TokenId> suffix;                     ///< and behind
};

/// Text goes through: ill-formed UTF-8 replaced by U+FFFD; added tokens cut out; the rest
/// normalized, cut into words, and merged word by word.
class ByteLevelTokenizer final : public Tokenizer {
 public:
  explicit ByteLevelTokenizer(TokenizerParts parts) : parts_(std::move(parts)) {}

  [[nodiscard]] std::vector<TokenId> encode(std::string_view text, bool add_special,
                                            bool parse_special) const override;
  [[nodiscard]] std::vector<TokenId> encode_prompt(
      std::string_view text, std::span<const TextRange> literal) const override;
  [[nodiscard]] std::string_view token_bytes(TokenId id) const override;
  [[nodiscard]] bool is_special(TokenId id) const override;
  [[nodiscard]] std::optional<TokenId> find(std::string_view content) const override;
  [[nodiscard]] std::size_t vocab_size() const override { return parts_.bytes.size(); }

 private:
  void encode_between(std::string_view text, std::span<const TextRange> literal,
                      std::vector<TokenId>& out) const;
  void encode_normalized(std::string_view text, bool parse_special,
                         std::vector<TokenId>& out) const;

  TokenizerParts parts_;
};

}  // namespace tandem::model
