// A conversation as the model's prompt. Until templates are interpreted, the common shapes are
// recognised by the markers in chat_template (ChatML, Llama-3, Mistral [INST]); a model with
// another template has no chat endpoint and says so. Of a ChatML template two more things are
// taken: whether it begins with the beginning-of-text token, and the system message that it puts in
// where a conversation has none. Not rendered: tools, dates, thinking blocks.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
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
  /// What the text of a chat_template amounts to.
  static ChatFormat from_template(std::string_view text);

  [[nodiscard]] Kind kind() const { return kind_; }
  /// Token ids of the conversation and the header of the assistant's turn. Message contents never
  /// become special tokens. Fails with `unsupported` if the kind is none or the tokenizer lacks the
  /// markers, with `invalid_value` if the messages cannot be a conversation of this kind.
  [[nodiscard]] Result<std::vector<TokenId>> render(const Tokenizer& tokenizer,
                                                    std::span<const ChatMessage> messages) const;

 private:
  Kind kind_ = Kind::none;
  bool begins_with_bos_ = false;
  std::string default_system_;
};

std::string_view to_string(ChatFormat::Kind kind);

/// Looks at chat_template.jinja, else at tokenizer_config.json's chat_template. A folder with
/// neither has the kind none.
Result<ChatFormat> load_chat_format(const std::filesystem::path& folder);

}  // namespace tandem::model
