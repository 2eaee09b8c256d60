// The Responses WebSocket as the tools use it: one event out per question, a few kinds of event in.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/result.hpp"

namespace tandem::client {

struct ResponseCall {
  std::string stream_id;  ///< the lane; empty: the implicit one
  std::string model;
  std::string instructions;                                ///< empty: none
  std::vector<std::pair<std::string, std::string>> input;  ///< role and content, oldest first
  std::int64_t max_tokens = 0;                             ///< 0: the service's
  double temperature = -1;                                 ///< below 0: the service's
};
/// The response.create event.
std::string create_event(const ResponseCall& call);
/// The response.cancel event.
std::string cancel_event(std::string_view response_id);

struct ResponseEvent {
  enum class Kind : std::uint8_t {
    created,  ///< response_id is known from here on
    delta,    ///< text
    ended,    ///< completed, incomplete or failed: status, message, tokens
    error,    ///< of a response (stream_id) or of the whole session: message
    other,
  };
  Kind kind = Kind::other;
  std::string stream_id, response_id, text;
  std::string status;   ///< "completed", "incomplete", "cancelled", "failed"
  std::string message;  ///< for people
  std::int64_t input_tokens = 0, output_tokens = 0;
};
/// Fails if `json` is no object with a type.
Result<ResponseEvent> parse_response_event(std::string_view json);

}  // namespace tandem::client
