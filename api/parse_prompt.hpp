// The prompt in its many forms: completions' prompts, chat messages, Responses' input.
#pragma once

#include "api/json_fields.hpp"
#include "api/parse.hpp"
#include "core/generate.hpp"

namespace tandem::api {

/// `prompt`: a string, an array of strings, an array of token ids, an array of such arrays.
void read_completion_prompts(Fields& fields, const ParseLimits& limits, GenerateCall& call);
/// The ids in `array`, the value of the field `name`; all are of the vocabulary.
std::vector<TokenId> read_token_ids(Fields& fields, const boost::json::array& array,
                                    std::string_view name, const ParseLimits& limits);
/// `messages`.
void read_messages(Fields& fields, const ParseLimits& limits, GenerateCall& call);
/// `input` (a string, or items: messages, calls, results of calls, reasoning) with `instructions`
/// in front.
void read_response_input(Fields& fields, const ParseLimits& limits, GenerateCall& call);

}  // namespace tandem::api
