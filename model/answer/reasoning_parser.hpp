// Reasoning at the beginning of an answer, between <think> and </think>, as it arrives. Line ends
// inside of the markers and behind the last one belong to them. Text that is no reasoning is handed
// on as it is. The parts do not depend on how the text was cut into pieces.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "model/answer/answer_part.hpp"

namespace tandem::model {

inline constexpr std::string_view think_begin = "<think>";
inline constexpr std::string_view think_end = "</think>";

class ReasoningParser {
 public:
  /// `inside`: the answer begins behind the first marker.
  explicit ReasoningParser(bool inside)
      : mode_(inside ? Mode::opened : Mode::begin), may_repeat_(inside) {
    if (inside) begin_ = 0;
  }

  /// Reasoning goes to `out`, what lies behind it is added to `rest`.
  void push(std::string_view text, AnswerParts& out, std::string& rest);
  /// Nothing more comes: what was held back is what it looked like so far.
  void finish(AnswerParts& out, std::string& rest);

  // Offsets into the text that was pushed.

  /// Up to here it is known what is reasoning.
  [[nodiscard]] std::size_t settled() const { return pushed_ - held_.size(); }
  /// Bytes [begin, end) have something of the reasoning or its markers. Only where settled.
  [[nodiscard]] bool is_reasoning(std::size_t begin, std::size_t end) const {
    return begin < end_ && (end > begin_ || (end == begin && begin >= begin_));
  }

 private:
  enum class Mode : std::uint8_t {
    begin,   ///< the first marker may come
    opened,  ///< behind it: line ends are its own
    inside,
    closed,  ///< behind the last one: line ends are its own
    rest,
  };

  // Each takes from held_ what it understands. False: it needs more text to go on.
  bool read_begin();
  bool read_opened();
  bool read_inside(AnswerParts& out);
  bool read_closed();

  Mode mode_;
  bool may_repeat_;   ///< the first marker may come although the answer began behind it
  std::string held_;  ///< text that is not taken yet
  std::size_t pushed_ = 0;
  std::size_t begin_ = std::string::npos, end_ = std::string::npos;
};

}  // namespace tandem::model
