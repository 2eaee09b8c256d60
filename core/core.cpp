// The few functions of core/ that are not inline: names of enumerators, and how a bug ends the
// process.
#include <cstdio>
#include <cstdlib>
#include <stdexcept>

#include "core/check.hpp"
#include "core/request.hpp"
#include "core/result.hpp"

namespace tandem {

std::string_view to_string(Errc code) {
  switch (code) {
    case Errc::invalid_value: return "invalid_value";
    case Errc::unsupported: return "unsupported";
    case Errc::context_length_exceeded: return "context_length_exceeded";
    case Errc::model_not_found: return "model_not_found";
    case Errc::not_found: return "not_found";
    case Errc::conflict: return "conflict";
    case Errc::too_large: return "too_large";
    case Errc::overloaded: return "overloaded";
    case Errc::resource_unavailable: return "resource_unavailable";
    case Errc::shutting_down: return "shutting_down";
    case Errc::cancelled: return "cancelled";
    case Errc::device_failed: return "device_failed";
    case Errc::storage_failed: return "storage_failed";
    case Errc::invalid_api_key: return "invalid_api_key";
    case Errc::permission_denied: return "permission_denied";
    case Errc::response_not_found: return "response_not_found";
    case Errc::resume_window_expired: return "resume_window_expired";
    case Errc::stream_limit_reached: return "stream_limit_reached";
    case Errc::internal: return "internal";
  }
  return "unknown";
}

std::string_view to_string(RequestClass request_class) {
  return request_class == RequestClass::online ? "online" : "offline";
}

std::string_view to_string(FinishReason reason) {
  switch (reason) {
    case FinishReason::stop: return "stop";
    case FinishReason::length: return "length";
    case FinishReason::cancelled: return "cancelled";
    case FinishReason::failed: return "failed";
  }
  return "unknown";
}

void throw_exception_from_error(const Error& error, const boost::source_location&) {
  throw std::logic_error("value() of a failed Result: " + error.message);
}

void check_failed(const char* condition, const char* file, int line, const char* why) {
  std::fprintf(stderr, "%s:%d: check failed: %s: %s\n", file, line, condition, why);
  std::fflush(stderr);
  std::abort();
}

}  // namespace tandem
