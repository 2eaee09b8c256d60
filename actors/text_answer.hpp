// What /tokenize and /detokenize answer. Pure.
#pragma once

#include "actors/messages.hpp"
#include "actors/served_model.hpp"
#include "core/result.hpp"
#include "core/text_call.hpp"

namespace tandem {

/// The JSON of the reply. A prompt may be longer than the model's context: that may be what a
/// caller wants to know. Errors: unsupported (no tokenizer, no chat format), those of rendering,
/// too_large (more text than the call allows).
Result<msg::TextBody> text_body(const TextCall& call, const ServedModel& model);

}  // namespace tandem
