#include "model/chat_format.hpp"

#include <algorithm>
#include <ctime>
#include <optional>

#include "model/jinja/template.hpp"
#include "model/json_file.hpp"
#include "model/utf8.hpp"

namespace tandem::model {

struct ChatFormat::Parsed {
  jinja::Template source;
  SpecialTokens special;
  bool wants_parts = false;      ///< contents as lists of text parts
  bool knows_developer = false;  ///< else OpenAI's "developer" is told as "system"
};

namespace {

using jinja::Value;

constexpr std::uint64_t max_template_bytes = 16ULL << 20;

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

/// Neither is nested deeply, nor holds what no container may hold: making them cannot fail.
Value list_of(std::vector<Value> items) {
  return jinja::make_list(std::move(items)).value_or(jinja::None());
}
Value dict_of(std::vector<std::pair<Value, Value>> entries) {
  return jinja::make_dict(std::move(entries)).value_or(jinja::None());
}

/// The role is one of ours, and templates build markers from it: it does not count as from outside.
Value message_value(std::string_view role, std::string_view content, bool as_parts) {
  auto text = Value::text(well_formed(content), true);
  if (as_parts) {
    text = list_of({dict_of(
        {{Value::text("type"), Value::text("text")}, {Value::text("text"), std::move(text)}})});
  }
  return dict_of({{Value::text("role"), Value::text(std::string(role))},
                  {Value::text("content"), std::move(text)}});
}

jinja::Variables variables_of(std::vector<Value> messages, const SpecialTokens& special) {
  jinja::Variables variables{{"messages", list_of(std::move(messages))},
                             {"tools", jinja::None()},
                             {"documents", jinja::None()},
                             {"add_generation_prompt", Value(true)}};
  for (const auto& [name, content] : special) variables.emplace_back(name, Value::text(content));
  return variables;
}

/// Some templates only look at contents that are lists of parts. Found out by rendering one message
/// both ways.
bool prefers_parts(const jinja::Template& source, const SpecialTokens& special) {
  const std::string needle = "a text to be found again";
  const auto shows = [&](bool as_parts) {
    const auto text = source.render(
        variables_of({message_value("user", needle, as_parts)}, special), std::time(nullptr));
    return text && text->bytes.find(needle) != std::string::npos;
  };
  return !shows(false) && shows(true);
}

/// The template of a tokenizer_config.json: a string, or a list of named ones.
Result<std::string> template_of(JsonFields& fields, const std::string& where) {
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

/// Each is a string, or an object whose `content` is one.
SpecialTokens special_tokens_of(JsonFields& fields) {
  SpecialTokens special;
  for (const char* name : {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token",
                           "cls_token", "mask_token"}) {
    const auto* value = fields.find(name);
    if (value == nullptr) continue;
    if (value->is_object()) value = value->get_object().if_contains("content");
    if (value == nullptr || !value->is_string()) continue;
    special.emplace_back(name, std::string(value->get_string()));
  }
  return special;
}

}  // namespace

ChatFormat ChatFormat::from_template(std::string_view source, std::string name,
                                     SpecialTokens special) {
  ChatFormat format;
  auto parsed = jinja::Template::parse(source, std::move(name));
  if (!parsed) {
    format.problem_ = parsed.error().message;
    return format;
  }
  auto made = std::make_shared<Parsed>();
  made->wants_parts = prefers_parts(*parsed, special);
  made->knows_developer = source.find("developer") != std::string_view::npos;
  made->special = std::move(special);
  made->source = *std::move(parsed);
  format.template_ = std::move(made);
  format.problem_.clear();
  return format;
}

Result<std::vector<TokenId>> ChatFormat::render(const Tokenizer& tokenizer,
                                                std::span<const ChatMessage> messages) const {
  if (!usable()) {
    return error(Errc::unsupported,
                 "no chat with this model: " + problem_ + "; use /v1/completions", "messages");
  }
  if (auto wrong = check_messages(messages)) return *wrong;
  std::vector<Value> values;
  values.reserve(messages.size());
  for (const auto& message : messages) {
    const bool renamed = message.role == "developer" && !template_->knows_developer;
    values.push_back(message_value(renamed ? "system" : std::string_view(message.role),
                                   message.content, template_->wants_parts));
  }
  const auto text = template_->source.render(variables_of(std::move(values), template_->special),
                                             std::time(nullptr));
  if (!text) return text.error();
  return tokenizer.encode_prompt(text->bytes, text->literal);
}

Result<ChatFormat> load_chat_format(const std::filesystem::path& folder) {
  std::error_code ignored;
  const auto config_path = folder / "tokenizer_config.json";
  std::string source, name = "in tokenizer_config.json";
  SpecialTokens special;
  if (std::filesystem::exists(config_path, ignored)) {
    auto config = read_json_object(config_path, max_template_bytes);
    if (!config) return std::move(config).error();
    JsonFields fields(*config, config_path.string());
    auto text = template_of(fields, config_path.string());
    if (!text) return std::move(text).error();
    source = *std::move(text);
    special = special_tokens_of(fields);
  }
  const auto own_file = folder / "chat_template.jinja";
  if (std::filesystem::exists(own_file, ignored)) {
    auto text = read_file(own_file, max_template_bytes);
    if (!text) return std::move(text).error();
    source = *std::move(text);
    name = "chat_template.jinja";
  }
  if (source.empty()) return ChatFormat();
  return ChatFormat::from_template(source, std::move(name), std::move(special));
}

}  // namespace tandem::model
