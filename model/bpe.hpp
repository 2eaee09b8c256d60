// Byte-pair encoding: text starts as single symbols (bytes, or characters), and merges join
// neighbours, lowest rank first, leftmost first. Internal to model/.
#pragma once

#include <array>
#include <boost/unordered/unordered_flat_map.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/units.hpp"
#include "model/word_model.hpp"

namespace tandem::model {

/// How a character that is no symbol becomes tokens.
struct UnknownRule {
  std::optional<TokenId> token;  ///< stands for it; without, it leaves no trace
  bool fuse = false;             ///< one token for a row of them
  /// By byte: its token, tried first; -1 in any place: not used for characters with that byte.
  std::optional<std::array<TokenId, 256>> bytes;
};

class Bpe final : public WordModel {
 public:
  enum class Symbols : std::uint8_t { bytes, characters };
  explicit Bpe(Symbols symbols) : by_bytes_(symbols == Symbols::bytes) { byte_tokens_.fill(-1); }

  /// A token that is one symbol: one byte, or one character.
  void add_symbol(std::string_view symbol, TokenId id);
  /// `left` and `right`, side by side, become `joined`. Lower ranks go first; a pair's first rank
  /// counts.
  void add_merge(TokenId left, TokenId right, TokenId joined, std::uint32_t rank);
  void set_unknown(UnknownRule rule) { unknown_ = rule; }
  /// A word that is this token is this token, whatever the merges would make of it.
  void add_whole_word(std::string_view word, TokenId id);
  /// See WordModel::cut_before; the caller knows that it holds for all joined tokens.
  void set_cut_before(std::string_view text) { cut_before_ = text; }

  /// O(n log n).
  void append(std::string_view word, std::vector<TokenId>& out) const override;
  [[nodiscard]] bool keeps_unknown() const override {
    return by_bytes_ || (unknown_.bytes ? all_there(*unknown_.bytes)
                                        : unknown_.token.has_value() && !unknown_.fuse);
  }
  [[nodiscard]] std::string_view cut_before() const override { return cut_before_; }
  [[nodiscard]] bool has_symbol(unsigned char byte) const { return byte_tokens_[byte] >= 0; }

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
  void start(std::string_view word) const;
  void add_unknown(std::string_view character, std::optional<TokenId>& waiting) const;
  void merge_all() const;

  bool by_bytes_;
  boost::unordered_flat_map<std::uint64_t, Merge> merges_;
  std::array<TokenId, 256> byte_tokens_{};  ///< by byte, or by ASCII character; -1: none
  boost::unordered_flat_map<char32_t, TokenId> character_tokens_;
  boost::unordered_flat_map<std::string, TokenId, StringHash, std::equal_to<>> whole_words_;
  UnknownRule unknown_;
  std::string cut_before_;
};

}  // namespace tandem::model
