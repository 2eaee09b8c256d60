// See text_call.hpp.
#include "api/text_call.hpp"

#include <boost/json.hpp>
#include <limits>
#include <utility>

#include "api/json_fields.hpp"
#include "api/parse_fields.hpp"
#include "api/parse_prompt.hpp"
#include "api/parse_tools.hpp"
#include "model/utf8.hpp"

namespace tandem::api {
namespace json = boost::json;
namespace {

constexpr std::size_t unbounded = std::numeric_limits<std::size_t>::max();  // the body is bounded

/// Left out, it is the model that is served.
std::string read_model(Fields& fields, const ParseLimits& limits) {
  const auto model = fields.string("model", 256);
  if (model) check_model(fields, limits, *model);
  return model.value_or(limits.model);
}

void read_text(Fields& fields, TokenizeCall& call) {
  call.add_special = fields.boolean("add_special_tokens").value_or(true);
  if (auto text = fields.string("prompt", unbounded)) call.call.prompts = {std::move(*text)};
}

void read_conversation(Fields& fields, const ParseLimits& limits, TokenizeCall& call) {
  call.call.endpoint = Endpoint::chat_completions;
  read_messages(fields, limits, call.call);
  read_tools(fields, Endpoint::chat_completions, limits, call.call);
  read_template_arguments(fields, limits, call.call);
  call.add_generation_prompt = fields.boolean("add_generation_prompt").value_or(true);
  if (fields.boolean("add_special_tokens").value_or(false))
    fields.fail(Errc::unsupported,
                "'add_special_tokens' is not supported with 'messages': the chat template puts "
                "special tokens where they belong",
                "add_special_tokens");
  for (const auto* name :
       {"continue_final_message", "chat_template", "media_io_kwargs", "mm_processor_kwargs"})
    fields.unsupported_unless_empty(name, "leave it out");
}

ParsedTextCall parsed(Fields& fields, const ParseLimits& limits, TextCall call) {
  auto unknown = read_unknown(fields, limits);
  return {std::move(call), std::move(unknown.names), unknown.count};
}

}  // namespace

Result<ParsedTextCall> parse_tokenize(std::string_view text, const ParseLimits& limits) {
  const auto object = parse_object(text, "the request body");
  if (!object) return object.error();
  Fields fields(*object);
  TokenizeCall call;
  call.call.model = read_model(fields, limits);
  const bool has_text = fields.find("prompt"), has_messages = fields.find("messages");
  if (has_text == has_messages)
    fields.fail(Errc::invalid_value,
                has_text ? "'prompt' and 'messages' are both given; allowed is one of them"
                         : "'prompt' is missing; it may also be 'messages'",
                "prompt");
  else if (has_text)
    read_text(fields, call);
  else
    read_conversation(fields, limits, call);
  call.return_token_strings = fields.boolean("return_token_strs").value_or(false);
  fields.unsupported("truncate_prompt_tokens", "leave it out");
  auto result = parsed(fields, limits, std::move(call));
  if (fields.problem()) return *fields.problem();
  return result;
}

Result<ParsedTextCall> parse_detokenize(std::string_view text, const ParseLimits& limits) {
  const auto object = parse_object(text, "the request body");
  if (!object) return object.error();
  Fields fields(*object);
  read_model(fields, limits);
  DetokenizeCall call{.tokens = {}, .max_text_bytes = limits.max_text_bytes};
  if (const auto* tokens = fields.array("tokens", unbounded))
    call.tokens = read_token_ids(fields, *tokens, "tokens", limits);
  else
    fields.fail(Errc::invalid_value, "'tokens' is missing", "tokens");
  auto result = parsed(fields, limits, std::move(call));
  if (fields.problem()) return *fields.problem();
  return result;
}

std::string tokenize_reply(std::span<const TokenId> tokens, Tokens max_context,
                           const model::Tokenizer* names) {
  json::array ids(tokens.begin(), tokens.end());
  json::value strings;
  if (names != nullptr) {
    auto& list = strings.emplace_array();
    list.reserve(tokens.size());
    for (const auto id : tokens) list.emplace_back(model::well_formed(names->token_content(id)));
  }
  return json::serialize(json::object{{"count", tokens.size()},
                                      {"max_model_len", max_context.value()},
                                      {"tokens", std::move(ids)},
                                      {"token_strs", std::move(strings)}});
}

std::string detokenize_reply(std::string_view text) {
  return json::serialize(json::object{{"prompt", model::well_formed(text)}});
}

}  // namespace tandem::api
