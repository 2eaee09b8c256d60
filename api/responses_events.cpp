// See responses_events.hpp.
#include "api/responses_events.hpp"

#include <boost/json.hpp>
#include <charconv>
#include <utility>

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

json::array tools_array(const GenerateCall& call) {
  json::array tools;
  for (const auto& tool : call.tools) {
    boost::system::error_code failed;
    tools.push_back({{"type", "function"},
                     {"name", tool.name},
                     {"description", tool.description ? json::value(*tool.description) : nullptr},
                     {"parameters", json::parse(tool.parameters, failed)},
                     {"strict", false}});
  }
  return tools;
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
      {"parallel_tool_calls", call.parallel_tool_calls},
      {"previous_response_id", nullptr},
      {"reasoning", {{"effort", nullptr}, {"summary", nullptr}}},
      {"store", false},
      {"prompt_cache_key", optional_text(echo.prompt_cache_key)},
      {"safety_identifier", optional_text(echo.safety_identifier)},
      {"temperature", shortest(call.sampling.temperature)},
      {"text", {{"format", {{"type", "text"}}}}},
      {"tool_choice", call.hide_tools ? "none" : "auto"},
      {"tools", tools_array(call)},
      {"top_logprobs", call.sampling.logprobs.value_or(0)},
      {"top_p", shortest(call.sampling.top_p)},
      {"truncation", "disabled"},
      {"user", optional_text(echo.user)}};
}

json::object usage_object(const Usage& usage) {
  return {{"input_tokens", usage.prompt.value()},
          {"input_tokens_details", {{"cached_tokens", usage.cached.value()}}},
          {"output_tokens", usage.completion.value()},
          {"output_tokens_details", {{"reasoning_tokens", usage.reasoning.value()}}},
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
      stream_id_(std::move(stream_id)),
      prefill_only_(call.prefill_only),
      obfuscates_(call.include_obfuscation),
      fixed_(fixed_part(call, id_, unix_now, echo)) {}

std::string ResponseEvents::event(std::string_view type, json::object fields) {
  fields["type"] = type;
  fields["sequence_number"] = sequence_++;
  if (!stream_id_.empty()) fields["stream_id"] = stream_id_;
  return json::serialize(fields);
}

std::string ResponseEvents::delta_event(std::string_view type, json::object fields) {
  if (obfuscates_) fields["obfuscation"] = random_padding(json::serialize(fields).size());
  return event(type, std::move(fields));
}

json::object ResponseEvents::content_part() const {
  if (item_->kind == Kind::reasoning) return {{"type", "reasoning_text"}, {"text", item_->text}};
  return {{"type", "output_text"},
          {"text", item_->text},
          {"annotations", json::array()},
          {"logprobs", item_->logprobs}};
}

json::object ResponseEvents::item(std::string_view status, bool with_content) const {
  if (item_->kind == Kind::call)
    return {{"id", item_->id},     {"type", "function_call"},
            {"status", status},    {"call_id", item_->call_id},
            {"name", item_->name}, {"arguments", with_content ? item_->text : ""}};
  json::array content;
  if (with_content) content.push_back(content_part());
  json::object object{{"id", item_->id}, {"status", status}, {"content", std::move(content)}};
  if (item_->kind == Kind::reasoning) {
    object["type"] = "reasoning";
    object["summary"] = json::array();
  } else {
    object["type"] = "message";
    object["role"] = "assistant";
  }
  return object;
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

json::object ResponseEvents::place() const { return {{"output_index", output_.size()}}; }

json::object ResponseEvents::place_inside() const {
  auto object = place();
  object["item_id"] = item_->id;
  if (item_->kind != Kind::call) object["content_index"] = 0;
  return object;
}

std::vector<std::string> ResponseEvents::opening(bool only_message) {
  std::vector<std::string> events;
  events.push_back(event("response.created", {{"response", response("in_progress")}}));
  events.push_back(event("response.in_progress", {{"response", response("in_progress")}}));
  if (only_message && !prefill_only_) begin_item({}, events);
  return events;
}

void ResponseEvents::begin_item(const model::AnswerPart& part, std::vector<std::string>& events) {
  if (item_) end_item("completed", events);
  item_.emplace(Item{.kind = part.kind, .name = part.name, .call_id = part.id});
  item_->id = random_id(part.kind == Kind::call        ? "fc_"
                        : part.kind == Kind::reasoning ? "rs_"
                                                       : "msg_");
  auto added = place();
  added["item"] = item("in_progress", false);
  events.push_back(event("response.output_item.added", std::move(added)));
  if (part.kind == Kind::call) return;
  auto begun = place_inside();
  begun["part"] = content_part();
  events.push_back(event("response.content_part.added", std::move(begun)));
}

void ResponseEvents::grow_item(std::string_view text, json::array logprobs,
                               std::vector<std::string>& events) {
  item_->text += text;
  auto fields = place_inside();
  fields["delta"] = text;
  switch (item_->kind) {
    case Kind::content:
      item_->logprobs.insert(item_->logprobs.end(), logprobs.begin(), logprobs.end());
      fields["logprobs"] = std::move(logprobs);
      events.push_back(delta_event("response.output_text.delta", std::move(fields)));
      break;
    case Kind::reasoning:
      events.push_back(delta_event("response.reasoning_text.delta", std::move(fields)));
      break;
    case Kind::call:
      events.push_back(delta_event("response.function_call_arguments.delta", std::move(fields)));
  }
}

std::vector<std::string> ResponseEvents::add(const model::AnswerParts& parts,
                                             const std::vector<LogprobEntry>& logprobs) {
  std::vector<std::string> events;
  const auto entries = logprob_entries(logprobs);
  waiting_logprobs_.insert(waiting_logprobs_.end(), entries.begin(), entries.end());
  for (const auto& part : parts) {
    const bool goes_on = item_ && item_->kind == part.kind && part.name.empty();
    if (!goes_on) begin_item(part, events);
    if (part.kind == Kind::content)
      grow_item(part.text, std::exchange(waiting_logprobs_, {}), events);
    else
      grow_item(part.text, {}, events);
  }
  // Those of text that is still held back go to the message that is there. Before the first item,
  // they wait for it.
  if (!item_) return events;
  auto late = std::exchange(waiting_logprobs_, {});
  if (!late.empty() && item_->kind == Kind::content) grow_item({}, std::move(late), events);
  return events;
}

void ResponseEvents::end_item(std::string_view status, std::vector<std::string>& events) {
  auto done = place_inside();
  done[item_->kind == Kind::call ? "arguments" : "text"] = item_->text;
  switch (item_->kind) {
    case Kind::content:
      done["logprobs"] = item_->logprobs;
      events.push_back(event("response.output_text.done", std::move(done)));
      break;
    case Kind::reasoning:
      events.push_back(event("response.reasoning_text.done", std::move(done)));
      break;
    case Kind::call:
      done["name"] = item_->name;
      events.push_back(event("response.function_call_arguments.done", std::move(done)));
  }
  if (item_->kind != Kind::call) {
    auto part_done = place_inside();
    part_done["part"] = content_part();
    events.push_back(event("response.content_part.done", std::move(part_done)));
  }
  auto item_done = place();
  item_done["item"] = item(status, true);
  events.push_back(event("response.output_item.done", item_done));
  output_.push_back(item_done.at("item"));
  item_.reset();
}

std::vector<std::string> ResponseEvents::closing(FinishReason finish, const Usage& usage,
                                                 const Error* reason) {
  std::vector<std::string> events;
  // Nothing was said: a message without text, unless nothing was to be said.
  if (!item_ && output_.empty() && !prefill_only_) {
    begin_item({}, events);
    if (!waiting_logprobs_.empty()) grow_item({}, std::exchange(waiting_logprobs_, {}), events);
  }
  if (item_) end_item(finish == FinishReason::stop ? "completed" : "incomplete", events);

  auto last = response(status_of(finish));
  last["output"] = output_;
  last["usage"] = usage_object(usage);
  if (finish == FinishReason::length)
    last["incomplete_details"] = {{"reason", "max_output_tokens"}};
  if (finish == FinishReason::failed) last["error"] = failure(reason);
  final_object_ = json::serialize(last);
  events.push_back(event(terminal_event(finish), {{"response", std::move(last)}}));
  return events;
}

}  // namespace tandem::api
