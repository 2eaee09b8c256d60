#include "model/chat_format.hpp"

#include <algorithm>
#include <optional>

#include "model/json_file.hpp"

namespace tandem::model {
namespace {

constexpr std::uint64_t max_template_bytes = 16ULL << 20;

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

/// The tokens of a prompt in the making. Text between markers is encoded as one piece, as if the
/// whole prompt had been written out and tokenized; nothing in it becomes a special token.
class PromptBuilder {
 public:
  explicit PromptBuilder(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  void text(std::string_view more) { text_ += more; }

  /// A special token by its content; a tokenizer without it is an error.
  void marker(std::string_view content) {
    const auto id = tokenizer_.find(content);
    if (id) {
      token(*id);
    } else if (!error_) {
      error_ = error(Errc::unsupported, "the tokenizer has no token \"" + std::string(content) +
                                            "\", which the model's chat format needs");
    }
  }

  void token(TokenId id) {
    flush();
    ids_.push_back(id);
  }

  /// Whatever the tokenizer puts before a text.
  void beginning_of_text() {
    for (const TokenId id : tokenizer_.encode("", true, false)) token(id);
  }

  Result<std::vector<TokenId>> take() {
    flush();
    if (error_) return *error_;
    return std::move(ids_);
  }

 private:
  void flush() {
    if (text_.empty()) return;
    const auto more = tokenizer_.encode(text_, false, false);
    ids_.insert(ids_.end(), more.begin(), more.end());
    text_.clear();
  }

  const Tokenizer& tokenizer_;
  std::string text_;
  std::vector<TokenId> ids_;
  std::optional<Error> error_;
};

/// These models were trained on "system"; OpenAI's newer name for it means the same.
std::string_view trained_role(std::string_view role) {
  return role == "developer" ? "system" : role;
}

/// Leading and trailing white space, as the templates' trim takes it.
std::string_view trimmed(std::string_view text) {
  constexpr std::string_view white = " \t\n\v\f\r";
  const std::size_t begin = text.find_first_not_of(white);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(white) - begin + 1);
}

std::optional<Error> check_messages(std::span<const ChatMessage> messages) {
  if (messages.empty()) {
    return error(Errc::invalid_value, "messages must hold at least one message", "messages");
  }
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const std::string& role = messages[i].role;
    if (role == "system" || role == "developer" || role == "user" || role == "assistant") continue;
    return error(Errc::invalid_value,
                 "messages[" + std::to_string(i) + "].role is \"" + role.substr(0, 40) +
                     "\"; it must be system, developer, user or assistant",
                 "messages[" + std::to_string(i) + "].role");
  }
  return std::nullopt;
}

void chatml_turn(PromptBuilder& prompt, std::string_view role, std::string_view content) {
  prompt.marker("<|im_start|>");
  prompt.text(role);
  prompt.text("\n");
  prompt.text(content);
  prompt.marker("<|im_end|>");
  prompt.text("\n");
}

void render_llama3(PromptBuilder& prompt, std::span<const ChatMessage> messages) {
  const auto header = [&](std::string_view role) {
    prompt.marker("<|start_header_id|>");
    prompt.text(role);
    prompt.marker("<|end_header_id|>");
    prompt.text("\n\n");
  };
  prompt.marker("<|begin_of_text|>");
  for (const auto& message : messages) {
    header(trained_role(message.role));
    prompt.text(trimmed(message.content));
    prompt.marker("<|eot_id|>");
  }
  header("assistant");
}

/// User and assistant take turns after an optional system message. Where the tokenizer has a marker
/// for it, the system message is a turn of its own, else it goes before the last user message.
Result<std::vector<TokenId>> render_mistral(const Tokenizer& tokenizer,
                                            std::span<const ChatMessage> messages) {
  PromptBuilder prompt(tokenizer);
  prompt.marker("<s>");
  std::string_view system;
  if (trained_role(messages.front().role) == "system") {
    system = messages.front().content;
    messages = messages.subspan(1);
    if (tokenizer.find("[SYSTEM_PROMPT]")) {
      prompt.marker("[SYSTEM_PROMPT]");
      prompt.text(system);
      prompt.marker("[/SYSTEM_PROMPT]");
      system = {};
    }
  }
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const std::string_view expected = i % 2 == 0 ? "user" : "assistant";
    if (messages[i].role != expected) {
      return error(Errc::invalid_value,
                   "after an optional system message, user and assistant must take turns for this "
                   "model; found \"" +
                       messages[i].role + "\" where \"" + std::string(expected) + "\" was due",
                   "messages");
    }
    if (expected == "assistant") {
      prompt.text(messages[i].content);
      prompt.marker("</s>");
      continue;
    }
    prompt.marker("[INST]");
    if (!system.empty() && i + 2 >= messages.size()) {
      prompt.text(system);
      prompt.text("\n\n");
    }
    prompt.text(messages[i].content);
    prompt.marker("[/INST]");
  }
  if (messages.size() % 2 == 0) {
    return error(Errc::invalid_value, "the last message must be the user's for this model",
                 "messages");
  }
  return prompt.take();
}

/// The literal "<|im_start|>system\n…<|im_end|>" of a template, if it has one without expressions
/// in it: the system message for conversations that bring none.
std::string find_default_system(std::string_view text) {
  constexpr std::string_view begin_marker = "<|im_start|>system\\n";
  constexpr std::string_view end_marker = "<|im_end|>";
  for (std::size_t at = text.find(begin_marker); at != std::string_view::npos;
       at = text.find(begin_marker, at + 1)) {
    const std::size_t begin = at + begin_marker.size();
    const std::size_t end = text.find(end_marker, begin);
    if (end == std::string_view::npos) break;
    const std::string_view message = text.substr(begin, end - begin);
    if (!message.empty() && message.find_first_of("'\"{}\\") == std::string_view::npos) {
      return std::string(message);
    }
  }
  return {};
}

/// The template of a tokenizer_config.json: a string, or a list of named ones.
Result<std::string> template_of(const boost::json::object& config, const std::string& where) {
  JsonFields fields(config, where);
  const auto* value = fields.find("chat_template");
  if (value == nullptr) return std::string();
  if (value->is_string()) return std::string(value->get_string());
  if (value->is_array()) {
    for (const auto& entry : value->get_array()) {
      if (!entry.is_object()) continue;
      JsonFields named(entry.get_object(), where + ": chat_template");
      if (named.string("name", "") == "default") {
        std::string text = named.string("template");
        if (named.error()) return *named.error();
        return text;
      }
    }
  }
  return error(Errc::invalid_value,
               where + ": \"chat_template\" must be a string or a list with one named \"default\"",
               "chat_template");
}

}  // namespace

std::string_view to_string(ChatFormat::Kind kind) {
  switch (kind) {
    case ChatFormat::Kind::none: return "none";
    case ChatFormat::Kind::chatml: return "chatml";
    case ChatFormat::Kind::llama3: return "llama3";
    case ChatFormat::Kind::mistral: return "mistral";
  }
  return "unknown";
}

ChatFormat ChatFormat::from_template(std::string_view text) {
  if (contains(text, "<|im_start|>")) {
    ChatFormat format(Kind::chatml);
    format.begins_with_bos_ = contains(text, "bos_token");
    format.default_system_ = find_default_system(text);
    return format;
  }
  if (contains(text, "<|start_header_id|>") && contains(text, "<|eot_id|>")) {
    return ChatFormat(Kind::llama3);
  }
  if (contains(text, "[INST]") && contains(text, "[/INST]")) return ChatFormat(Kind::mistral);
  return ChatFormat(Kind::none);
}

Result<std::vector<TokenId>> ChatFormat::render(const Tokenizer& tokenizer,
                                                std::span<const ChatMessage> messages) const {
  if (kind_ == Kind::none) {
    return error(Errc::unsupported,
                 "this model has no chat format that is supported; use /v1/completions");
  }
  if (auto wrong = check_messages(messages)) return *wrong;
  if (kind_ == Kind::mistral) return render_mistral(tokenizer, messages);
  PromptBuilder prompt(tokenizer);
  if (kind_ == Kind::llama3) {
    render_llama3(prompt, messages);
    return prompt.take();
  }
  if (begins_with_bos_) prompt.beginning_of_text();
  if (!default_system_.empty() && trained_role(messages.front().role) != "system") {
    chatml_turn(prompt, "system", default_system_);
  }
  for (const auto& message : messages) {
    chatml_turn(prompt, trained_role(message.role), message.content);
  }
  prompt.marker("<|im_start|>");
  prompt.text("assistant\n");
  return prompt.take();
}

Result<ChatFormat> load_chat_format(const std::filesystem::path& folder) {
  std::error_code ignored;
  const auto own_file = folder / "chat_template.jinja";
  if (std::filesystem::exists(own_file, ignored)) {
    auto text = read_file(own_file, max_template_bytes);
    if (!text) return std::move(text).error();
    return ChatFormat::from_template(*text);
  }
  const auto config_path = folder / "tokenizer_config.json";
  if (!std::filesystem::exists(config_path, ignored)) return ChatFormat();
  auto config = read_json_object(config_path, max_template_bytes);
  if (!config) return std::move(config).error();
  auto text = template_of(*config, config_path.string());
  if (!text) return std::move(text).error();
  return ChatFormat::from_template(*text);
}

}  // namespace tandem::model
