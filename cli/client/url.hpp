// Where a service is: http://host:port, with an optional path in front of /v1.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "core/result.hpp"

namespace tandem::client {

struct Url {
  std::string host;          ///< a name or an address, IPv6 without brackets
  std::string port;          ///< digits
  std::string prefix;        ///< "" or "/path" without a slash at its end
  std::string api_key = {};  ///< sent as Authorization: Bearer; empty: none

  /// For the Host header: "localhost:8000", "[::1]:8000".
  [[nodiscard]] std::string authority() const;
};

/// Accepts http://, and ws:// for the same; https is refused by name. A trailing /v1 is dropped, as
/// targets bring their own.
Result<Url> parse_url(std::string_view text);

/// The first line of a file that is neither empty nor a comment ('#'). "" for no file.
Result<std::string> read_api_key(const std::filesystem::path& file);

}  // namespace tandem::client
