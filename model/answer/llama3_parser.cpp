// Calls as Llama 3 writes them. See tool_parser.hpp.
#include <optional>
#include <string>
#include <utility>

#include "model/answer/markers.hpp"
#include "model/answer/tool_parser.hpp"

namespace tandem::model {
namespace {

const ToolNames any_name;
constexpr std::string_view divider = ";";

class Llama3Parser final : public ToolParser {
 public:
  Llama3Parser(ToolNames names, bool single_call)
      : names_(std::move(names)), single_call_(single_call) {}

  void push(std::string_view text, AnswerParts& out) override;
  void finish(AnswerParts& out) override;
  [[nodiscard]] bool ended() const override { return mode_ == Mode::ended; }

 private:
  enum class Mode : std::uint8_t {
    begin,  ///< a call may stand here without a marker
    text,
    call,
    between,  ///< behind a call: another one may follow
    ended,
  };

  // Each takes from held_ what it understands. False: it needs more text to go on.
  bool read_begin();
  bool read_text(AnswerParts& out);
  bool read_call(AnswerParts& out);
  bool read_between();
  void begin_call(std::size_t marker_bytes);

  const ToolNames names_;
  const bool single_call_;
  Mode mode_ = Mode::begin;
  std::string held_;     ///< text that is not taken yet
  bool marked_ = false;  ///< behind the tag: any name is one
  std::optional<CallReader> call_;
  std::uint32_t num_calls_ = 0;
};

void Llama3Parser::push(std::string_view text, AnswerParts& out) {
  held_ += text;
  for (bool more = true; more;) {
    switch (mode_) {
      case Mode::begin: more = read_begin(); break;
      case Mode::text: more = read_text(out); break;
      case Mode::call: more = read_call(out); break;
      case Mode::between: more = read_between(); break;
      case Mode::ended: held_.clear(); return;
    }
  }
}

/// The first bytes of held_ are what stands in front of the call.
void Llama3Parser::begin_call(std::size_t marker_bytes) {
  call_.emplace(num_calls_, held_.substr(0, marker_bytes), marked_ ? any_name : names_);
  held_.erase(0, marker_bytes);
  mode_ = Mode::call;
}

bool Llama3Parser::read_begin() {
  const auto at = skip_space(held_);
  if (at == held_.size()) return false;
  if (at && held_[*at] == '{') {
    begin_call(*at);
  } else {
    mode_ = Mode::text;
  }
  return true;
}

bool Llama3Parser::read_text(AnswerParts& out) {
  const auto at = num_calls_ < max_calls ? held_.find(python_tag) : std::string::npos;
  const bool found = at != std::string::npos;
  const auto certain = found ? at : held_.size() - longest_beginning(held_, python_tag);
  append_content(out, held_.substr(0, certain));
  held_.erase(0, certain);
  if (!found) return false;
  marked_ = true;
  begin_call(python_tag.size());
  return true;
}

bool Llama3Parser::read_call(AnswerParts& out) {
  held_.erase(0, call_->push(held_, out));
  if (!call_->failed() && !call_->done()) return false;
  if (call_->announced()) ++num_calls_;
  mode_ = call_->done() ? Mode::between : Mode::text;
  // One that breaks off was announced all the same: another would be the second.
  if (single_call_ && call_->announced()) mode_ = Mode::ended;
  return true;
}

bool Llama3Parser::read_between() {
  const auto at = skip_space(held_, divider);
  if (at == held_.size()) return false;
  if (at && held_[*at] == '{' && num_calls_ < max_calls) {
    begin_call(*at);
  } else {
    mode_ = Mode::text;
  }
  return true;
}

void Llama3Parser::finish(AnswerParts& out) {
  if (mode_ == Mode::call) call_->finish(out);
  const bool only_space = skip_space(held_, divider) == held_.size();
  if (mode_ != Mode::between || !only_space) append_content(out, held_);
  held_.clear();
}

}  // namespace

std::unique_ptr<ToolParser> make_llama3_parser(ToolNames names, bool single_call) {
  return std::make_unique<Llama3Parser>(std::move(names), single_call);
}

}  // namespace tandem::model
