// The text of an answer, as it arrives, taken apart into reasoning, content and calls of tools.
// What there is to find is a property of the model's family (AnswerFormat); which of it is looked
// for is the call's affair.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/generate.hpp"
#include "model/answer/reasoning_parser.hpp"
#include "model/answer/tool_parser.hpp"

namespace tandem::model {

/// How the family of models writes calls.
enum class ToolFormat : std::uint8_t {
  unknown,  ///< nobody could tell: tools are refused
  none,     ///< calls stay in the text
  hermes,
  llama3_json,
};
std::string_view to_string(ToolFormat format);

/// How it writes its reasoning.
enum class ReasoningFormat : std::uint8_t {
  none,         ///< it stays in the text
  qwen3,        ///< from <think>, in the answer or at the end of its prompt, to </think>
  deepseek_r1,  ///< from the answer's beginning to </think>, unless its prompt closed it
};
std::string_view to_string(ReasoningFormat format);

struct AnswerFormat {
  ToolFormat tools = ToolFormat::unknown;
  ReasoningFormat reasoning = ReasoningFormat::none;
};

class AnswerParser {
 public:
  struct Options {
    ReasoningFormat reasoning = ReasoningFormat::none;
    PromptEnd prompt_end = PromptEnd::plain;
    ToolFormat tools = ToolFormat::none;  ///< none if the call has no tools
    ToolNames names;                      ///< of the call's tools
    bool single_call = false;             ///< the answer ends behind its first call
  };
  explicit AnswerParser(Options options);

  void push(std::string_view text, AnswerParts& out);
  /// Nothing more comes: what was held back leaves.
  void finish(AnswerParts& out);

  /// The single call is complete.
  [[nodiscard]] bool ended() const { return tools_ && tools_->ended(); }
  /// Null: it is not looked for.
  [[nodiscard]] const ReasoningParser* reasoning() const {
    return reasoning_ ? &*reasoning_ : nullptr;
  }

 private:
  void add_rest(std::string_view rest, AnswerParts& out);

  std::optional<ReasoningParser> reasoning_;
  std::unique_ptr<ToolParser> tools_;
};

/// The markers that are looked for. A tokenizer may have them as special tokens, whose text is then
/// to be shown to the parser.
std::vector<std::string_view> markers_of(const AnswerFormat& format);

}  // namespace tandem::model
