// What a chat template does with what it is given, found out by rendering small conversations that
// hold words to be found again. Internal to model/.
#pragma once

#include "model/answer/answer_parser.hpp"
#include "model/chat_values.hpp"
#include "model/jinja/template.hpp"

namespace tandem::model {

struct TemplateTraits {
  MessageStyle style;
  bool shows_tools = false;                      ///< definitions of tools are in the prompt
  bool shows_calls = false;                      ///< so are earlier calls and what tools answered
  ToolFormat tool_format = ToolFormat::unknown;  ///< whose calls are written as it writes them
  bool mentions_reasoning = false;               ///< it knows the markers of reasoning
};

TemplateTraits traits_of(const jinja::Template& source, const SpecialTokens& special);

/// `name` stands in the template's text as a word: it may read a variable of that name.
bool mentions(const jinja::Template& source, std::string_view name);

}  // namespace tandem::model
