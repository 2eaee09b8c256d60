// See format.hpp: completions, chat completions, their chunks, models.
#include "api/format.hpp"

#include <boost/json.hpp>

#include "api/ids.hpp"
#include "api/logprobs.hpp"

namespace tandem::api {
namespace json = boost::json;
namespace {

bool is_chat(const GenerateCall& call) { return call.endpoint == Endpoint::chat_completions; }

json::value finish_reason(FinishReason reason) {
  switch (reason) {
    case FinishReason::stop: return "stop";
    case FinishReason::length: return "length";
    case FinishReason::cancelled: return "cancelled";
    case FinishReason::failed: return "error";
  }
  return nullptr;
}

json::object usage_object(const Usage& usage) {
  return {{"prompt_tokens", usage.prompt.value()},
          {"completion_tokens", usage.completion.value()},
          {"total_tokens", (usage.prompt + usage.completion).value()},
          {"prompt_tokens_details", {{"cached_tokens", usage.cached.value()}}}};
}

json::object head_object(const ReplyHead& head, std::string_view object) {
  json::object result{{"id", head.id},
                      {"object", object},
                      {"created", head.created},
                      {"model", head.model},
                      {"service_tier", head.service_tier}};
  if (!head.system_fingerprint.empty()) result["system_fingerprint"] = head.system_fingerprint;
  return result;
}

json::value logprobs_value(const GenerateCall& call, const std::vector<LogprobEntry>& entries) {
  if (!call.sampling.logprobs) return nullptr;
  return is_chat(call) ? chat_logprobs(entries) : completion_logprobs(entries);
}

json::object reply_choice(const CallCollector& collected, std::size_t index) {
  const auto& call = collected.call();
  const auto& result = collected.results()[index];
  json::object choice{{"index", index},
                      {"finish_reason", finish_reason(result.finish)},
                      {"logprobs", logprobs_value(call, result.logprobs)}};
  if (is_chat(call))
    choice["message"] = {{"role", "assistant"}, {"content", result.text}, {"refusal", nullptr}};
  else
    choice["text"] = collected.echoed(index) + result.text;
  return choice;
}

}  // namespace

ReplyHead new_reply_head(const GenerateCall& call, std::int64_t unix_now,
                         std::string_view system_fingerprint) {
  return {.id = random_id(is_chat(call) ? "chatcmpl-" : "cmpl-"),
          .created = unix_now,
          .model = call.model,
          .service_tier = call.service_tier,
          .system_fingerprint = std::string(system_fingerprint)};
}

std::string reply_body(const ReplyHead& head, const CallCollector& collected) {
  auto body = head_object(head, is_chat(collected.call()) ? "chat.completion" : "text_completion");
  json::array choices;
  for (std::size_t i = 0; i < collected.results().size(); ++i)
    choices.push_back(reply_choice(collected, i));
  body["choices"] = std::move(choices);
  body["usage"] = usage_object(collected.usage());
  return json::serialize(body);
}

std::string stream_chunk(const ReplyHead& head, const GenerateCall& call, std::uint32_t index,
                         const Delta& delta, bool first) {
  json::object choice{
      {"index", index},
      {"finish_reason", delta.finish ? finish_reason(*delta.finish) : json::value(nullptr)},
      {"logprobs",
       delta.logprobs.empty() ? json::value(nullptr) : logprobs_value(call, delta.logprobs)}};
  if (is_chat(call)) {
    json::object content;
    if (first) content["role"] = "assistant";
    if (first || !delta.text.empty()) content["content"] = delta.text;
    choice["delta"] = std::move(content);
  } else {
    choice["text"] = delta.text;
  }
  auto chunk = head_object(head, is_chat(call) ? "chat.completion.chunk" : "text_completion");
  chunk["choices"] = json::array{std::move(choice)};
  if (call.include_usage) chunk["usage"] = nullptr;
  return json::serialize(chunk);
}

std::string usage_chunk(const ReplyHead& head, const GenerateCall& call, const Usage& usage) {
  auto chunk = head_object(head, is_chat(call) ? "chat.completion.chunk" : "text_completion");
  chunk["choices"] = json::array();
  chunk["usage"] = usage_object(usage);
  return json::serialize(chunk);
}

namespace {

json::object model_json(std::string_view id, std::int64_t created, std::int64_t max_context) {
  return {{"id", id},
          {"object", "model"},
          {"created", created},
          {"owned_by", "tandem"},
          {"max_model_len", max_context}};
}

}  // namespace

std::string model_object(std::string_view id, std::int64_t created, std::int64_t max_context) {
  return json::serialize(model_json(id, created, max_context));
}

std::string model_list(std::string_view id, std::int64_t created, std::int64_t max_context) {
  return json::serialize(json::object{{"object", "list"},
                                      {"data", json::array{model_json(id, created, max_context)}}});
}

std::string version_object(std::string_view version) {
  return json::serialize(json::object{{"version", version}});
}

}  // namespace tandem::api
