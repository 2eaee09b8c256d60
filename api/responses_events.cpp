// See responses_events.hpp.
#include "api/responses_events.hpp"

#include <boost/json.hpp>
#include <charconv>

#include "api/errors.hpp"
#include "api/ids.hpp"
#include "api/logprobs.hpp"
#include "model/utf8.hpp"

namespace tandem::api {
namespace json = boost::json;
namespace {

/// 0.7, not the 0.699999988079071 that a float is.
double shortest(float value) {
  char text[32];
  double result = value;
  const auto* const end = std::to_chars(text, text + sizeof text, value).ptr;
  std::from_chars(text, end, result);
  return result;
}

json::value optional_text(const std::string& text) {
  return text.empty() ? json::value(nullptr) : json::value(text);
}

json::object metadata_object(const ResponseEcho& echo) {
  json::object object;
  for (const auto& [key, value] : echo.metadata) object[key] = value;
  return object;
}

/// The parts of the object that say what was asked for; the same in every event.
json::object fixed_part(const GenerateCall& call, const std::string& id, std::int64_t created,
                        const ResponseEcho& echo) {
  return {
      {"id", id},
      {"object", "response"},
      {"created_at", created},
      {"model", call.model},
      {"service_tier", call.service_tier},
      {"background", false},
      {"instructions", echo.instructions ? json::value(*echo.instructions) : json::value(nullptr)},
      {"max_output_tokens",
       call.max_tokens ? json::value(call.max_tokens->value()) : json::value(nullptr)},
      {"max_tool_calls", nullptr},
      {"metadata", metadata_object(echo)},
      {"parallel_tool_calls", true},
      {"previous_response_id", nullptr},
      {"reasoning", {{"effort", nullptr}, {"summary", nullptr}}},
      {"store", false},
      {"prompt_cache_key", optional_text(echo.prompt_cache_key)},
      {"safety_identifier", optional_text(echo.safety_identifier)},
      {"temperature", shortest(call.sampling.temperature)},
      {"text", {{"format", {{"type", "text"}}}}},
      {"tool_choice", "auto"},
      {"tools", json::array()},
      {"top_logprobs", call.sampling.logprobs.value_or(0)},
      {"top_p", shortest(call.sampling.top_p)},
      {"truncation", "disabled"},
      {"user", optional_text(echo.user)}};
}

json::object usage_object(const Usage& usage) {
  return {{"input_tokens", usage.prompt.value()},
          {"input_tokens_details", {{"cached_tokens", usage.cached.value()}}},
          {"output_tokens", usage.completion.value()},
          {"output_tokens_details", {{"reasoning_tokens", 0}}},
          {"total_tokens", (usage.prompt + usage.completion).value()}};
}

std::string_view status_of(FinishReason finish) {
  switch (finish) {
    case FinishReason::stop: return "completed";
    case FinishReason::length: return "incomplete";
    case FinishReason::cancelled: return "cancelled";
    case FinishReason::failed: return "failed";
  }
  return "failed";
}

/// Cancelled responses end with response.incomplete, whose object says "cancelled".
std::string_view terminal_event(FinishReason finish) {
  if (finish == FinishReason::stop) return "response.completed";
  return finish == FinishReason::failed ? "response.failed" : "response.incomplete";
}

/// `code` is one of the few that the API knows here.
json::object failure(const Error* reason) {
  if (!reason) return {{"code", "server_error"}, {"message", "the engine failed"}};
  const bool client = http_status(reason->code) == 400 || http_status(reason->code) == 413;
  return {{"code", client ? "invalid_prompt" : "server_error"},
          {"message", model::well_formed(reason->message)}};
}

}  // namespace

ResponseEvents::ResponseEvents(const GenerateCall& call, std::string stream_id,
                               std::int64_t unix_now, const ResponseEcho& echo)
    : id_(random_id("resp_")),
      item_id_(random_id("msg_")),
      stream_id_(std::move(stream_id)),
      fixed_(fixed_part(call, id_, unix_now, echo)) {}

std::string ResponseEvents::event(std::string_view type, json::object fields) {
  fields["type"] = type;
  fields["sequence_number"] = sequence_++;
  if (!stream_id_.empty()) fields["stream_id"] = stream_id_;
  return json::serialize(fields);
}

json::object ResponseEvents::content_part() const {
  return {{"type", "output_text"},
          {"text", text_},
          {"annotations", json::array()},
          {"logprobs", logprobs_}};
}

json::object ResponseEvents::item(std::string_view status, bool with_content) const {
  json::array content;
  if (with_content) content.push_back(content_part());
  return {{"id", item_id_},
          {"type", "message"},
          {"status", status},
          {"role", "assistant"},
          {"content", std::move(content)}};
}

json::object ResponseEvents::response(std::string_view status) const {
  auto object = fixed_;
  object["status"] = status;
  object["output"] = json::array();
  object["usage"] = nullptr;
  object["error"] = nullptr;
  object["incomplete_details"] = nullptr;
  return object;
}

json::object ResponseEvents::place(bool with_content_index) const {
  json::object object{{"output_index", 0}};
  if (with_content_index) {
    object["item_id"] = item_id_;
    object["content_index"] = 0;
  }
  return object;
}

std::vector<std::string> ResponseEvents::opening() {
  std::vector<std::string> events;
  events.push_back(event("response.created", {{"response", response("in_progress")}}));
  events.push_back(event("response.in_progress", {{"response", response("in_progress")}}));
  auto added = place(false);
  added["item"] = item("in_progress", false);
  events.push_back(event("response.output_item.added", std::move(added)));
  auto part = place(true);
  part["part"] = content_part();
  events.push_back(event("response.content_part.added", std::move(part)));
  return events;
}

std::string ResponseEvents::delta(std::string_view text,
                                  const std::vector<LogprobEntry>& logprobs) {
  text_ += text;
  auto entries = logprob_entries(logprobs);
  logprobs_.insert(logprobs_.end(), entries.begin(), entries.end());
  auto fields = place(true);
  fields["delta"] = text;
  fields["logprobs"] = std::move(entries);
  return event("response.output_text.delta", std::move(fields));
}

std::vector<std::string> ResponseEvents::closing(FinishReason finish, const Usage& usage,
                                                 const Error* reason) {
  const std::string_view item_status = finish == FinishReason::stop ? "completed" : "incomplete";
  std::vector<std::string> events;
  auto text_done = place(true);
  text_done["text"] = text_;
  text_done["logprobs"] = logprobs_;
  events.push_back(event("response.output_text.done", std::move(text_done)));
  auto part_done = place(true);
  part_done["part"] = content_part();
  events.push_back(event("response.content_part.done", std::move(part_done)));
  auto item_done = place(false);
  item_done["item"] = item(item_status, true);
  events.push_back(event("response.output_item.done", std::move(item_done)));

  auto last = response(status_of(finish));
  last["output"] = json::array{item(item_status, true)};
  last["usage"] = usage_object(usage);
  if (finish == FinishReason::length)
    last["incomplete_details"] = {{"reason", "max_output_tokens"}};
  if (finish == FinishReason::failed) last["error"] = failure(reason);
  final_object_ = json::serialize(last);
  events.push_back(event(terminal_event(finish), {{"response", std::move(last)}}));
  return events;
}

}  // namespace tandem::api
