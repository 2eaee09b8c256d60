// Expected failures. An Error names what was wrong, where, and what is allowed; it travels as a
// value. Bugs are not Errors: they end the process through TANDEM_CHECK (check.hpp).
#pragma once

#include <boost/system/result.hpp>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace tandem {

/// The kind of a failure; net/ maps it to an HTTP status and an OpenAI error code.
enum class Errc : std::uint8_t {
  invalid_value = 1,        ///< a field or a file holds something that is not allowed
  unsupported,              ///< understood, but not offered; leaving it out would change meaning
  context_length_exceeded,  ///< prompt + max_tokens do not fit the model or the KV cache
  model_not_found,
  not_found,
  conflict,              ///< the object is in a state that forbids this
  too_large,             ///< a stated bound on size was passed
  overloaded,            ///< a queue is full; try again later
  resource_unavailable,  ///< offline-class call not served within its wait
  shutting_down,
  cancelled,
  device_failed,   ///< the device or its driver reported an error
  storage_failed,  ///< disk full, I/O error, database busy
  invalid_api_key,        ///< no API key, or one that is not known
  permission_denied,      ///< understood, and not allowed from there
  response_not_found,     ///< no such response can be resumed here
  resume_window_expired,  ///< it could have been, but not any more
  stream_limit_reached,   ///< one named lane of a WebSocket too many
  internal,
};

/// Stable lower-case name of `code`, as used in logs ("invalid_value").
std::string_view to_string(Errc code);

struct Error {
  Errc code = Errc::internal;
  std::string message;  ///< a sentence for a person
  std::string param;    ///< the field, key or file that was wrong; empty if none

  friend bool operator==(const Error&, const Error&) = default;
};

template <class T>
using Result = boost::system::result<T, Error>;

inline Error error(Errc code, std::string message, std::string param = {}) {
  return Error{code, std::move(message), std::move(param)};
}

/// Called by Result::value() on a failed result; reaching it is a bug in the caller.
[[noreturn]] void throw_exception_from_error(const Error& error,
                                             const boost::source_location& where);

}  // namespace tandem
