// A conversation as the model's prompt. Until templates are interpreted, the common shapes are
// recognised by the markers in chat_template (ChatML, Llama-3, Mistral [INST]); a model with
// another template has no chat endpoint and says so.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "core/generate.hpp"
#include "core/result.hpp"
#include "model/tokenizer.hpp"

namespace tandem::model {

class ChatFormat {
 public:
  enum class Kind : std::uint8_t { none, chatml, llama3, mistral };

  ChatFormat() = default;
  explicit ChatFormat(Kind kind) : kind_(kind) {}

  [[nodiscard]] Kind kind() const { return kind_; }
  /// Token ids of the conversation and the header of the assistant's turn. Message contents never
  /// become special tokens. Fails with `unsupported` if the kind is none.
  [[nodiscard]] Result<std::vector<TokenId>> render(const Tokenizer& tokenizer,
                                                    std::span<const ChatMessage> messages) const;

 private:
  Kind kind_ = Kind::none;
};

/// Looks at tokenizer_config.json's chat_template (or chat_template.jinja).
Result<ChatFormat> load_chat_format(const std::filesystem::path& folder);

}  // namespace tandem::model
