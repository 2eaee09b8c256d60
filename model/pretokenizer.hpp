// Cuts text into the words that merging stays inside of: the pre_tokenizer of tokenizer.json, as a
// chain of steps. Internal to model/.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "model/regex.hpp"

namespace tandem::model {

/// A text cut into pieces, and the room that a cutting needs; kept between calls for its memory.
struct Pieces {
  struct Range {
    std::size_t begin = 0;
    std::size_t end = 0;
  };
  std::string_view text;
  std::vector<Range> ranges;

  std::string buffer;  ///< what `text` points into once a step has rewritten it
  std::string next_buffer;
  std::vector<Range> next_ranges;
};

class Pretokenizer {
 public:
  /// What becomes of the matches of a pattern.
  enum class Behavior : std::uint8_t {
    removed,
    isolated,              ///< a piece each
    merged_with_previous,  ///< of the piece before, unless that is a match as well
    merged_with_next,
    contiguous,  ///< matches side by side are one piece
  };
  struct Split {
    Regex pattern;
    Behavior behavior;
    bool invert = false;  ///< what lies between matches is treated as the match
  };
  /// A space before each piece that does not begin with one.
  struct PrefixSpace {};
  struct Metaspace {
    enum class Prepend : std::uint8_t { always, first, never };
    std::string replacement;  ///< for spaces: one character
    Prepend prepend;          ///< before pieces that do not begin with it; first: of the text
    bool split;               ///< cut before each one
  };
  using Step = std::variant<Split, PrefixSpace, Metaspace>;

  template <class OneStep>
  void add(OneStep step) {
    steps_.emplace_back(std::in_place_type<OneStep>, std::move(step));
  }

  /// No step removes text.
  [[nodiscard]] bool keeps_text() const;

  /// Cuts `text` (well-formed UTF-8, not empty) into `pieces`, none of them empty. `at_start`: the
  /// text begins where the caller's does. Where an expression gives up, the rest of its piece stays
  /// uncut: the tokens still spell the same bytes.
  void cut(std::string_view text, bool at_start, Pieces& pieces) const;

 private:
  std::vector<Step> steps_;
};

}  // namespace tandem::model
