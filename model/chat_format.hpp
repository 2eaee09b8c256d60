// A conversation as the model's prompt: the model folder's own chat template, interpreted
// (model/jinja). What users wrote is kept apart from what the template wrote, so that no message
// can forge a special token. A folder without a template, or with one that cannot be parsed, has no
// chat endpoint and says why.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/generate.hpp"
#include "core/result.hpp"
#include "model/answer/answer_parser.hpp"
#include "model/jinja/limits.hpp"
#include "model/tokenizer.hpp"

namespace tandem::model {

/// bos_token, eos_token and so on, by name, as a template reads them.
using SpecialTokens = std::vector<std::pair<std::string, std::string>>;

/// What a template is given.
struct Conversation {
  std::span<const ChatMessage> messages;
  std::span<const FunctionTool> tools{};  ///< empty: none are offered
  std::string_view arguments{};           ///< further variables: a JSON object, or empty
  bool add_generation_prompt = true;      ///< the header of the assistant's turn
  /// A text whose size alone shows that it has as many tokens is refused instead of tokenized.
  std::optional<Tokens> max_tokens = std::nullopt;
};

struct RenderedPrompt {
  std::vector<TokenId> tokens;
  PromptEnd end = PromptEnd::plain;
};

class ChatFormat {
 public:
  ChatFormat() = default;
  /// `name` stands for the template in errors. A template that cannot be parsed gives a format that
  /// is not usable().
  static ChatFormat from_template(std::string_view source, std::string name,
                                  SpecialTokens special = {}, const jinja::Limits& limits = {});

  [[nodiscard]] bool usable() const { return template_ != nullptr; }
  /// Why it is not usable, naming template and line.
  [[nodiscard]] const std::string& problem() const { return problem_; }

  /// Token ids of the conversation and, unless left out, the header of the assistant's turn.
  /// Message contents never become special tokens. Fails with `unsupported` if not usable() or if
  /// the template would pass over tools or their calls in silence, with `invalid_value` if it
  /// refuses the messages, cannot cope with them or does not read one of the arguments, with
  /// `too_large` if rendering reaches a bound, with `context_length_exceeded` if the text is
  /// provably too long.
  [[nodiscard]] Result<RenderedPrompt> render(const Tokenizer& tokenizer,
                                              const Conversation& conversation) const;

  /// How the answers of a model with this template look, as far as the template and the tokenizer's
  /// vocabulary tell.
  [[nodiscard]] AnswerFormat answer_format(const Tokenizer& tokenizer) const;

 private:
  friend Result<ChatFormat> load_chat_format(const std::filesystem::path& folder,
                                             const jinja::Limits& limits);

  struct Parsed;
  std::shared_ptr<const Parsed> template_;
  /// Of conversations with tools; mostly the same. Null if it cannot be parsed.
  std::shared_ptr<const Parsed> tool_template_;
  std::string tool_problem_;
  std::string problem_ = "the model's folder has no chat template";
};

/// Looks at chat_template.jinja, else at tokenizer_config.json's chat_template: a string, or a list
/// of which the one named "default" is taken, and the one named "tool_use" for conversations with
/// tools.
Result<ChatFormat> load_chat_format(const std::filesystem::path& folder,
                                    const jinja::Limits& limits = {});

}  // namespace tandem::model
