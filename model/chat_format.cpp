#include "model/chat_format.hpp"

#include <algorithm>
#include <ctime>
#include <optional>

#include "model/chat_traits.hpp"
#include "model/json_file.hpp"

namespace tandem::model {

struct ChatFormat::Parsed {
  jinja::Template source;
  SpecialTokens special;
  TemplateTraits traits;
};

namespace {

constexpr std::uint64_t max_template_bytes = 16ULL << 20;

std::optional<Error> check_messages(std::span<const ChatMessage> messages) {
  if (messages.empty()) {
    return error(Errc::invalid_value, "messages must hold at least one message", "messages");
  }
  static constexpr std::string_view roles[] = {"system", "developer", "user", "assistant", "tool"};
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const std::string& role = messages[i].role;
    if (std::find(std::begin(roles), std::end(roles), role) != std::end(roles)) continue;
    return error(Errc::invalid_value,
                 "messages[" + std::to_string(i) + "].role is \"" + role.substr(0, 40) +
                     "\"; it must be system, developer, user, assistant or tool",
                 "messages[" + std::to_string(i) + "].role");
  }
  return std::nullopt;
}

/// The template is given nothing that it would pass over in silence.
std::optional<Error> check_shown(const Conversation& conversation, const jinja::Template& source,
                                 const TemplateTraits& traits) {
  const auto named = "the model's chat template (" + source.name() + ")";
  if (!conversation.tools.empty() && !traits.shows_tools)
    return error(Errc::unsupported, named + " does not show tools to the model; leave 'tools' out",
                 "tools");
  const auto of_tool = [](const ChatMessage& message) {
    return message.role == "tool" || !message.tool_calls.empty();
  };
  if (!traits.shows_calls &&
      std::any_of(conversation.messages.begin(), conversation.messages.end(), of_tool))
    return error(Errc::unsupported,
                 named + " does not show calls of tools and their results to the model",
                 "messages");
  return std::nullopt;
}

/// Variables that a caller sets are none that make the prompt what it is, and the template has a
/// use for them.
std::optional<Error> check_arguments(std::string_view arguments, const jinja::Template& source,
                                     const SpecialTokens& special) {
  if (arguments.empty()) return std::nullopt;
  const auto object = parse_json_object(arguments, "chat_template_kwargs");
  if (!object) return object.error();
  for (const auto& entry : *object) {
    const std::string_view name = entry.key();
    const auto is_name = [&](const auto& token) { return token.first == name; };
    const bool reserved = name == "messages" || name == "tools" || name == "documents" ||
                          name == "add_generation_prompt" ||
                          std::any_of(special.begin(), special.end(), is_name);
    if (!reserved && !name.empty() && mentions(source, name)) continue;
    return error(
        Errc::invalid_value,
        "'chat_template_kwargs' sets " + in_quotes(name) +
            (reserved ? ", which is not the caller's to set"
                      : ", which the model's chat template (" + source.name() + ") does not read"),
        "chat_template_kwargs");
  }
  return std::nullopt;
}

/// Looks at what the template wrote at the end: what a user wrote there means nothing.
PromptEnd end_of(const jinja::Text& text) {
  const std::string_view whole = text.bytes;
  const auto end = whole.find_last_not_of(" \n\r\t") + 1;
  const auto ends_with = [&](std::string_view marker) {
    return whole.substr(0, end).ends_with(marker) &&
           (text.literal.empty() || text.literal.back().end <= end - marker.size());
  };
  if (ends_with(think_begin)) return PromptEnd::reasoning_opened;
  return ends_with(think_end) ? PromptEnd::reasoning_closed : PromptEnd::plain;
}

/// The templates of a folder; empty where there is none.
struct Sources {
  std::string name = "in tokenizer_config.json";
  std::string text;
  std::string tool_name = "tool_use in tokenizer_config.json";
  std::string tool_text;  ///< for conversations with tools, if they have one of their own
};

/// tokenizer_config.json has a string, or a list of named ones.
std::optional<Error> read_templates(JsonFields& fields, const std::string& where,
                                    Sources& sources) {
  const auto* value = fields.find("chat_template");
  if (value == nullptr) return std::nullopt;
  bool found = value->is_string();
  if (found) sources.text = value->get_string();
  if (value->is_array()) {
    for (const auto& entry : value->get_array()) {
      if (!entry.is_object()) continue;
      JsonFields named(entry.get_object(), where + ": chat_template");
      const auto name = named.string("name", "");
      if (name != "default" && name != "tool_use") continue;
      auto text = named.string("template");
      if (named.error()) return *named.error();
      found = found || name == "default";
      (name == "default" ? sources.text : sources.tool_text) = std::move(text);
    }
  }
  if (found) return std::nullopt;
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
                                     SpecialTokens special, const jinja::Limits& limits) {
  ChatFormat format;
  auto parsed = jinja::Template::parse(source, std::move(name), limits);
  if (!parsed) {
    format.problem_ = parsed.error().message;
    return format;
  }
  auto made = std::make_shared<Parsed>();
  made->traits = traits_of(*parsed, special);
  made->special = std::move(special);
  made->source = *std::move(parsed);
  format.template_ = format.tool_template_ = std::move(made);
  format.problem_.clear();
  return format;
}

Result<RenderedPrompt> ChatFormat::render(const Tokenizer& tokenizer,
                                          const Conversation& conversation) const {
  if (!usable()) {
    return error(Errc::unsupported,
                 "no chat with this model: " + problem_ + "; use /v1/completions", "messages");
  }
  if (!conversation.tools.empty() && !tool_template_)
    return error(Errc::unsupported, "no tools with this model: " + tool_problem_, "tools");
  const auto& chosen = conversation.tools.empty() ? *template_ : *tool_template_;
  if (auto wrong = check_messages(conversation.messages)) return *wrong;
  if (auto unseen = check_shown(conversation, chosen.source, chosen.traits)) return *unseen;
  if (auto wrong = check_arguments(conversation.arguments, chosen.source, chosen.special))
    return *wrong;
  const auto text = chosen.source.render(
      variables_of(conversation, chosen.traits.style, chosen.special), std::time(nullptr));
  if (!text) return text.error();
  const auto fewest = tokenizer.fewest_tokens(text->bytes.size());
  if (conversation.max_tokens && fewest >= *conversation.max_tokens)
    return error(Errc::context_length_exceeded,
                 "this model's maximum context length is " +
                     std::to_string(conversation.max_tokens->value()) +
                     " tokens, but the conversation alone has at least " +
                     std::to_string(fewest.value()),
                 "messages");
  return RenderedPrompt{tokenizer.encode_prompt(text->bytes, text->literal), end_of(*text)};
}

AnswerFormat ChatFormat::answer_format(const Tokenizer& tokenizer) const {
  AnswerFormat format;
  if (!usable()) return format;
  if (tool_template_) format.tools = tool_template_->traits.tool_format;
  if (template_->traits.mentions_reasoning ||
      (tokenizer.find(think_begin) && tokenizer.find(think_end)))
    format.reasoning = ReasoningFormat::qwen3;
  return format;
}

Result<ChatFormat> load_chat_format(const std::filesystem::path& folder,
                                    const jinja::Limits& limits) {
  std::error_code ignored;
  const auto config_path = folder / "tokenizer_config.json";
  Sources sources;
  SpecialTokens special;
  if (std::filesystem::exists(config_path, ignored)) {
    auto config = read_json_object(config_path, max_template_bytes);
    if (!config) return std::move(config).error();
    JsonFields fields(*config, config_path.string());
    if (auto wrong = read_templates(fields, config_path.string(), sources)) return *wrong;
    special = special_tokens_of(fields);
  }
  const auto own_file = folder / "chat_template.jinja";
  if (std::filesystem::exists(own_file, ignored)) {
    auto text = read_file(own_file, max_template_bytes);
    if (!text) return std::move(text).error();
    sources = {.name = "chat_template.jinja", .text = *std::move(text)};
  }
  if (sources.text.empty()) return ChatFormat();
  auto format = ChatFormat::from_template(sources.text, std::move(sources.name), special, limits);
  if (format.usable() && !sources.tool_text.empty()) {
    const auto with_tools = ChatFormat::from_template(
        sources.tool_text, std::move(sources.tool_name), std::move(special), limits);
    format.tool_template_ = with_tools.template_;
    format.tool_problem_ = with_tools.problem_;
  }
  return format;
}

}  // namespace tandem::model
