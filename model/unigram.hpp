// Unigram: of all ways to cut a word into tokens, the one with the highest sum of scores. Source:
// Kudo, *Subword Regularization*, section 3.2 (the best segmentation by Viterbi). Internal to
// model/.
#pragma once

#include <array>
#include <boost/unordered/unordered_flat_map.hpp>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/units.hpp"
#include "model/word_model.hpp"

namespace tandem::model {

class Unigram final : public WordModel {
 public:
  /// `unknown` stands for characters that no token has, a row of them being one. `bytes`: by byte,
  /// the token that stands for it instead; -1: none.
  Unigram(TokenId unknown, std::optional<std::array<TokenId, 256>> bytes)
      : unknown_(unknown), bytes_(bytes) {}

  /// `text` is not empty.
  void add_token(std::string_view text, TokenId id, double score);

  /// O(n * the longest token).
  void append(std::string_view word, std::vector<TokenId>& out) const override;
  [[nodiscard]] bool keeps_unknown() const override { return bytes_ && all_there(*bytes_); }

 private:
  struct Token {
    TokenId id = -1;
    double score = 0;
  };
  /// One unknown stretch of a word.
  void append_unknown(std::string_view text, std::vector<TokenId>& out) const;
  void find_best(std::string_view word) const;

  TokenId unknown_;
  std::optional<std::array<TokenId, 256>> bytes_;
  double min_score_ = std::numeric_limits<double>::infinity();
  /// A trie over bytes: (node << 8 | byte) leads to the next node; the root is 0.
  boost::unordered_flat_map<std::uint64_t, std::uint32_t> edges_;
  std::vector<Token> nodes_{1};
};

}  // namespace tandem::model
