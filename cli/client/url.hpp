// Where a service is: http://host:port, with an optional path in front of /v1.
#pragma once

#include <string>
#include <string_view>

#include "core/result.hpp"

namespace tandem::client {

struct Url {
  std::string host;    ///< a name or an address, IPv6 without brackets
  std::string port;    ///< digits
  std::string prefix;  ///< "" or "/path" without a slash at its end

  /// For the Host header: "localhost:8000", "[::1]:8000".
  [[nodiscard]] std::string authority() const;
};

/// Accepts http://, and ws:// for the same; https is refused by name. A trailing /v1 is dropped, as
/// targets bring their own.
Result<Url> parse_url(std::string_view text);

}  // namespace tandem::client
