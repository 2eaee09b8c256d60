// The tokens of tokenizer.json's added_tokens: found in text as they stand, before anything is cut
// into words. Internal to model/.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/units.hpp"
#include "model/tokenizer.hpp"

namespace tandem::model {

struct AddedToken {
  TokenId id = 0;
  std::string content;
  bool special = false;
  bool normalized = false;   ///< looked for in normalized text, else in the text as given
  bool single_word = false;  ///< only where no word character touches it
  bool strip_left = false;   ///< takes the white space before it
  bool strip_right = false;  ///< takes the white space after it
};

/// One of `ranges` (in order, apart) has a byte in [begin, end).
bool overlaps(std::span<const TextRange> ranges, std::size_t begin, std::size_t end);

/// A set of added tokens, found leftmost first and longest first.
class AddedTokenSet {
 public:
  /// `content`: what is looked for, normalized if need be; not empty. The first of equals counts.
  void add(AddedToken token, std::string_view content);
  [[nodiscard]] bool empty() const { return tokens_.empty(); }

  /// Cuts `text` at the tokens: calls `gap` for each piece between them (never empty, a view into
  /// `text`) and `found` for each token, in order. Special tokens are passed over where they touch
  /// one of the ranges `literal` (in order, apart).
  void split(std::string_view text, std::span<const TextRange> literal,
             const std::function<void(std::string_view)>& gap,
             const std::function<void(TokenId)>& found) const;

 private:
  struct Node {
    std::vector<std::pair<unsigned char, std::uint32_t>> children;
    std::optional<std::uint32_t> token;  ///< index into tokens_
  };
  /// The longest token that `text` has at `at`, and its bytes there; null if none.
  [[nodiscard]] const AddedToken* longest_at(std::string_view text, std::size_t at,
                                             std::size_t& length) const;

  std::vector<AddedToken> tokens_;
  std::array<bool, 256> begins_{};  ///< by byte: a token begins with it
  std::vector<Node> nodes_{1};      ///< a trie over bytes; the root is 0
};

}  // namespace tandem::model
