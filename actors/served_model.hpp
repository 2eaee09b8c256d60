// What the front needs to know of the model: its name, its text side and its limits. Immutable and
// shared.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "api/parse.hpp"
#include "core/units.hpp"
#include "model/chat_format.hpp"
#include "model/model_config.hpp"
#include "model/tokenizer.hpp"

namespace tandem {

struct ServedModel {
  std::string name;
  /// `system_fingerprint`: another one where the same seed may give other tokens. Empty: not known.
  std::string fingerprint;
  model::ModelConfig config;
  model::TokenizerPtr
      tokenizer;  ///< null: the folder has none; prompts must be token ids, no text comes out
  model::ChatFormat chat_format;
  model::AnswerFormat answer_format;  ///< what answers to chats are taken apart into
  Tokens max_context{0};  ///< the smaller of the model's, the option's and what the KV cache holds
  std::int64_t created_at = 0;  ///< for /v1/models, unix seconds
};
using ServedModelPtr = std::shared_ptr<const ServedModel>;

/// `limits` with what only the model knows.
inline api::ParseLimits limits_for(const ServedModel& model, api::ParseLimits limits) {
  limits.model = model.name;
  limits.vocab_size = model.config.vocab_size;
  return limits;
}

}  // namespace tandem
