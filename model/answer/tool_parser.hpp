// Calls of tools in the text of an answer, as it arrives: one family of models per implementation.
// What is no call is content, byte for byte, but for line ends around a call's markers. A call
// whose JSON breaks off after it was announced keeps what was well-formed, and the rest is content.
// The parts do not depend on how the text was cut into pieces.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "model/answer/answer_part.hpp"
#include "model/answer/call_reader.hpp"

namespace tandem::model {

class ToolParser {
 public:
  /// Calls of one answer; what looks like one more is content.
  static constexpr std::uint32_t max_calls = 128;

  virtual ~ToolParser() = default;
  virtual void push(std::string_view text, AnswerParts& out) = 0;
  /// Nothing more comes: what was held back is content, unless it is part of a call.
  virtual void finish(AnswerParts& out) = 0;
  /// Of an answer with a single call: that is complete, and what follows is not looked at.
  [[nodiscard]] virtual bool ended() const = 0;
};

/// Hermes and Qwen: <tool_call>{"name": …, "arguments": {…}}</tool_call>, so often as they like,
/// text in between.
inline constexpr std::string_view hermes_begin = "<tool_call>";
inline constexpr std::string_view hermes_end = "</tool_call>";
std::unique_ptr<ToolParser> make_hermes_parser(bool single_call);

/// Llama 3: an answer that is nothing but {"name": …, "parameters": {…}} of a tool among `names`,
/// or anything behind <|python_tag|>; several are divided by semicolons or white space.
inline constexpr std::string_view python_tag = "<|python_tag|>";
std::unique_ptr<ToolParser> make_llama3_parser(ToolNames names, bool single_call);

}  // namespace tandem::model
