#include "model/answer/reasoning_parser.hpp"

#include "model/answer/markers.hpp"

namespace tandem::model {
namespace {

void append_reasoning(AnswerParts& out, std::string_view text) {
  append(out, AnswerPart{.kind = AnswerPart::Kind::reasoning, .text = std::string(text)});
}

}  // namespace

void ReasoningParser::push(std::string_view text, AnswerParts& out, std::string& rest) {
  held_ += text;
  pushed_ += text.size();
  for (bool more = true; more;) {
    switch (mode_) {
      case Mode::begin: more = read_begin(); break;
      case Mode::opened: more = read_opened(); break;
      case Mode::inside: more = read_inside(out); break;
      case Mode::closed: more = read_closed(); break;
      case Mode::rest:
        rest += held_;
        held_.clear();
        return;
    }
  }
}

bool ReasoningParser::read_begin() {
  const auto at = skip_space(held_);
  const auto text = std::string_view(held_).substr(at.value_or(0));
  if (at && text.starts_with(think_begin)) {
    begin_ = *at;
    held_.erase(0, *at + think_begin.size());
    mode_ = Mode::opened;
    return true;
  }
  if (at && think_begin.starts_with(text)) return false;
  mode_ = Mode::rest;
  return true;
}

bool ReasoningParser::read_opened() {
  held_.erase(0, held_.find_first_not_of('\n'));
  if (held_.empty()) return false;
  if (may_repeat_ && held_.starts_with(think_begin)) {
    held_.erase(0, think_begin.size());
    may_repeat_ = false;
    return true;
  }
  if (may_repeat_ && think_begin.starts_with(held_)) return false;
  mode_ = Mode::inside;
  return true;
}

bool ReasoningParser::read_inside(AnswerParts& out) {
  const auto at = held_.find(think_end);
  const bool found = at != std::string::npos;
  const auto certain = found ? at : held_.size() - longest_beginning(held_, think_end);
  const auto text = without_trailing_newlines(std::string_view(held_).substr(0, certain));
  const auto bytes = text.size();
  append_reasoning(out, text);
  held_.erase(0, found ? at + think_end.size() : bytes);
  if (!found) return false;
  end_ = settled();
  mode_ = Mode::closed;
  return true;
}

bool ReasoningParser::read_closed() {
  held_.erase(0, held_.find_first_not_of('\n'));
  if (held_.empty()) return false;
  mode_ = Mode::rest;
  return true;
}

void ReasoningParser::finish(AnswerParts& out, std::string& rest) {
  if (mode_ == Mode::inside || mode_ == Mode::opened) {
    append_reasoning(out, held_);
  } else {
    rest += held_;
  }
  held_.clear();
}

}  // namespace tandem::model
