// See parse_tools.hpp.
#include "api/parse_tools.hpp"

#include <algorithm>
#include <boost/json.hpp>

namespace tandem::api {
namespace json = boost::json;
namespace {

constexpr std::size_t max_tool_name = 64;
constexpr std::size_t max_called_name = 256;  // of a model's own making
constexpr std::size_t max_call_id = 256;
constexpr std::string_view no_parameters = R"({"type":"object","properties":{}})";

bool is_tool_name(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           c == '-';
  });
}

/// One function's fields: those of `function` in a chat's tool, of the tool itself in a response's.
FunctionTool read_function(Fields& fields, const ParseLimits& limits) {
  FunctionTool tool;
  tool.name = fields.string("name", max_tool_name).value_or("");
  if (!is_tool_name(tool.name))
    fields.fail(Errc::invalid_value,
                "'" + fields.path("name") + "' is '" + tool.name + "'; allowed are 1 to " +
                    std::to_string(max_tool_name) + " characters of A-Z, a-z, 0-9, '_' and '-'",
                "name");
  tool.description = fields.string("description", limits.max_tool_bytes);
  const auto* parameters = fields.object("parameters");
  tool.parameters = parameters ? json::serialize(*parameters) : std::string(no_parameters);
  if (fields.boolean("strict").value_or(false))
    fields.fail(Errc::unsupported,
                "'" + fields.path("strict") +
                    "' is not supported: arguments are not held to their schema while they are "
                    "generated; leave it out, or send false",
                "strict");
  fields.refuse_unknown();
  return tool;
}

std::optional<FunctionTool> read_tool(const json::value& value, const std::string& where,
                                      Endpoint endpoint, const ParseLimits& limits,
                                      Fields& fields) {
  const auto fail = [&](const Error& reason) {
    fields.fail(reason);
    return std::nullopt;
  };
  if (!value.is_object())
    return fail(error(Errc::invalid_value,
                      "'" + where + "' must be an object, not " + describe(value), where));
  Fields tool(value.as_object(), where);
  const auto type = tool.string("type", 64);
  if (!tool.problem() && type != "function")
    tool.fail(type ? Errc::unsupported : Errc::invalid_value,
              "'" + where + ".type' " + (type ? "is '" + *type + "'" : "is missing") +
                  "; allowed is function",
              "type");
  if (tool.problem()) return fail(*tool.problem());
  if (endpoint == Endpoint::responses) {
    auto read = read_function(tool, limits);
    if (tool.problem()) return fail(*tool.problem());
    return read;
  }
  const auto* object = tool.object("function");
  if (!object) tool.fail(Errc::invalid_value, "'" + where + ".function' is missing", "function");
  tool.refuse_unknown();
  if (tool.problem()) return fail(*tool.problem());
  Fields function(*object, where + ".function");
  auto read = read_function(function, limits);
  if (function.problem()) return fail(*function.problem());
  return read;
}

void read_definitions(Fields& fields, Endpoint endpoint, const ParseLimits& limits,
                      GenerateCall& call) {
  const auto* tools = fields.array("tools", limits.max_tools);
  if (!tools) return;
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < tools->size(); ++i) {
    const auto where = "tools[" + std::to_string(i) + "]";
    auto tool = read_tool((*tools)[i], where, endpoint, limits, fields);
    if (!tool) return;
    for (const auto& other : call.tools)
      if (other.name == tool->name)
        return fields.fail(Errc::invalid_value,
                           "'" + where + "' has the name '" + tool->name +
                               "', which another tool has; names must differ",
                           where);
    bytes += tool->name.size() + tool->description.value_or("").size() + tool->parameters.size();
    if (bytes > limits.max_tool_bytes)
      return fields.fail(Errc::invalid_value,
                         "'tools' are described in more than " +
                             std::to_string(limits.max_tool_bytes) + " bytes, which is the bound",
                         "tools");
    call.tools.push_back(std::move(*tool));
  }
}

/// What a model may do can be left to it or be kept from it; it cannot be made to call.
void read_choice(Fields& fields, GenerateCall& call) {
  const auto* choice = fields.find("tool_choice");
  if (!choice || *choice == "auto") return;
  if (*choice == "none") {
    call.hide_tools = true;
  } else if (*choice == "required" || choice->is_object()) {
    fields.fail(Errc::unsupported,
                "'tool_choice' is " + describe(*choice) +
                    ", which is not supported: whether and what a model calls cannot be enforced; "
                    "allowed are auto and none",
                "tool_choice");
  } else {
    fields.fail(Errc::invalid_value,
                "'tool_choice' is " + describe(*choice) + "; allowed are auto and none",
                "tool_choice");
  }
}

/// A field that must be there, a string that is not empty.
std::string required_text(Fields& fields, std::string_view name, std::size_t max_bytes) {
  auto text = fields.string(name, max_bytes);
  if (!text || text->empty())
    fields.fail(Errc::invalid_value,
                "'" + fields.path(name) + "' is " + (text ? "empty" : "missing"), name);
  return std::move(text).value_or("");
}

std::optional<ToolCall> read_tool_call(const json::value& value, const std::string& where,
                                       Fields& fields) {
  if (!value.is_object()) {
    fields.fail(error(Errc::invalid_value,
                      "'" + where + "' must be an object, not " + describe(value), where));
    return std::nullopt;
  }
  Fields call(value.as_object(), where);
  auto id = read_call_id(call, "id");
  const auto type = call.string("type", 64).value_or("function");
  if (type != "function")
    call.fail(Errc::unsupported, "'" + where + ".type' is '" + type + "'; allowed is function",
              "type");
  const auto* object = call.object("function");
  if (!object) call.fail(Errc::invalid_value, "'" + where + ".function' is missing", "function");
  ToolCall read;
  if (!call.problem()) {
    Fields function(*object, where + ".function");
    read = read_called_function(function);
    if (function.problem()) call.fail(*function.problem());
  }
  if (call.problem()) {
    fields.fail(*call.problem());
    return std::nullopt;
  }
  read.id = std::move(id);
  return read;
}

}  // namespace

void read_tools(Fields& fields, Endpoint endpoint, const ParseLimits& limits, GenerateCall& call) {
  read_definitions(fields, endpoint, limits, call);
  read_choice(fields, call);
  call.parallel_tool_calls = fields.boolean("parallel_tool_calls").value_or(true);
}

void read_template_arguments(Fields& fields, const ParseLimits& limits, GenerateCall& call) {
  const auto* arguments = fields.object("chat_template_kwargs");
  if (!arguments || arguments->empty()) return;
  if (arguments->size() > limits.max_template_arguments)
    return fields.fail(Errc::invalid_value,
                       "'chat_template_kwargs' has " + std::to_string(arguments->size()) +
                           " entries; allowed are at most " +
                           std::to_string(limits.max_template_arguments),
                       "chat_template_kwargs");
  call.template_arguments = json::serialize(*arguments);
  if (call.template_arguments.size() > limits.max_template_argument_bytes)
    fields.fail(Errc::invalid_value,
                "'chat_template_kwargs' has " + std::to_string(call.template_arguments.size()) +
                    " bytes; allowed are at most " +
                    std::to_string(limits.max_template_argument_bytes),
                "chat_template_kwargs");
}

std::vector<ToolCall> read_tool_calls(Fields& inner, const ParseLimits& limits) {
  std::vector<ToolCall> calls;
  const auto* array = inner.array("tool_calls", limits.max_tool_calls);
  if (!array) return calls;
  for (std::size_t i = 0; i < array->size(); ++i) {
    auto call =
        read_tool_call((*array)[i], inner.path("tool_calls[" + std::to_string(i) + "]"), inner);
    if (!call) break;
    calls.push_back(std::move(*call));
  }
  return calls;
}

ToolCall read_called_function(Fields& fields) {
  ToolCall call;
  call.name = required_text(fields, "name", max_called_name);
  auto arguments = fields.string("arguments", SIZE_MAX);
  if (!arguments)
    fields.fail(Errc::invalid_value, "'" + fields.path("arguments") + "' is missing", "arguments");
  call.arguments = std::move(arguments).value_or("");
  // Of a function without parameters, some say nothing.
  if (call.arguments.empty()) call.arguments = "{}";
  if (const auto object = parse_object(call.arguments, "'" + fields.path("arguments") + "'");
      !object)
    fields.fail(object.error().code, object.error().message, "arguments");
  return call;
}

std::string read_call_id(Fields& fields, std::string_view name) {
  return required_text(fields, name, max_call_id);
}

}  // namespace tandem::api
