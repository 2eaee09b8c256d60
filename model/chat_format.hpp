// A conversation as the model's prompt: the model folder's own chat template, interpreted
// (model/jinja). What users wrote is kept apart from what the template wrote, so that no message
// can forge a special token. A folder without a template, or with one that cannot be parsed, has no
// chat endpoint and says why.
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/generate.hpp"
#include "core/result.hpp"
#include "model/tokenizer.hpp"

namespace tandem::model {

/// bos_token, eos_token and so on, by name, as a template reads them.
using SpecialTokens = std::vector<std::pair<std::string, std::string>>;

class ChatFormat {
 public:
  ChatFormat() = default;
  /// `name` stands for the template in errors. A template that cannot be parsed gives a format that
  /// is not usable().
  static ChatFormat from_template(std::string_view source, std::string name,
                                  SpecialTokens special = {});

  [[nodiscard]] bool usable() const { return template_ != nullptr; }
  /// Why it is not usable, naming template and line.
  [[nodiscard]] const std::string& problem() const { return problem_; }

  /// Token ids of the conversation and the header of the assistant's turn. Message contents never
  /// become special tokens. Fails with `unsupported` if not usable(), with `invalid_value` if the
  /// template refuses the messages or cannot cope with them, with `too_large` if rendering reaches
  /// a bound.
  [[nodiscard]] Result<std::vector<TokenId>> render(const Tokenizer& tokenizer,
                                                    std::span<const ChatMessage> messages) const;

 private:
  struct Parsed;
  std::shared_ptr<const Parsed> template_;
  std::string problem_ = "the model's folder has no chat template";
};

/// Looks at chat_template.jinja, else at tokenizer_config.json's chat_template: a string, or a list
/// of which the one named "default" is taken.
Result<ChatFormat> load_chat_format(const std::filesystem::path& folder);

}  // namespace tandem::model
