// What a caller asked for, after parsing: tokens of a text, or the text of tokens, and nothing
// generated. Pure data.
#pragma once

#include <cstddef>
#include <memory>
#include <variant>
#include <vector>

#include "core/generate.hpp"
#include "core/units.hpp"

namespace tandem {

struct TokenizeCall {
  /// Its one prompt, a text or a conversation, becomes the tokens that a generation would start
  /// from.
  GenerateCall call;
  bool add_special = true;            ///< of a text: what the model wants around it
  bool add_generation_prompt = true;  ///< of a conversation: the header of the assistant's turn
  bool return_token_strings = false;  ///< entries of the vocabulary beside their ids
};

struct DetokenizeCall {
  std::vector<TokenId> tokens;
  std::size_t max_text_bytes = 0;  ///< more is an error
};

using TextCall = std::variant<TokenizeCall, DetokenizeCall>;
using TextCallPtr = std::shared_ptr<const TextCall>;

}  // namespace tandem
