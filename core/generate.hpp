// What a caller asked for, after parsing and before tokenization: the value that net/ and the
// offline queue hand to request intake and item preparation. Pure data; ranges are already checked.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "core/request.hpp"
#include "core/units.hpp"

namespace tandem {

enum class Endpoint : std::uint8_t { completions, chat_completions, responses };

/// A call of a tool by an assistant, earlier in a conversation.
struct ToolCall {
  std::string id, name;
  std::string arguments;  ///< a JSON object

  friend bool operator==(const ToolCall&, const ToolCall&) = default;
};

struct ChatMessage {
  std::string role;  ///< system | developer | user | assistant | tool
  std::string content{};
  bool has_content = true;             ///< false: null, of an assistant that only called tools
  std::string reasoning{};             ///< of an assistant, in front of its content
  std::vector<ToolCall> tool_calls{};  ///< of an assistant, behind its content
  std::string tool_call_id{};          ///< of a tool: the call that its content answers
  std::string name{};                  ///< of who speaks; empty: not given

  friend bool operator==(const ChatMessage&, const ChatMessage&) = default;
};

/// A function that the model may ask its caller to call.
struct FunctionTool {
  std::string name;
  std::optional<std::string> description;
  std::string parameters;  ///< JSON Schema of its arguments: a JSON object
};

/// Text, token ids, or a conversation that the model's chat format renders.
using Prompt = std::variant<std::string, std::vector<TokenId>, std::vector<ChatMessage>>;

struct GenerateCall {
  Endpoint endpoint = Endpoint::completions;
  std::string model;
  /// At least one; more than one only for /v1/completions with a list of prompts.
  std::vector<Prompt> prompts;
  std::uint32_t n = 1;  ///< choices per prompt
  SamplingParams sampling;
  bool has_seed = false;             ///< sampling.seed was given by the caller
  std::optional<Tokens> max_tokens;  ///< unset: up to the context's end (completions: 16)
  std::vector<TokenId> stop_token_ids;
  std::vector<std::string> stop;   ///< at most 4
  bool include_stop_text = false;  ///< include_stop_str_in_output
  bool ignore_eos = false;
  bool echo = false;  ///< completions only
  RequestClass request_class = RequestClass::online;
  std::string service_tier;  ///< what the reply reports: "default" or "flex"
  std::string cache_salt;    ///< separates KV sharing; empty: the tenant's own
  std::vector<FunctionTool> tools;
  bool hide_tools = false;           ///< tool_choice: none
  bool parallel_tool_calls = true;   ///< false: an answer ends behind its first call
  std::string template_arguments{};  ///< chat_template_kwargs: a JSON object; empty: none
  bool prefill_only = false;  ///< generate: false: the prompt is computed for the prefix cache, and
                              ///< nothing is said
  bool stream = false;
  bool include_usage = false;        ///< stream_options.include_usage
  bool include_obfuscation = false;  ///< likewise: deltas are padded, lest sizes tell of the text
};

/// Calls of tools are asked for, and looked for in the answer.
inline bool offers_tools(const GenerateCall& call) {
  return !call.tools.empty() && !call.hide_tools;
}

/// What a chat's prompt ends with, hence where its answer begins.
enum class PromptEnd : std::uint8_t { plain, reasoning_opened, reasoning_closed };

/// One choice that the engine works on: its request id, the length of its prompt and its end.
struct AcceptedChoice {
  RequestId id{};
  Tokens prompt_tokens{0};
  PromptEnd prompt_end = PromptEnd::plain;
};

/// Tokens of a call, for `usage`.
struct Usage {
  Tokens prompt{0};
  Tokens completion{0};
  Tokens cached{0};
  Tokens reasoning{0};  ///< of the completion
};

}  // namespace tandem
