// From a call to engine requests: render, tokenize, check against the limits, resolve defaults.
// Pure; request intake (online, flex) and the offline queue (items) share it.
#pragma once

#include <cstdint>
#include <vector>

#include "actors/served_model.hpp"
#include "core/generate.hpp"
#include "core/request.hpp"
#include "core/result.hpp"

namespace tandem {

struct PreparedCall {
  std::vector<Request> requests;            ///< for each prompt its n choices, prompt-major
  PromptEnd prompt_end = PromptEnd::plain;  ///< of a chat's one prompt
};

/// The engine requests of `call`. Ids and arrival are left for the caller to set. `default_seed`
/// seeds calls that name none; choice i of a call is seeded with seed + i. Errors: model_not_found,
/// context_length_exceeded, invalid_value (token id outside the vocabulary, empty prompt),
/// unsupported (no chat format, no tokenizer, tools that the model has no use for); each with
/// `param`.
Result<PreparedCall> prepare(const GenerateCall& call, const ServedModel& model,
                             std::string_view tenant, std::uint64_t default_seed);

}  // namespace tandem
