#include "model/chat_values.hpp"

#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>

#include "model/utf8.hpp"

namespace tandem::model {
namespace {

using jinja::Value;
using Entries = std::vector<std::pair<Value, Value>>;

/// Neither is nested deeply, nor holds what no container may hold: making them cannot fail.
Value list_of(std::vector<Value> items) {
  return jinja::make_list(std::move(items)).value_or(jinja::None());
}
Value dict_of(Entries entries) {
  return jinja::make_dict(std::move(entries)).value_or(jinja::None());
}

Value outside(std::string_view text) { return Value::text(well_formed(text), true); }

/// JSON that was checked where it came in; None if it is none.
boost::json::value parsed(std::string_view json) {
  boost::json::parse_options options;
  options.max_depth = jinja::max_value_depth;
  boost::system::error_code failure;
  return boost::json::parse(boost::json::string_view(json.data(), json.size()), failure, {},
                            options);
}

Value content_value(const ChatMessage& message, const MessageStyle& style) {
  if (!message.has_content && !style.null_as_empty) return jinja::None();
  if (!style.content_as_parts) return outside(message.content);
  if (!message.has_content) return list_of({});
  return list_of({dict_of({{Value::text("type"), Value::text("text")},
                           {Value::text("text"), outside(message.content)}})});
}

Value call_value(const ToolCall& call, const MessageStyle& style) {
  auto arguments = style.arguments_as_text ? outside(call.arguments)
                                           : jinja::from_json(parsed(call.arguments), true);
  return dict_of(
      {{Value::text("id"), outside(call.id)},
       {Value::text("type"), Value::text("function")},
       {Value::text("function"), dict_of({{Value::text("name"), outside(call.name)},
                                          {Value::text("arguments"), std::move(arguments)}})}});
}

}  // namespace

/// The role is one of ours, and templates build markers from it: it does not count as from outside.
Value message_value(const ChatMessage& message, const MessageStyle& style) {
  const bool renamed = message.role == "developer" && style.renames_developer;
  Entries entries{{Value::text("role"), Value::text(renamed ? "system" : message.role)},
                  {Value::text("content"), content_value(message, style)}};
  const auto add_text = [&](const char* name, const std::string& text) {
    if (!text.empty()) entries.emplace_back(Value::text(name), outside(text));
  };
  add_text("reasoning_content", message.reasoning);
  if (!message.tool_calls.empty()) {
    std::vector<Value> calls;
    for (const auto& call : message.tool_calls) calls.push_back(call_value(call, style));
    entries.emplace_back(Value::text("tool_calls"), list_of(std::move(calls)));
  }
  add_text("tool_call_id", message.tool_call_id);
  add_text("name", message.name);
  return dict_of(std::move(entries));
}

Value tool_value(const FunctionTool& tool) {
  Entries function{{Value::text("name"), outside(tool.name)}};
  if (tool.description)
    function.emplace_back(Value::text("description"), outside(*tool.description));
  function.emplace_back(Value::text("parameters"), jinja::from_json(parsed(tool.parameters), true));
  return dict_of({{Value::text("type"), Value::text("function")},
                  {Value::text("function"), dict_of(std::move(function))}});
}

jinja::Variables variables_of(const Conversation& conversation, const MessageStyle& style,
                              const SpecialTokens& special) {
  std::vector<Value> said, offered;
  for (const auto& message : conversation.messages) said.push_back(message_value(message, style));
  for (const auto& tool : conversation.tools) offered.push_back(tool_value(tool));
  jinja::Variables variables{
      {"messages", list_of(std::move(said))},
      {"tools", offered.empty() ? Value(jinja::None()) : list_of(std::move(offered))},
      {"documents", jinja::None()},
      {"add_generation_prompt", Value(conversation.add_generation_prompt)}};
  for (const auto& [name, content] : special) variables.emplace_back(name, Value::text(content));
  const auto& arguments = conversation.arguments;
  const auto more = arguments.empty() ? boost::json::value() : parsed(arguments);
  if (const auto* object = more.if_object())
    for (const auto& [name, value] : *object)
      variables.emplace_back(std::string(name), jinja::from_json(value, true));
  return variables;
}

}  // namespace tandem::model
