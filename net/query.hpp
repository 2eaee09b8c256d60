// The part of a request's target behind '?', and percent-encoding.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/result.hpp"

namespace tandem::net {

/// "%2F" becomes "/"; nothing if an escape is malformed or yields a control character.
std::optional<std::string> percent_decode(std::string_view text);

/// The first parameter of that name, decoded; nothing if absent. Malformed escapes: as absent.
std::optional<std::string> query_value(std::string_view query, std::string_view name);

/// A whole number in [low, high], or `fallback` if absent.
Result<std::int64_t> query_number(std::string_view query, std::string_view name, std::int64_t low,
                                  std::int64_t high, std::int64_t fallback);

}  // namespace tandem::net
