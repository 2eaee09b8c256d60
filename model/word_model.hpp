// What turns a word into tokens. Two kinds: byte-pair encoding (bpe.hpp) and unigram (unigram.hpp).
// Internal to model/.
#pragma once

#include <string_view>
#include <vector>

#include "core/units.hpp"

namespace tandem::model {

class WordModel {
 public:
  virtual ~WordModel() = default;
  /// Appends the tokens of `word`, well-formed UTF-8 or, for byte-level models, any part of it.
  virtual void append(std::string_view word, std::vector<TokenId>& out) const = 0;
  /// No token reaches over a place where this string begins behind anything else but itself, so
  /// that words may be cut there; empty if there is no such string.
  [[nodiscard]] virtual std::string_view cut_before() const { return {}; }
};

}  // namespace tandem::model
