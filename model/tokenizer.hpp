// Text to token ids and back. Immutable after loading and safe to share between threads. Read from
// tokenizer.json, else from a rank file (*.tiktoken) or SentencePiece's tokenizer.model; what is
// not supported is refused by name when loaded.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.hpp"
#include "core/units.hpp"
#include "model/text_decoder.hpp"

namespace tandem::model {

/// Bytes [begin, end) of a text.
struct TextRange {
  std::size_t begin = 0;
  std::size_t end = 0;
  friend bool operator==(const TextRange&, const TextRange&) = default;
};

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  /// Token ids of `text`. Special tokens written in the text are recognised only if
  /// `parse_special`; `add_special` puts around it what the model wants there, mostly the
  /// beginning-of-text token in front.
  [[nodiscard]] virtual std::vector<TokenId> encode(std::string_view text, bool add_special,
                                                    bool parse_special) const = 0;
  /// Token ids of a prompt that a template and a user wrote together. Special tokens are recognised
  /// where none of their bytes lies in `literal`, the user's ranges (in order, apart). This
  /// implementation cuts the text at the ranges' ends; tokenizers that can do better override it.
  [[nodiscard]] virtual std::vector<TokenId> encode_prompt(
      std::string_view text, std::span<const TextRange> literal) const;
  /// What one token alone spells; empty for special tokens. May be part of a UTF-8 character.
  [[nodiscard]] virtual std::string_view token_bytes(TokenId id) const = 0;
  [[nodiscard]] virtual bool is_special(TokenId id) const = 0;
  /// Id of a token's exact content, e.g. "<|im_end|>".
  [[nodiscard]] virtual std::optional<TokenId> find(std::string_view content) const = 0;
  [[nodiscard]] virtual std::size_t vocab_size() const = 0;
  /// No token stands for more bytes of a text than this, special ones included: a bound on a text's
  /// tokens from below. Nothing where text may be left out, shortened, or joined without a bound.
  [[nodiscard]] virtual std::optional<std::size_t> max_bytes_per_token() const {
    return std::nullopt;
  }
  /// No fewer tokens than this can a text of `bytes` become.
  [[nodiscard]] Tokens fewest_tokens(std::size_t bytes) const;

  /// As token_bytes, special tokens included.
  [[nodiscard]] virtual std::string_view token_text(TokenId id) const { return token_bytes(id); }
  /// The same where the token begins a text and decode_rules() say that this makes a difference.
  [[nodiscard]] virtual std::string first_token_text(TokenId id) const {
    return std::string(token_text(id));
  }
  /// The entry of the vocabulary, e.g. "Ġthe"; empty if there is none.
  [[nodiscard]] virtual std::string_view token_content(TokenId id) const { return token_text(id); }
  /// How the texts of tokens are put together.
  [[nodiscard]] virtual const DecodeRules& decode_rules() const;
  /// The whole text of `ids`.
  [[nodiscard]] std::string decode(std::span<const TokenId> ids, bool skip_special = true,
                                   TextPlace place = TextPlace::start) const;
};
using TokenizerPtr = std::shared_ptr<const Tokenizer>;

/// Reads the tokenizer of a model folder, and tokenizer_config.json where there is one.
Result<TokenizerPtr> load_tokenizer(const std::filesystem::path& folder);
/// The tokenizer that the texts of a tokenizer.json and a tokenizer_config.json (or "") describe.
Result<TokenizerPtr> parse_tokenizer(std::string_view tokenizer_json,
                                     std::string_view tokenizer_config);

}  // namespace tandem::model
