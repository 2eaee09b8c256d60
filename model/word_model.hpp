// What turns a word into tokens. Two kinds: byte-pair encoding (bpe.hpp) and unigram (unigram.hpp).
// Internal to model/.
#pragma once

#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

#include "core/units.hpp"

namespace tandem::model {

class WordModel {
 public:
  virtual ~WordModel() = default;
  /// Appends the tokens of `word`, well-formed UTF-8 or, for byte-level models, any part of it.
  virtual void append(std::string_view word, std::vector<TokenId>& out) const = 0;
  /// Nothing is left out, and a character that no token has becomes a token, or several, of its
  /// own.
  [[nodiscard]] virtual bool keeps_unknown() const = 0;
  /// No token reaches over a place where this string begins behind anything else but itself, so
  /// that words may be cut there; empty if there is no such string.
  [[nodiscard]] virtual std::string_view cut_before() const { return {}; }
};

/// A table of tokens by byte has one for each.
inline bool all_there(const std::array<TokenId, 256>& by_byte) {
  return std::all_of(by_byte.begin(), by_byte.end(), [](TokenId id) { return id >= 0; });
}

}  // namespace tandem::model
