// From the wire to core types. Everything here is hostile until it has passed: depth, sizes, types
// and ranges are checked, and an error names the field, what it held and what is allowed.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/generate.hpp"
#include "core/result.hpp"

namespace tandem::api {

/// The most that any configuration allows.
inline constexpr std::uint32_t most_choices = 128, most_prompts = 4096;

struct ParseLimits {
  std::string model;            ///< the model that is served, and the only one allowed; empty: any
  std::int64_t vocab_size = 0;  ///< bounds token ids in logit_bias, stop_token_ids and prompts
  std::uint32_t max_choices = 16;
  std::uint32_t max_prompts = 64;
  std::size_t max_messages = 4096;
  std::size_t max_stop_bytes = 256;
  std::size_t max_logit_bias = 1024;
  std::size_t max_text_bytes = 4 << 20;  ///< that tokens may stand for in /detokenize
  std::size_t max_tools = 128;
  std::size_t max_tool_bytes = 256 << 10;  ///< of all tools' names, descriptions and schemas
  std::size_t max_tool_calls = 128;        ///< of one message
  std::size_t max_template_arguments = 16;
  std::size_t max_template_argument_bytes = 4096;
  bool strict_fields = false;  ///< unknown top-level fields are errors instead of being ignored
};

/// What a response object repeats of its request beside what GenerateCall holds.
struct ResponseEcho {
  std::optional<std::string> instructions;
  std::map<std::string, std::string> metadata;
  std::string user, safety_identifier, prompt_cache_key;  ///< empty: not given
};

struct ParsedCall {
  GenerateCall call;
  std::vector<std::string> ignored_fields;  ///< unknown ones, at most 16 of them; for the debug log
  std::uint32_t num_ignored = 0;            ///< how many there are in all; for the metric
  ResponseEcho echo;                        ///< of Endpoint::responses
  bool resumable = false;                   ///< likewise: outlives its connection for a while
};

/// The body of POST /v1/completions, /v1/chat/completions or /v1/responses (for the last also a
/// response.create event, whose `type`, `stream_id` and `event_id` are passed over).
Result<ParsedCall> parse_call(Endpoint endpoint, std::string_view json, const ParseLimits& limits);

/// One line of a batch's input file; `body` is the request's JSON again.
struct BatchLine {
  std::string custom_id, url, body;
};
/// What is wrong with a line, and its code in the batch's `errors` list: "invalid_json_line",
/// "missing_required_parameter", "invalid_custom_id", "invalid_method", "invalid_url" or
/// "invalid_value".
struct BatchLineError : Error {
  std::string line_code;
};
/// `url` must be one of /v1/completions and /v1/chat/completions; `body` any object: parse_call()
/// looks into it.
boost::system::result<BatchLine, BatchLineError> parse_batch_line(std::string_view line);
std::string batch_error_code(const BatchLineError& reason);

struct BatchCreate {
  std::string input_file_id, endpoint, completion_window;
  std::int64_t window_seconds = 86400;
  std::map<std::string, std::string> metadata;
  std::optional<std::int64_t> output_expires_after_seconds;  ///< one hour to 30 days
  std::uint32_t num_ignored = 0;                             ///< unknown fields, for the metric
};
/// The body of POST /v1/batches. Windows: "24h", and as an extension "<n>h" and "<n>m", up to 30
/// days.
Result<BatchCreate> parse_batch_create(std::string_view json, const ParseLimits& limits = {});

struct CreateResponse {
  std::string stream_id, event_id;
  ParsedCall parsed;
};
struct CancelResponse {
  std::string response_id, event_id;
};
struct ResumeResponse {
  std::string response_id, event_id;
  std::int64_t starting_after = -1;  ///< the last event that was received
};
/// A refused event, with what could still be read of its ids, so that the error can echo them.
struct BadEvent {
  std::string stream_id, event_id;
  Error reason;
};
/// One text message of the Responses WebSocket.
std::variant<CreateResponse, CancelResponse, ResumeResponse, BadEvent> parse_websocket_event(
    std::string_view json, const ParseLimits& limits);

}  // namespace tandem::api
