// Byte-pair encoding over bytes: the symbols that text starts from are the 256 bytes, and merges
// join neighbours, lowest rank first. Internal to model/.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/units.hpp"

namespace tandem::model {

class ByteBpe {
 public:
  /// `bytes` is what `id` spells; a single byte becomes a starting symbol.
  void add_token(std::string bytes, TokenId id);
  /// `left` and `right`, side by side, become `joined`. Lower ranks go first; a pair's first rank
  /// counts.
  void add_merge(TokenId left, TokenId right, TokenId joined, std::uint32_t rank);
  /// A word that is a token is that token, whatever the merges would make of it.
  void ignore_merges_for_whole_words() { whole_words_first_ = true; }

  [[nodiscard]] std::optional<TokenId> find(std::string_view bytes) const;

  /// Appends the tokens of `word` to `out`. Every byte of it must have a token. O(n log n).
  void append(std::string_view word, std::vector<TokenId>& out) const;

 private:
  struct Merge {
    std::uint32_t rank;
    TokenId joined;
  };
  struct StringHash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const {
      return std::hash<std::string_view>{}(text);
    }
  };
  [[nodiscard]] const Merge* merge_of(TokenId left, TokenId right) const;

  std::unordered_map<std::string, TokenId, StringHash, std::equal_to<>> tokens_;
  std::unordered_map<std::uint64_t, Merge> merges_;
  std::array<TokenId, 256> byte_tokens_{};
  bool whole_words_first_ = false;
};

}  // namespace tandem::model
