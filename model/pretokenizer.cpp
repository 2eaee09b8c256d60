#include "model/pretokenizer.hpp"

#include <algorithm>

namespace tandem::model {
namespace {

using Range = Pieces::Range;
using Behavior = Pretokenizer::Behavior;

/// Takes the stretches of one piece, matches and what lies between, left to right, and makes pieces
/// of them.
class Cutter {
 public:
  Cutter(const Pretokenizer::Split& step, std::vector<Range>& out)
      : behavior_(step.behavior), invert_(step.invert), out_(out), first_(out.size()) {}

  void take(Range range, bool found) {
    const bool match = found != invert_;
    if (range.begin == range.end) return;
    switch (behavior_) {
      case Behavior::removed:
        if (!match) out_.push_back(range);
        break;
      case Behavior::isolated: out_.push_back(range); break;
      case Behavior::merged_with_previous: put(range, match && !previous_match_); break;
      case Behavior::contiguous: put(range, match == previous_match_); break;
      case Behavior::merged_with_next: put(range, !match && previous_match_); break;
    }
    previous_match_ = match;
  }
  /// A stretch that could not be searched.
  void keep(Range range) {
    if (range.begin < range.end) out_.push_back(range);
  }

 private:
  void put(Range range, bool joins) {
    if (joins && out_.size() > first_) {
      out_.back().end = range.end;
    } else {
      out_.push_back(range);
    }
  }

  Behavior behavior_;
  bool invert_;
  std::vector<Range>& out_;
  std::size_t first_;
  bool previous_match_ = false;
};

void cut_piece(const Pretokenizer::Split& step, std::string_view text, Range piece,
               std::vector<Range>& out) {
  // Matching sees the piece alone: what is around it must not decide about its edges.
  const std::string_view subject = text.substr(piece.begin, piece.end - piece.begin);
  Cutter cutter(step, out);
  std::size_t done = 0;
  while (done < subject.size()) {
    const auto match = step.pattern.next_match(subject, done);
    if (match.kind == Regex::Match::Kind::none) break;
    if (match.kind == Regex::Match::Kind::gave_up) {
      cutter.keep({piece.begin + done, piece.end});
      return;
    }
    cutter.take({piece.begin + done, piece.begin + match.begin}, false);
    cutter.take({piece.begin + match.begin, piece.begin + match.end}, true);
    done = match.end;
  }
  cutter.take({piece.begin + done, piece.end}, false);
}

/// One step after another over all pieces.
struct Apply {
  Pieces& pieces;
  bool at_start;

  [[nodiscard]] std::string_view piece(const Range& range) const {
    return pieces.text.substr(range.begin, range.end - range.begin);
  }
  void begin() const {
    pieces.next_buffer.clear();
    pieces.next_ranges.clear();
  }
  void commit_text() const {
    std::swap(pieces.buffer, pieces.next_buffer);
    std::swap(pieces.ranges, pieces.next_ranges);
    pieces.text = pieces.buffer;
  }

  void operator()(const Pretokenizer::Split& step) const {
    begin();
    for (const Range& range : pieces.ranges) {
      cut_piece(step, pieces.text, range, pieces.next_ranges);
    }
    std::swap(pieces.ranges, pieces.next_ranges);
  }

  void operator()(const Pretokenizer::PrefixSpace&) const {
    begin();
    for (const Range& range : pieces.ranges) {
      const std::size_t start = pieces.next_buffer.size();
      if (pieces.text[range.begin] != ' ') pieces.next_buffer += ' ';
      pieces.next_buffer += piece(range);
      pieces.next_ranges.push_back({start, pieces.next_buffer.size()});
    }
    commit_text();
  }

  void operator()(const Pretokenizer::Metaspace& step) const {
    begin();
    std::string& out = pieces.next_buffer;
    for (const Range& range : pieces.ranges) {
      const std::string_view text = piece(range);
      const std::size_t start = out.size();
      const bool begun = text.front() == ' ' || text.starts_with(step.replacement);
      const bool first = at_start && &range == &pieces.ranges.front();
      const bool wanted = step.prepend == Pretokenizer::Metaspace::Prepend::always ||
                          (step.prepend == Pretokenizer::Metaspace::Prepend::first && first);
      if (wanted && !begun) out += step.replacement;
      for (const char c : text) {
        if (c == ' ') {
          out += step.replacement;
        } else {
          out += c;
        }
      }
      add_words(step, start, out);
    }
    commit_text();
  }

  void add_words(const Pretokenizer::Metaspace& step, std::size_t begin,
                 const std::string& text) const {
    if (step.split) {
      for (std::size_t next = text.find(step.replacement, begin + 1); next != std::string::npos;
           next = text.find(step.replacement, begin + 1)) {
        pieces.next_ranges.push_back({begin, next});
        begin = next;
      }
    }
    pieces.next_ranges.push_back({begin, text.size()});
  }
};

}  // namespace

bool Pretokenizer::keeps_text() const {
  return std::none_of(steps_.begin(), steps_.end(), [](const Step& step) {
    const auto* split = std::get_if<Split>(&step);
    return split != nullptr && split->behavior == Behavior::removed;
  });
}

void Pretokenizer::cut(std::string_view text, bool at_start, Pieces& pieces) const {
  pieces.text = text;
  pieces.ranges.assign(1, {0, text.size()});
  for (const Step& step : steps_) std::visit(Apply{pieces, at_start}, step);
}

}  // namespace tandem::model
