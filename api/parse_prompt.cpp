// See parse_prompt.hpp.
#include "api/parse_prompt.hpp"

#include <algorithm>
#include <boost/json.hpp>

namespace tandem::api {
namespace json = boost::json;
namespace {

constexpr std::size_t unbounded = SIZE_MAX;  // the body's size was bounded before it was parsed

bool is_token_array(const json::value& value) {
  return value.is_array() && !value.as_array().empty() && value.as_array().front().is_number();
}

void add_prompt(Fields& fields, const json::value& value, const ParseLimits& limits,
                GenerateCall& call) {
  if (value.is_string())
    return static_cast<void>(call.prompts.emplace_back(std::string(value.as_string())));
  if (is_token_array(value))
    return static_cast<void>(
        call.prompts.emplace_back(read_token_ids(fields, value.as_array(), "prompt", limits)));
  fields.fail(Errc::invalid_value,
              "'prompt' must be a string, an array of strings, an array of token ids or an array "
              "of such arrays, not " +
                  describe(value),
              "prompt");
}

/// The text of a message's content: a string, or an array of text parts. `part_types` are allowed.
std::optional<std::string> content_text(Fields& fields, const json::value& content,
                                        const std::string& where,
                                        std::initializer_list<std::string_view> part_types) {
  if (content.is_string()) return std::string(content.as_string());
  const auto fail = [&](Errc code, const std::string& what) {
    fields.fail(code, "'" + where + ".content' " + what, where + ".content");
    return std::nullopt;
  };
  if (!content.is_array())
    return fail(Errc::invalid_value,
                "must be a string or an array of text parts, not " + describe(content));
  std::string text;
  for (const auto& part : content.as_array()) {
    const auto* object = part.if_object();
    const auto* type = object ? object->if_contains("type") : nullptr;
    if (!type || !type->is_string())
      return fail(Errc::invalid_value, "holds a part without a 'type'");
    const std::string_view name(type->as_string());
    if (std::find(part_types.begin(), part_types.end(), name) == part_types.end())
      return fail(Errc::unsupported,
                  "holds a part of type '" + excerpt(name, 32) + "'; this model reads text alone");
    const auto* value = object->if_contains("text");
    if (!value || !value->is_string())
      return fail(Errc::invalid_value, "holds a text part without 'text'");
    text += std::string_view(value->as_string());
  }
  return text;
}

void add_message(Fields& fields, const json::value& value, const std::string& where,
                 std::initializer_list<std::string_view> part_types,
                 std::vector<ChatMessage>& messages) {
  if (!value.is_object())
    return fields.fail(Errc::invalid_value,
                       "'" + where + "' must be an object, not " + describe(value), where);
  Fields inner(value.as_object(), where);
  if (const auto type = inner.string("type", 64); type && *type != "message")
    inner.fail(Errc::unsupported, "'" + where + ".type' is '" + *type + "'; allowed is message",
               "type");
  const auto role = inner.string("role", 32);
  static constexpr std::string_view roles[] = {"system", "developer", "user", "assistant"};
  if (!inner.problem() &&
      (!role || std::find(std::begin(roles), std::end(roles), *role) == std::end(roles)))
    inner.fail(role == "tool" || role == "function" ? Errc::unsupported : Errc::invalid_value,
               "'" + where + ".role' " + (role ? "is '" + *role + "'" : "is missing") +
                   "; allowed are system, developer, user and assistant",
               "role");
  for (const auto* name : {"tool_calls", "function_call", "audio", "refusal"})
    inner.unsupported_unless_empty(name, "messages are text alone");
  const auto* content = inner.find("content");
  if (!content) inner.fail(Errc::invalid_value, "'" + where + ".content' is missing", "content");
  if (inner.problem()) return fields.fail(*inner.problem());
  auto text = content_text(fields, *content, where, part_types);
  if (text) messages.push_back({*role, std::move(*text)});
}

}  // namespace

std::vector<TokenId> read_token_ids(Fields& fields, const json::array& array, std::string_view name,
                                    const ParseLimits& limits) {
  std::vector<TokenId> ids;
  ids.reserve(array.size());
  for (const auto& value : array) {
    if (!value.is_int64() || value.as_int64() < 0 || value.as_int64() >= limits.vocab_size) {
      fields.fail(Errc::invalid_value,
                  "'" + std::string(name) + "' holds " + describe(value) +
                      "; allowed are token ids from 0 to " + std::to_string(limits.vocab_size - 1),
                  name);
      return {};
    }
    ids.push_back(static_cast<TokenId>(value.as_int64()));
  }
  return ids;
}

void read_completion_prompts(Fields& fields, const ParseLimits& limits, GenerateCall& call) {
  const auto* prompt = fields.find("prompt");
  if (!prompt) return fields.fail(Errc::invalid_value, "'prompt' is missing", "prompt");
  if (!prompt->is_array() || is_token_array(*prompt))
    return add_prompt(fields, *prompt, limits, call);
  const auto& prompts = prompt->as_array();
  if (prompts.empty() || prompts.size() > limits.max_prompts)
    return fields.fail(Errc::invalid_value,
                       "'prompt' has " + std::to_string(prompts.size()) +
                           " prompts; allowed are 1 to " + std::to_string(limits.max_prompts),
                       "prompt");
  for (const auto& value : prompts) add_prompt(fields, value, limits, call);
}

void read_messages(Fields& fields, const ParseLimits& limits, GenerateCall& call) {
  const auto* array = fields.array("messages", limits.max_messages);
  if (fields.problem()) return;
  if (!array || array->empty())
    return fields.fail(Errc::invalid_value, "'messages' must hold at least one message",
                       "messages");
  std::vector<ChatMessage> messages;
  for (std::size_t i = 0; i < array->size() && !fields.problem(); ++i)
    add_message(fields, (*array)[i], "messages[" + std::to_string(i) + "]", {"text"}, messages);
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
    if (items->empty())
      fields.fail(Errc::invalid_value, "'input' must hold at least one message", "input");
    for (std::size_t i = 0; i < items->size() && !fields.problem(); ++i)
      add_message(fields, (*items)[i], "input[" + std::to_string(i) + "]",
                  {"input_text", "output_text", "text"}, messages);
  }
  call.prompts.emplace_back(std::move(messages));
}

}  // namespace tandem::api
