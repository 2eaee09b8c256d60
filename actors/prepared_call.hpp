// A call before and after tokenization, as actors hand it on.
#pragma once

#include <memory>
#include <vector>

#include "core/generate.hpp"
#include "core/request.hpp"

namespace tandem {

using GenerateCallPtr = std::shared_ptr<const GenerateCall>;

struct PreparedCall {
  std::vector<Request> requests;            ///< for each prompt its n choices, prompt-major
  PromptEnd prompt_end = PromptEnd::plain;  ///< of a chat's one prompt
};

}  // namespace tandem
