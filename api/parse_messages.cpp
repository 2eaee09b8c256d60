// Conversations on the wire: chat messages, and the items of a response's input. See
// parse_prompt.hpp.
#include <algorithm>
#include <boost/json.hpp>
#include <span>
#include <utility>

#include "api/parse_prompt.hpp"
#include "api/parse_tools.hpp"

namespace tandem::api {
namespace json = boost::json;
namespace {

constexpr std::size_t unbounded = SIZE_MAX;  // the body's size was bounded before it was parsed
constexpr std::size_t max_speaker_bytes = 256;
constexpr std::string_view must_follow =
    "what it led to, a message of the assistant or a function_call, must follow it";

using PartTypes = std::span<const std::string_view>;
constexpr std::string_view chat_parts[] = {"text"};
constexpr std::string_view response_parts[] = {"input_text", "output_text", "text"};
constexpr std::string_view reasoning_parts[] = {"summary_text", "reasoning_text"};

/// The text of a field that is a string or an array of text parts, as a message's content is.
/// `part_types` are allowed.
std::string read_text(Fields& fields, std::string_view name, PartTypes part_types) {
  const auto fail = [&](Errc code, const std::string& what) {
    fields.fail(code, "'" + fields.path(name) + "' " + what, name);
    return std::string();
  };
  const auto* content = fields.find(name);
  if (!content) return fail(Errc::invalid_value, "is missing");
  if (content->is_string()) return std::string(content->as_string());
  if (!content->is_array())
    return fail(Errc::invalid_value,
                "must be a string or an array of text parts, not " + describe(*content));
  std::string text;
  for (const auto& part : content->as_array()) {
    const auto* object = part.if_object();
    const auto* type = object ? object->if_contains("type") : nullptr;
    if (!type || !type->is_string())
      return fail(Errc::invalid_value, "holds a part without a 'type'");
    const std::string_view part_type(type->as_string());
    if (std::find(part_types.begin(), part_types.end(), part_type) == part_types.end())
      return fail(Errc::unsupported, "holds a part of type '" + excerpt(part_type, 32) +
                                         "'; this model reads text alone");
    const auto* value = object->if_contains("text");
    if (!value || !value->is_string())
      return fail(Errc::invalid_value, "holds a text part without 'text'");
    text += std::string_view(value->as_string());
  }
  return text;
}

std::string read_role(Fields& fields, bool with_tool) {
  static constexpr std::string_view roles[] = {"system", "developer", "user", "assistant", "tool"};
  const auto* end = std::end(roles) - (with_tool ? 0 : 1);
  const auto role = fields.string("role", 32);
  if (!fields.problem() && (!role || std::find(std::begin(roles), end, *role) == end))
    fields.fail(role == "tool" || role == "function" ? Errc::unsupported : Errc::invalid_value,
                "'" + fields.path("role") + "' " + (role ? "is '" + *role + "'" : "is missing") +
                    "; allowed are system, developer, user" +
                    (with_tool ? ", assistant and tool" : " and assistant"),
                "role");
  return role.value_or("");
}

void allow_for(Fields& fields, const ChatMessage& message, std::string_view name,
               std::string_view role) {
  if (message.role != role && fields.find(name))
    fields.fail(Errc::invalid_value,
                "'" + fields.path(name) + "' is for messages of the role " + std::string(role) +
                    ", and this one is of " + message.role,
                name);
}

/// What an assistant may have done beside talking, and whom a tool answers.
void read_tool_fields(Fields& fields, const ParseLimits& limits, ChatMessage& message) {
  message.tool_calls = read_tool_calls(fields, limits);
  if (!message.tool_calls.empty()) allow_for(fields, message, "tool_calls", "assistant");
  if (message.role == "assistant")
    message.reasoning = fields.string("reasoning_content", unbounded).value_or("");
  allow_for(fields, message, "reasoning_content", "assistant");
  if (message.role == "tool") message.tool_call_id = read_call_id(fields, "tool_call_id");
  allow_for(fields, message, "tool_call_id", "tool");
  for (const auto* name : {"function_call", "audio", "refusal"})
    fields.unsupported_unless_empty(name, "messages are text and calls of tools");
}

void read_content(Fields& fields, PartTypes part_types, ChatMessage& message) {
  const bool optional = !message.tool_calls.empty() || !message.reasoning.empty();
  if (optional && !fields.find("content")) {
    message.has_content = message.tool_calls.empty();
  } else {
    message.content = read_text(fields, "content", part_types);
  }
}

void require_message_type(Fields& fields) {
  if (const auto type = fields.string("type", 64); type && *type != "message")
    fields.fail(Errc::unsupported,
                "'" + fields.path("type") + "' is '" + *type + "'; allowed is message", "type");
}

const json::object* object_at(Fields& fields, const json::value& value, const std::string& where) {
  if (const auto* object = value.if_object()) return object;
  fields.fail(Errc::invalid_value, "'" + where + "' must be an object, not " + describe(value),
              where);
  return nullptr;
}

/// Items of a response's input, which are messages, and what belongs to messages.
class ItemReader {
 public:
  ItemReader(const ParseLimits& limits, std::vector<ChatMessage>& messages)
      : limits_(limits), messages_(messages) {}

  void read(Fields& item) {
    const auto type = item.string("type", 64).value_or("message");
    if (type == "function_call") return add_call(item);
    if (type == "function_call_output") return add_result(item);
    if (type == "reasoning") return add_reasoning(item);
    if (type == "message") return add_message(item);
    item.fail(Errc::unsupported,
              "'" + item.path("type") + "' is '" + type +
                  "'; allowed are message, function_call, function_call_output and reasoning",
              "type");
  }
  /// Nothing more comes.
  void finish(Fields& fields) const {
    if (!reasoning_.empty())
      fields.fail(Errc::invalid_value, "'input' ends with reasoning; " + std::string(must_follow),
                  "input");
  }

 private:
  /// Reasoning is its assistant's, whose words or calls follow it.
  void add_reasoning(Fields& item) {
    std::string text;
    for (const auto* name : {"summary", "content"})
      if (const auto* parts = item.find(name); parts && *parts != json::array())
        text = read_text(item, name, reasoning_parts);
    item.unsupported_unless_empty("encrypted_content", "reasoning is not encrypted here");
    reasoning_ += text;
  }

  void add_message(Fields& item) {
    ChatMessage message{read_role(item, false)};
    for (const auto* name : {"tool_calls", "function_call", "audio", "refusal"})
      item.unsupported_unless_empty(name, "calls are items of their own");
    if (item.problem()) return;
    message.content = read_text(item, "content", response_parts);
    if (message.role == "assistant") message.reasoning = std::exchange(reasoning_, {});
    require_no_reasoning(item, "role");
    messages_.push_back(std::move(message));
  }

  /// Calls behind each other, and behind what the assistant said, are one turn of it.
  void add_call(Fields& item) {
    auto call = read_called_function(item);
    call.id = read_call_id(item, "call_id");
    if (messages_.empty() || messages_.back().role != "assistant" || !reasoning_.empty()) {
      ChatMessage message{"assistant"};
      message.has_content = false;
      message.reasoning = std::exchange(reasoning_, {});
      messages_.push_back(std::move(message));
    }
    auto& calls = messages_.back().tool_calls;
    calls.push_back(std::move(call));
    if (calls.size() > limits_.max_tool_calls)
      item.fail(Errc::invalid_value,
                "'" + item.path("type") + "' is a function_call behind " +
                    std::to_string(limits_.max_tool_calls) + " others, which is the bound",
                "type");
  }

  void add_result(Fields& item) {
    ChatMessage message{"tool"};
    message.tool_call_id = read_call_id(item, "call_id");
    message.content = read_text(item, "output", response_parts);
    require_no_reasoning(item, "type");
    messages_.push_back(std::move(message));
  }

  void require_no_reasoning(Fields& fields, std::string_view name) const {
    if (reasoning_.empty()) return;
    fields.fail(Errc::invalid_value,
                "'" + fields.path(name) + "' is behind reasoning; " + std::string(must_follow),
                name);
  }

  const ParseLimits& limits_;
  std::vector<ChatMessage>& messages_;
  std::string reasoning_;
};

void read_items(Fields& fields, const json::array& items, const ParseLimits& limits,
                std::vector<ChatMessage>& messages) {
  if (items.empty())
    fields.fail(Errc::invalid_value, "'input' must hold at least one message", "input");
  ItemReader reader(limits, messages);
  for (std::size_t i = 0; i < items.size() && !fields.problem(); ++i) {
    const auto where = "input[" + std::to_string(i) + "]";
    const auto* object = object_at(fields, items[i], where);
    if (!object) return;
    Fields item(*object, where);
    reader.read(item);
    if (item.problem()) fields.fail(*item.problem());
  }
  reader.finish(fields);
}

}  // namespace

void read_messages(Fields& fields, const ParseLimits& limits, GenerateCall& call) {
  const auto* array = fields.array("messages", limits.max_messages);
  if (fields.problem()) return;
  if (!array || array->empty())
    return fields.fail(Errc::invalid_value, "'messages' must hold at least one message",
                       "messages");
  std::vector<ChatMessage> messages;
  for (std::size_t i = 0; i < array->size(); ++i) {
    const auto where = "messages[" + std::to_string(i) + "]";
    const auto* object = object_at(fields, (*array)[i], where);
    if (!object) return;
    Fields inner(*object, where);
    require_message_type(inner);
    ChatMessage message{read_role(inner, true)};
    if (!inner.problem()) {
      message.name = inner.string("name", max_speaker_bytes).value_or("");
      read_tool_fields(inner, limits, message);
      read_content(inner, chat_parts, message);
    }
    if (inner.problem()) return fields.fail(*inner.problem());
    messages.push_back(std::move(message));
  }
  call.prompts.emplace_back(std::move(messages));
}

void read_response_input(Fields& fields, const ParseLimits& limits, GenerateCall& call) {
  std::vector<ChatMessage> messages;
  if (auto instructions = fields.string("instructions", unbounded))
    messages.push_back({"system", std::move(*instructions)});
  const auto* input = fields.find("input");
  if (!input) return fields.fail(Errc::invalid_value, "'input' is missing", "input");
  if (input->is_string()) {
    messages.push_back({"user", std::string(input->as_string())});
  } else if (const auto* items = fields.array("input", limits.max_messages)) {
    read_items(fields, *items, limits, messages);
  }
  call.prompts.emplace_back(std::move(messages));
}

}  // namespace tandem::api
