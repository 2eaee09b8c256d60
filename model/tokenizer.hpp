// Text to token ids and back. Immutable after loading and safe to share between threads.
// Byte-level BPE of tokenizer.json for now; anything else is refused by name when loaded.
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
  /// `parse_special`; `add_special` puts the beginning-of-text token in front where the model wants
  /// it.
  [[nodiscard]] virtual std::vector<TokenId> encode(std::string_view text, bool add_special,
                                                    bool parse_special) const = 0;
  /// Token ids of a prompt that a template and a user wrote together. Special tokens are recognised
  /// where none of their bytes lies in `literal`, the user's ranges (in order, apart). This
  /// implementation cuts the text at the ranges' ends; tokenizers that can do better override it.
  [[nodiscard]] virtual std::vector<TokenId> encode_prompt(
      std::string_view text, std::span<const TextRange> literal) const;
  /// The bytes of one token; empty for special tokens. May be part of a UTF-8 character.
  [[nodiscard]] virtual std::string_view token_bytes(TokenId id) const = 0;
  [[nodiscard]] virtual bool is_special(TokenId id) const = 0;
  /// Id of a token's exact content, e.g. "<|im_end|>".
  [[nodiscard]] virtual std::optional<TokenId> find(std::string_view content) const = 0;
  [[nodiscard]] virtual std::size_t vocab_size() const = 0;
  /// The whole text of `ids`; invalid UTF-8 becomes U+FFFD.
  [[nodiscard]] std::string decode(std::span<const TokenId> ids) const;
};
using TokenizerPtr = std::shared_ptr<const Tokenizer>;

/// Reads tokenizer.json and tokenizer_config.json of a model folder.
Result<TokenizerPtr> load_tokenizer(const std::filesystem::path& folder);

}  // namespace tandem::model
