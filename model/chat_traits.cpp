#include "model/chat_traits.hpp"

#include <algorithm>
#include <ctime>
#include <optional>
#include <string>

namespace tandem::model {
namespace {

/// More than any template takes for a short conversation.
constexpr jinja::Limits trial_limits{
    .max_work = 1'000'000, .max_output_bytes = 4 << 20, .max_level = 600};

// Words that no template has of its own. The id is one that Mistral's templates take.
constexpr std::string_view said = "a text to be found again";
constexpr std::string_view tool_name = "tool_to_be_found";
constexpr std::string_view argument = "argument to be found";
constexpr std::string_view result = "result to be found";
constexpr std::string_view call_id = "call00001";

/// A template on trial.
class Trial {
 public:
  Trial(const jinja::Template& source, const SpecialTokens& special)
      : source_(source), special_(special) {}

  /// The text of a conversation; empty if the template refuses it.
  [[nodiscard]] std::string render(const std::vector<ChatMessage>& messages,
                                   const std::vector<FunctionTool>& tools,
                                   const MessageStyle& style) const {
    auto text =
        source_.render(variables_of({.messages = messages, .tools = tools}, style, special_),
                       std::time(nullptr), trial_limits);
    return text ? std::move(text->bytes) : std::string();
  }

 private:
  const jinja::Template& source_;
  const SpecialTokens& special_;
};

bool holds(std::string_view text, std::initializer_list<std::string_view> words) {
  return std::all_of(words.begin(), words.end(),
                     [&](auto word) { return text.find(word) != text.npos; });
}

ChatMessage user() { return {"user", std::string(said)}; }

std::vector<FunctionTool> one_tool() {
  return {
      {std::string(tool_name), "what it does",
       R"({"type": "object", "properties": {"key": {"type": "string", "description": "what"}}})"}};
}

/// A user asks, the assistant calls a tool and says nothing, the tool answers.
std::vector<ChatMessage> called() {
  ChatMessage call{"assistant"};
  call.has_content = false;
  call.tool_calls.push_back({std::string(call_id), std::string(tool_name),
                             R"({"key": ")" + std::string(argument) + "\"}"});
  ChatMessage answer{"tool", std::string(result)};
  answer.tool_call_id = call_id;
  return {user(), call, answer};
}

bool prefers_parts(const Trial& trial) {
  const auto shows = [&](bool as_parts) {
    return holds(trial.render({user()}, {}, {.content_as_parts = as_parts}), {said});
  };
  return !shows(false) && shows(true);
}

bool shows_tools(const Trial& trial, const MessageStyle& style) {
  return holds(trial.render({user()}, one_tool(), style), {tool_name}) ||
         holds(trial.render({{"system", "x"}, user()}, one_tool(), style), {tool_name});
}

/// Finds the style in which a call and its result show, and sets it; the text that they gave.
std::optional<std::string> find_call_style(const Trial& trial, MessageStyle& style) {
  const auto messages = called();
  for (const bool with_tools : {false, true}) {
    for (const bool as_text : {false, true}) {
      for (const bool as_empty : {false, true}) {
        auto tried = style;
        tried.arguments_as_text = as_text;
        tried.null_as_empty = as_empty;
        auto text =
            trial.render(messages, with_tools ? one_tool() : std::vector<FunctionTool>(), tried);
        // Some write an id that has the name in it.
        if (!holds(text, {argument, result})) continue;
        if (!holds(text, {tool_name}) && !holds(text, {call_id})) continue;
        if (!as_empty && holds(text, {"None"})) continue;
        style = tried;
        return text;
      }
    }
  }
  return std::nullopt;
}

/// `text` has the call, read by the parser of `format`, in front of all else that it says.
bool reads_call(ToolFormat format, std::string_view text) {
  AnswerParser parser({.tools = format, .names = {std::string(tool_name)}});
  AnswerParts parts;
  parser.push(text, parts);
  parser.finish(parts);
  return std::any_of(parts.begin(), parts.end(), [](const AnswerPart& part) {
    return part.name == tool_name && holds(part.text, {argument});
  });
}

/// `text` is that of a call. The marks of Hermes are found wherever they stand; a call of Llama 3
/// is one only where the assistant's turn begins, which is where its words would.
ToolFormat format_of(const Trial& trial, const MessageStyle& style, const std::string& text) {
  if (reads_call(ToolFormat::hermes, text)) return ToolFormat::hermes;
  const auto spoken = trial.render({user(), {"assistant", std::string(argument)}}, {}, style);
  const auto begin = std::min(spoken.find(argument), spoken.size());
  if (begin < text.size() && text.starts_with(spoken.substr(0, begin)) &&
      reads_call(ToolFormat::llama3_json, std::string_view(text).substr(begin)))
    return ToolFormat::llama3_json;
  return ToolFormat::unknown;
}

bool is_word(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

}  // namespace

TemplateTraits traits_of(const jinja::Template& source, const SpecialTokens& special) {
  const Trial trial(source, special);
  TemplateTraits traits;
  traits.style.renames_developer = source.source().find("developer") == std::string::npos;
  traits.style.content_as_parts = prefers_parts(trial);
  traits.shows_tools = shows_tools(trial, traits.style);
  if (const auto text = find_call_style(trial, traits.style)) {
    traits.shows_calls = true;
    traits.tool_format = format_of(trial, traits.style, *text);
  }
  traits.mentions_reasoning =
      holds(source.source(), {think_begin}) || holds(source.source(), {think_end});
  return traits;
}

bool mentions(const jinja::Template& source, std::string_view name) {
  const std::string_view text = source.source();
  for (auto at = text.find(name); at != text.npos; at = text.find(name, at + 1)) {
    const auto end = at + name.size();
    if ((at == 0 || !is_word(text[at - 1])) && (end == text.size() || !is_word(text[end])))
      return true;
  }
  return false;
}

}  // namespace tandem::model
