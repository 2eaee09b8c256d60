// From a call to engine requests: render, tokenize, check against the limits, resolve defaults.
// Pure; request intake (online, flex) and the offline queue (items) share it.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "actors/prepared_call.hpp"
#include "actors/served_model.hpp"
#include "core/result.hpp"

namespace tandem {

/// Why `call` need not be tokenized: another model is asked for, or the size of a prompt alone
/// shows that it is too long. Costs next to nothing.
std::optional<Error> refuse_unread(const GenerateCall& call, const ServedModel& model);

struct EncodeOptions {
  bool add_special = true;            ///< of a text: what the model wants around it
  bool add_generation_prompt = true;  ///< of a conversation: the header of the assistant's turn
  std::optional<Tokens> max_tokens = std::nullopt;  ///< of a conversation: see model::Conversation
};
/// The tokens of `prompt`, one of the call's. Errors: those of prepare() that are about the prompt
/// alone.
Result<model::RenderedPrompt> encode(const GenerateCall& call, const Prompt& prompt,
                                     const ServedModel& model, const EncodeOptions& options);

/// The engine requests of `call`. Ids and arrival are left for the caller to set. `default_seed`
/// seeds calls that name none; choice i of a call is seeded with seed + i. Errors: model_not_found,
/// context_length_exceeded, invalid_value (token id outside the vocabulary, empty prompt),
/// unsupported (no chat format, no tokenizer, tools that the model has no use for); each with
/// `param`.
Result<PreparedCall> prepare(const GenerateCall& call, const ServedModel& model,
                             std::string_view tenant, std::uint64_t default_seed);

}  // namespace tandem
