// Calls as Hermes and Qwen write them. See tool_parser.hpp.
#include <optional>
#include <string>

#include "model/answer/markers.hpp"
#include "model/answer/tool_parser.hpp"

namespace tandem::model {
namespace {

const ToolNames any_name;

class HermesParser final : public ToolParser {
 public:
  explicit HermesParser(bool single_call) : single_call_(single_call) {}

  void push(std::string_view text, AnswerParts& out) override;
  void finish(AnswerParts& out) override;
  [[nodiscard]] bool ended() const override { return mode_ == Mode::ended; }

 private:
  enum class Mode : std::uint8_t {
    text,
    call,     ///< behind the marker that begins one
    closing,  ///< behind its JSON: the marker that ends it should come
    closed,   ///< behind that: line ends are its own
    ended,
  };

  // Each takes from held_ what it understands. False: it needs more text to go on.
  bool read_text(AnswerParts& out);
  bool read_call(AnswerParts& out);
  bool read_closing();
  bool read_closed();

  const bool single_call_;
  Mode mode_ = Mode::text;
  std::string held_;  ///< text that is not taken yet
  std::optional<CallReader> call_;
  std::uint32_t num_calls_ = 0;
};

void HermesParser::push(std::string_view text, AnswerParts& out) {
  held_ += text;
  for (bool more = true; more;) {
    switch (mode_) {
      case Mode::text: more = read_text(out); break;
      case Mode::call: more = read_call(out); break;
      case Mode::closing: more = read_closing(); break;
      case Mode::closed: more = read_closed(); break;
      case Mode::ended: held_.clear(); return;
    }
  }
}

bool HermesParser::read_text(AnswerParts& out) {
  const auto at = num_calls_ < max_calls ? held_.find(hermes_begin) : std::string::npos;
  const bool found = at != std::string::npos;
  const auto certain = found ? at : held_.size() - longest_beginning(held_, hermes_begin);
  const auto content = without_trailing_newlines(std::string_view(held_).substr(0, certain));
  const auto content_bytes = content.size();
  append_content(out, std::string(content));
  if (found) {
    const auto end = at + hermes_begin.size();
    call_.emplace(num_calls_, held_.substr(content_bytes, end - content_bytes), any_name);
    held_.erase(0, end);
    mode_ = Mode::call;
  } else {
    held_.erase(0, content_bytes);
  }
  return found;
}

bool HermesParser::read_call(AnswerParts& out) {
  held_.erase(0, call_->push(held_, out));
  if (!call_->failed() && !call_->done()) return false;
  if (call_->announced()) ++num_calls_;
  mode_ = call_->announced() ? Mode::closing : Mode::text;
  // One that breaks off was announced all the same: another would be the second.
  if (single_call_ && call_->announced()) mode_ = Mode::ended;
  return true;
}

bool HermesParser::read_closing() {
  const auto at = skip_space(held_);
  if (at == held_.size()) return false;
  const auto rest = std::string_view(held_).substr(at.value_or(0));
  if (rest.starts_with(hermes_end)) {
    held_.erase(0, *at + hermes_end.size());
    mode_ = Mode::closed;
    return true;
  }
  if (at && hermes_end.starts_with(rest)) return false;
  mode_ = Mode::text;
  return true;
}

bool HermesParser::read_closed() {
  held_.erase(0, held_.find_first_not_of('\n'));
  if (held_.empty()) return false;
  mode_ = Mode::text;
  return true;
}

void HermesParser::finish(AnswerParts& out) {
  if (mode_ == Mode::call) call_->finish(out);
  const bool only_space = skip_space(held_) == held_.size();
  if (mode_ != Mode::closing || !only_space) append_content(out, held_);
  held_.clear();
}

}  // namespace

std::unique_ptr<ToolParser> make_hermes_parser(bool single_call) {
  return std::make_unique<HermesParser>(single_call);
}

}  // namespace tandem::model
