// See errors.hpp.
#include "api/errors.hpp"

#include <boost/json.hpp>

#include "model/utf8.hpp"

namespace tandem::api {
namespace json = boost::json;
namespace {

struct Row {
  int status;
  std::string_view type, code;
  bool permanent;
};

/// One row per Errc: the whole mapping in one place.
Row row(Errc code) {
  switch (code) {
    case Errc::invalid_value: return {400, "invalid_request_error", "invalid_value", true};
    case Errc::unsupported: return {400, "invalid_request_error", "unsupported_parameter", true};
    case Errc::context_length_exceeded:
      return {400, "invalid_request_error", "context_length_exceeded", true};
    case Errc::model_not_found: return {404, "not_found_error", "model_not_found", true};
    case Errc::not_found: return {404, "not_found_error", "not_found", true};
    case Errc::conflict: return {409, "conflict_error", "conflict", true};
    case Errc::too_large: return {413, "invalid_request_error", "request_too_large", true};
    case Errc::overloaded: return {429, "rate_limit_error", "server_overloaded", false};
    case Errc::resource_unavailable:
      return {429, "rate_limit_error", "resource_unavailable", false};
    case Errc::shutting_down: return {503, "server_error", "shutting_down", false};
    case Errc::cancelled: return {499, "invalid_request_error", "cancelled", true};
    case Errc::device_failed: return {500, "server_error", "engine_restarted", false};
    case Errc::storage_failed: return {503, "server_error", "storage_failed", false};
    case Errc::invalid_api_key: return {401, "authentication_error", "invalid_api_key", true};
    case Errc::permission_denied: return {403, "permission_error", "permission_denied", true};
    case Errc::response_not_found: return {404, "not_found_error", "response_not_found", true};
    case Errc::resume_window_expired:
      return {410, "invalid_request_error", "resume_window_expired", true};
    case Errc::stream_limit_reached:
      return {400, "invalid_request_error", "websocket_stream_limit_reached", true};
    case Errc::internal: return {500, "server_error", "internal_error", false};
  }
  return {500, "server_error", "internal_error", false};
}

json::object error_object(const Error& reason) {
  json::object result;
  // Messages may quote what came in a URL or a header, and JSON has to be UTF-8.
  result["message"] = model::well_formed(reason.message);
  result["type"] = error_type(reason.code);
  result["param"] =
      reason.param.empty() ? json::value(nullptr) : json::value(model::well_formed(reason.param));
  result["code"] = error_code(reason.code);
  return result;
}

}  // namespace

int http_status(Errc code) { return row(code).status; }
std::string_view error_type(Errc code) { return row(code).type; }
std::string_view error_code(Errc code) { return row(code).code; }
bool is_permanent(Errc code) { return row(code).permanent; }
std::string batch_error_code(const Error& reason) { return std::string(error_code(reason.code)); }

std::string error_body(const Error& reason) {
  return json::serialize(json::object{{"error", error_object(reason)}});
}

std::string error_body(const Error& reason, int status) {
  auto object = error_object(reason);
  if (status >= 500 && http_status(reason.code) < 500) object["type"] = "server_error";
  return json::serialize(json::object{{"error", std::move(object)}});
}

std::string websocket_error(const Error& reason, std::string_view stream_id,
                            std::string_view event_id) {
  json::object error = error_object(reason);
  if (!event_id.empty()) error["event_id"] = event_id;
  json::object event{
      {"type", "error"}, {"status", http_status(reason.code)}, {"error", std::move(error)}};
  if (!stream_id.empty()) event["stream_id"] = stream_id;
  return json::serialize(event);
}

}  // namespace tandem::api
