// Errors as OpenAI's clients expect them: four keys, all always there, and a status that tells the
// client whether to try again.
#pragma once

#include <string>
#include <string_view>

#include "core/result.hpp"

namespace tandem::api {

int http_status(Errc code);
/// "invalid_request_error", "rate_limit_error", …
std::string_view error_type(Errc code);
/// "context_length_exceeded", "model_not_found", …
std::string_view error_code(Errc code);
/// The same call would fail again: the client is told not to retry (x-should-retry: false).
bool is_permanent(Errc code);
/// The code of a line in a batch's `errors` list.
std::string batch_error_code(const Error& reason);

/// {"error":{"message","type","param","code"}}
std::string error_body(const Error& reason);
/// The same for a status that HTTP chose: its type is that of `status` where the two differ.
std::string error_body(const Error& reason, int status);
/// The `error` event of the Responses WebSocket; empty ids are left out.
std::string websocket_error(const Error& reason, std::string_view stream_id,
                            std::string_view event_id);

}  // namespace tandem::api
