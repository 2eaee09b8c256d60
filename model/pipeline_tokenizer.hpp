// The tokenizer that tokenizer.json describes, put together from its parts. Internal to model/:
// tokenizer_json.cpp and tiktoken.cpp build one, others see tokenizer.hpp.
#pragma once

#include <boost/unordered/unordered_flat_map.hpp>
#include <memory>
#include <string>
#include <vector>

#include "model/added_tokens.hpp"
#include "model/normalizer.hpp"
#include "model/pretokenizer.hpp"
#include "model/tokenizer.hpp"
#include "model/word_model.hpp"

namespace tandem::model {

struct TokenizerParts {
  std::unique_ptr<WordModel> model;
  Normalizer normalizer;
  Pretokenizer pretokenizer;
  AddedTokenSet raw_tokens;              ///< looked for in the text as given
  AddedTokenSet normalized_tokens;       ///< looked for after normalization
  std::vector<std::string> contents;     ///< by id: the vocabulary's entries
  std::vector<std::string> texts;        ///< by id: what they spell
  std::vector<std::string> first_texts;  ///< by id, where decode.first_token_differs
  std::vector<bool> special;             ///< by id
  DecodeRules decode;
  boost::unordered_flat_map<std::string, TokenId> ids;  ///< by content
  std::vector<TokenId> prefix;                          ///< what add_special puts before
  std::vector<TokenId> suffix;                          ///< and behind
  std::optional<std::size_t> max_bytes_per_token;       ///< see Tokenizer
};

/// Text goes through: ill-formed UTF-8 replaced by U+FFFD; added tokens cut out; the rest
/// normalized, cut into words, and each word given to the model.
class PipelineTokenizer final : public Tokenizer {
 public:
  explicit PipelineTokenizer(TokenizerParts parts);

  [[nodiscard]] std::vector<TokenId> encode(std::string_view text, bool add_special,
                                            bool parse_special) const override;
  [[nodiscard]] std::vector<TokenId> encode_prompt(
      std::string_view text, std::span<const TextRange> literal) const override;
  [[nodiscard]] std::string_view token_bytes(TokenId id) const override;
  [[nodiscard]] bool is_special(TokenId id) const override;
  [[nodiscard]] std::optional<TokenId> find(std::string_view content) const override;
  [[nodiscard]] std::size_t vocab_size() const override { return parts_.contents.size(); }
  [[nodiscard]] std::optional<std::size_t> max_bytes_per_token() const override {
    return parts_.max_bytes_per_token;
  }
  [[nodiscard]] std::string_view token_text(TokenId id) const override;
  [[nodiscard]] std::string first_token_text(TokenId id) const override;
  [[nodiscard]] std::string_view token_content(TokenId id) const override;
  [[nodiscard]] const DecodeRules& decode_rules() const override { return parts_.decode; }

 private:
  void encode_between(std::string_view text, std::span<const TextRange> literal,
                      std::vector<TokenId>& out) const;
  void encode_piece(std::string_view text, bool at_start, bool parse_special,
                    std::vector<TokenId>& out) const;
  void encode_words(std::string_view text, bool at_start, std::vector<TokenId>& out) const;

  TokenizerParts parts_;
  std::uint64_t number_;  ///< tells this tokenizer's words from another's
};

}  // namespace tandem::model
