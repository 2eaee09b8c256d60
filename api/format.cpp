// See format.hpp: completions, chat completions, their chunks, models.
#include "api/format.hpp"

#include <boost/json.hpp>

#include "api/ids.hpp"
#include "api/logprobs.hpp"

namespace tandem::api {
namespace json = boost::json;
namespace {

bool is_chat(const GenerateCall& call) { return call.endpoint == Endpoint::chat_completions; }

using Kind = model::AnswerPart::Kind;

json::value finish_reason(FinishReason reason, bool called_tools) {
  switch (reason) {
    case FinishReason::stop: return called_tools ? "tool_calls" : "stop";
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
          {"prompt_tokens_details", {{"cached_tokens", usage.cached.value()}}},
          {"completion_tokens_details", {{"reasoning_tokens", usage.reasoning.value()}}}};
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

/// The parts of calls: put together, or numbered as they came.
json::array tool_calls(const model::AnswerParts& parts, bool streamed) {
  json::array calls;
  for (const auto& part : parts) {
    if (part.kind != Kind::call) continue;
    const bool goes_on = part.name.empty();
    if (goes_on && !streamed) {
      calls.back().at("function").at("arguments").as_string() += part.text;
      continue;
    }
    json::object call, function;
    if (streamed) call["index"] = part.call;
    if (!goes_on) {
      call["id"] = part.id;
      call["type"] = "function";
      function["name"] = part.name;
    }
    function["arguments"] = part.text;
    call["function"] = std::move(function);
    calls.push_back(std::move(call));
  }
  return calls;
}

json::object message_of(const model::AnswerParts& parts) {
  const auto content = text_of(parts, Kind::content);
  const auto reasoning = text_of(parts, Kind::reasoning);
  auto calls = tool_calls(parts, false);
  json::object message{{"role", "assistant"}, {"content", content}, {"refusal", nullptr}};
  if (content.empty() && !calls.empty()) message["content"] = nullptr;
  if (!reasoning.empty()) message["reasoning_content"] = reasoning;
  if (!calls.empty()) message["tool_calls"] = std::move(calls);
  return message;
}

/// What a chunk adds to the message.
json::object delta_of(const model::AnswerParts& parts, bool first) {
  const auto content = text_of(parts, Kind::content);
  const auto reasoning = text_of(parts, Kind::reasoning);
  auto calls = tool_calls(parts, true);
  json::object delta;
  if (first) delta["role"] = "assistant";
  if (!content.empty() || first) delta["content"] = content;
  if (content.empty() && first && !calls.empty()) delta["content"] = nullptr;
  if (!reasoning.empty()) delta["reasoning_content"] = reasoning;
  if (!calls.empty()) delta["tool_calls"] = std::move(calls);
  return delta;
}

json::object reply_choice(const CallCollector& collected, std::size_t index) {
  const auto& call = collected.call();
  const auto& result = collected.results()[index];
  json::object choice{{"index", index},
                      {"finish_reason", finish_reason(result.finish, result.called_tools)},
                      {"logprobs", logprobs_value(call, result.logprobs)}};
  if (is_chat(call))
    choice["message"] = message_of(result.parts);
  else
    choice["text"] = collected.echoed(index) + text_of(result.parts, Kind::content);
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
      {"finish_reason",
       delta.finish ? finish_reason(*delta.finish, delta.called_tools) : json::value(nullptr)},
      {"logprobs",
       delta.logprobs.empty() ? json::value(nullptr) : logprobs_value(call, delta.logprobs)}};
  if (is_chat(call))
    choice["delta"] = delta_of(delta.parts, first);
  else
    choice["text"] = text_of(delta.parts, Kind::content);
  auto chunk = head_object(head, is_chat(call) ? "chat.completion.chunk" : "text_completion");
  chunk["choices"] = json::array{std::move(choice)};
  if (call.include_usage) chunk["usage"] = nullptr;
  auto text = json::serialize(chunk);
  if (!call.include_obfuscation) return text;
  chunk["obfuscation"] = random_padding(text.size());
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
