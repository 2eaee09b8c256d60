// See prepare.hpp.
#include "actors/prepare.hpp"

#include <string>

#include "core/fnv.hpp"

namespace tandem {
namespace {

/// Namespaces only need to differ; the KV hash itself is keyed.
std::uint64_t hash_of(std::string_view text, std::uint64_t seed) {
  return fnv1a(text, fnv_basis ^ seed);
}

/// No fewer tokens than this can `prompt` become.
Tokens fewest_tokens(const Prompt& prompt, const ServedModel& model) {
  if (const auto* ids = std::get_if<std::vector<TokenId>>(&prompt))
    return Tokens(static_cast<std::int64_t>(ids->size()));
  const auto* text = std::get_if<std::string>(&prompt);
  if (text == nullptr || !model.tokenizer) return Tokens(0);
  return model.tokenizer->fewest_tokens(text->size());
}

/// The field that holds what is sent to the model.
std::string_view prompt_field(Endpoint endpoint) {
  switch (endpoint) {
    case Endpoint::completions: return "prompt";
    case Endpoint::chat_completions: return "messages";
    case Endpoint::responses: return "input";
  }
  return "prompt";
}

/// How many tokens the call may generate after a prompt of `prompt_tokens`.
Result<Tokens> resolve_max_tokens(const GenerateCall& call, Tokens prompt_tokens, Tokens context) {
  const auto room = context - prompt_tokens;
  if (call.prefill_only && room >= Tokens(1))
    return Tokens(1);  // the engine samples behind a prompt
  const auto ask =
      call.max_tokens.value_or(call.endpoint == Endpoint::completions ? Tokens(16) : room);
  if (room < Tokens(1) || ask > room)
    return error(Errc::context_length_exceeded,
                 "this model's maximum context length is " + std::to_string(context.value()) +
                     " tokens, but the request asks for " +
                     std::to_string((prompt_tokens + std::max(ask, Tokens(1))).value()) + " (" +
                     std::to_string(prompt_tokens.value()) + " in the prompt, " +
                     std::to_string(std::max(ask, Tokens(1)).value()) + " for the completion)",
                 std::string(prompt_field(call.endpoint)));
  return ask;
}

/// Calls that would only be found as text are not asked for.
std::optional<Error> check_tools(const GenerateCall& call, const ServedModel& model) {
  if (!offers_tools(call) || model.answer_format.tools != model::ToolFormat::unknown)
    return std::nullopt;
  return error(Errc::unsupported,
               "no tools with this model: how it writes calls is not known (option tool_parser)",
               "tools");
}

StopRule stop_rule(const GenerateCall& call, const ServedModel& model, Tokens max_tokens) {
  StopRule rule{.max_tokens = max_tokens, .stop_token_ids = call.stop_token_ids};
  if (!call.ignore_eos)
    rule.stop_token_ids.insert(rule.stop_token_ids.end(), model.config.eos_tokens.begin(),
                               model.config.eos_tokens.end());
  return rule;
}

}  // namespace

Result<model::RenderedPrompt> encode(const GenerateCall& call, const Prompt& prompt,
                                     const ServedModel& model, const EncodeOptions& options) {
  if (const auto* ids = std::get_if<std::vector<TokenId>>(&prompt)) {
    for (const auto id : *ids)
      if (id < 0 || id >= model.config.vocab_size)
        return error(Errc::invalid_value,
                     "token id " + std::to_string(id) +
                         " is outside the vocabulary; allowed are 0 to " +
                         std::to_string(model.config.vocab_size - 1),
                     "prompt");
    return model::RenderedPrompt{*ids};
  }
  if (!model.tokenizer)
    return error(Errc::unsupported,
                 "model '" + model.name + "' has no tokenizer; send token ids as `prompt`",
                 "prompt");
  if (const auto* text = std::get_if<std::string>(&prompt))
    return model::RenderedPrompt{model.tokenizer->encode(*text, options.add_special, true)};
  model::Conversation conversation{.messages = std::get<std::vector<ChatMessage>>(prompt),
                                   .arguments = call.template_arguments,
                                   .add_generation_prompt = options.add_generation_prompt,
                                   .max_tokens = options.max_tokens};
  if (offers_tools(call)) conversation.tools = call.tools;
  return model.chat_format.render(*model.tokenizer, conversation);
}

std::optional<Error> refuse_unread(const GenerateCall& call, const ServedModel& model) {
  if (call.model != model.name)
    return error(
        Errc::model_not_found,
        "the model '" + call.model + "' does not exist; this service has '" + model.name + "'",
        "model");
  for (const auto& prompt : call.prompts) {
    const auto fewest = fewest_tokens(prompt, model);
    if (fewest < model.max_context) continue;
    return error(Errc::context_length_exceeded,
                 "this model's maximum context length is " +
                     std::to_string(model.max_context.value()) +
                     " tokens, but the prompt alone has at least " + std::to_string(fewest.value()),
                 std::string(prompt_field(call.endpoint)));
  }
  return std::nullopt;
}

Result<PreparedCall> prepare(const GenerateCall& call, const ServedModel& model,
                             std::string_view tenant, std::uint64_t default_seed) {
  if (auto refusal = refuse_unread(call, model)) return *std::move(refusal);
  const auto cache_namespace = hash_of(call.cache_salt, hash_of(tenant, 0));
  if (auto refusal = check_tools(call, model)) return *std::move(refusal);
  PreparedCall prepared;
  auto& requests = prepared.requests;
  requests.reserve(call.prompts.size() * call.n);
  for (const auto& prompt : call.prompts) {
    auto rendered = encode(call, prompt, model, {.max_tokens = model.max_context});
    if (!rendered) {
      auto reason = rendered.error();
      // The chat format knows a conversation, not where it came from.
      if (reason.param == "messages") reason.param = prompt_field(call.endpoint);
      return reason;
    }
    prepared.prompt_end = rendered->end;
    auto& tokens = rendered->tokens;
    if (tokens.empty()) {
      if (!model.config.bos_token)
        return error(Errc::invalid_value,
                     "the prompt is empty and the model has no beginning-of-text token", "prompt");
      tokens.push_back(*model.config.bos_token);
    }
    const auto max_tokens = resolve_max_tokens(
        call, Tokens(static_cast<std::int64_t>(tokens.size())), model.max_context);
    if (!max_tokens) return max_tokens.error();
    for (std::uint32_t choice = 0; choice < call.n; ++choice) {
      Request request{.request_class = call.request_class,
                      .prompt = tokens,
                      .sampling = call.sampling,
                      .stop = stop_rule(call, model, *max_tokens),
                      .cache_namespace = cache_namespace};
      request.sampling.seed = (call.has_seed ? call.sampling.seed : default_seed) + choice;
      requests.push_back(std::move(request));
    }
  }
  return prepared;
}

}  // namespace tandem
