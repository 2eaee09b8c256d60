// A conversation as the values that chat templates read, in Hugging Face's shapes. What users wrote
// is marked as coming from outside. Internal to model/.
#pragma once

#include <span>
#include <string_view>

#include "core/generate.hpp"
#include "model/chat_format.hpp"
#include "model/jinja/template.hpp"

namespace tandem::model {

/// How a template wants its conversation.
struct MessageStyle {
  bool content_as_parts = false;   ///< contents are lists of text parts
  bool renames_developer = false;  ///< it only knows "system"
  bool null_as_empty = false;      ///< no content is "" and not None
  bool arguments_as_text = false;  ///< those of calls are JSON text and not an object
};

jinja::Value message_value(const ChatMessage& message, const MessageStyle& style);
jinja::Value tool_value(const FunctionTool& tool);
/// No tools: None. Arguments become variables of their own.
jinja::Variables variables_of(const Conversation& conversation, const MessageStyle& style,
                              const SpecialTokens& special);

}  // namespace tandem::model
