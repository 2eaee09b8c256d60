// See responses.hpp.
#include "cli/client/responses.hpp"

#include <boost/json.hpp>

namespace tandem::client {
namespace json = boost::json;
namespace {

const json::object* object_of(const json::object& object, std::string_view name) {
  const auto* value = object.if_contains(name);
  return value ? value->if_object() : nullptr;
}

std::string text_of(const json::object& object, std::string_view name) {
  const auto* value = object.if_contains(name);
  return value && value->is_string() ? std::string(value->as_string()) : std::string();
}

std::int64_t number_of(const json::object& object, std::string_view name) {
  const auto* value = object.if_contains(name);
  return value && value->is_int64() ? value->as_int64() : 0;
}

void read_response(const json::object& response, ResponseEvent& event) {
  event.response_id = text_of(response, "id");
  event.status = text_of(response, "status");
  if (const auto* error = object_of(response, "error")) event.message = text_of(*error, "message");
  if (const auto* details = object_of(response, "incomplete_details"))
    event.message = text_of(*details, "reason");
  const auto* usage = object_of(response, "usage");
  if (!usage) return;
  event.input_tokens = number_of(*usage, "input_tokens");
  event.output_tokens = number_of(*usage, "output_tokens");
}

}  // namespace

std::string create_event(const ResponseCall& call) {
  json::object event{{"type", "response.create"}, {"model", call.model}};
  if (!call.stream_id.empty()) event["stream_id"] = call.stream_id;
  if (!call.instructions.empty()) event["instructions"] = call.instructions;
  json::array input;
  for (const auto& [role, content] : call.input)
    input.push_back(json::object{{"type", "message"}, {"role", role}, {"content", content}});
  event["input"] = std::move(input);
  if (call.max_tokens > 0) event["max_output_tokens"] = call.max_tokens;
  if (call.temperature >= 0) event["temperature"] = call.temperature;
  return json::serialize(event);
}

std::string cancel_event(std::string_view response_id) {
  return json::serialize(json::object{{"type", "response.cancel"}, {"response_id", response_id}});
}

Result<ResponseEvent> parse_response_event(std::string_view text) {
  json::error_code failure;
  const auto value = json::parse(text, failure);
  const auto* object = failure ? nullptr : value.if_object();
  if (!object || text_of(*object, "type").empty())
    return error(Errc::invalid_value, "the service sent something that is no event: " +
                                          std::string(text.substr(0, 200)));
  ResponseEvent event;
  event.stream_id = text_of(*object, "stream_id");
  const auto type = text_of(*object, "type");
  if (const auto* response = object_of(*object, "response")) read_response(*response, event);
  if (type == "response.created") {
    event.kind = ResponseEvent::Kind::created;
  } else if (type == "response.output_text.delta") {
    event.kind = ResponseEvent::Kind::delta;
    event.text = text_of(*object, "delta");
  } else if (type == "response.completed" || type == "response.incomplete" ||
             type == "response.failed") {
    event.kind = ResponseEvent::Kind::ended;
  } else if (type == "error") {
    event.kind = ResponseEvent::Kind::error;
    if (const auto* reason = object_of(*object, "error"))
      event.message = text_of(*reason, "message");
  }
  return event;
}

}  // namespace tandem::client
