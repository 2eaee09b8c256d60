#include "model/answer/answer_parser.hpp"

#include <utility>

namespace tandem::model {
namespace {

std::optional<ReasoningParser> reasoning_parser(const AnswerParser::Options& options) {
  if (options.reasoning == ReasoningFormat::none) return std::nullopt;
  const bool inside =
      options.prompt_end == PromptEnd::reasoning_opened ||
      (options.prompt_end == PromptEnd::plain && options.reasoning == ReasoningFormat::deepseek_r1);
  return ReasoningParser(inside);
}

std::unique_ptr<ToolParser> tool_parser(AnswerParser::Options options) {
  switch (options.tools) {
    case ToolFormat::hermes: return make_hermes_parser(options.single_call);
    case ToolFormat::llama3_json:
      return make_llama3_parser(std::move(options.names), options.single_call);
    case ToolFormat::unknown:
    case ToolFormat::none: break;
  }
  return nullptr;
}

}  // namespace

AnswerParser::AnswerParser(Options options)
    : reasoning_(reasoning_parser(options)), tools_(tool_parser(std::move(options))) {}

void AnswerParser::push(std::string_view text, AnswerParts& out) {
  if (!reasoning_) return add_rest(text, out);
  std::string rest;
  reasoning_->push(text, out, rest);
  add_rest(rest, out);
}

void AnswerParser::add_rest(std::string_view rest, AnswerParts& out) {
  if (rest.empty()) return;
  if (!tools_) return append_content(out, std::string(rest));
  tools_->push(rest, out);
}

void AnswerParser::finish(AnswerParts& out) {
  std::string rest;
  if (reasoning_) reasoning_->finish(out, rest);
  add_rest(rest, out);
  if (tools_) tools_->finish(out);
}

std::string_view to_string(ToolFormat format) {
  switch (format) {
    case ToolFormat::unknown: return "unknown";
    case ToolFormat::none: return "none";
    case ToolFormat::hermes: return "hermes";
    case ToolFormat::llama3_json: return "llama3_json";
  }
  return "unknown";
}

std::string_view to_string(ReasoningFormat format) {
  switch (format) {
    case ReasoningFormat::none: return "none";
    case ReasoningFormat::qwen3: return "qwen3";
    case ReasoningFormat::deepseek_r1: return "deepseek_r1";
  }
  return "none";
}

std::vector<std::string_view> markers_of(const AnswerFormat& format) {
  std::vector<std::string_view> markers;
  if (format.reasoning != ReasoningFormat::none) markers = {think_begin, think_end};
  if (format.tools == ToolFormat::hermes) markers.insert(markers.end(), {hermes_begin, hermes_end});
  if (format.tools == ToolFormat::llama3_json) markers.push_back(python_tag);
  return markers;
}

}  // namespace tandem::model
