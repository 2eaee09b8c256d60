// Tools on the wire: their definitions, whether they may be called, and calls that an assistant
// made earlier in a conversation.
#pragma once

#include <string>
#include <vector>

#include "api/json_fields.hpp"
#include "api/parse.hpp"
#include "core/generate.hpp"

namespace tandem::api {

/// `tools`, `tool_choice` and `parallel_tool_calls` of a chat or, in their own form, of a response.
void read_tools(Fields& fields, Endpoint endpoint, const ParseLimits& limits, GenerateCall& call);
/// `chat_template_kwargs`.
void read_template_arguments(Fields& fields, const ParseLimits& limits, GenerateCall& call);
/// `tool_calls` of a message that `inner` reads.
std::vector<ToolCall> read_tool_calls(Fields& inner, const ParseLimits& limits);
/// The name and the arguments of a call, which `fields` holds.
ToolCall read_called_function(Fields& fields);
/// The field `name`, which must be there: the id of a call.
std::string read_call_id(Fields& fields, std::string_view name);

}  // namespace tandem::api
