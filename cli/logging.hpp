// Log lines of the service on standard error: text for people, or one JSON object per line.
#pragma once

#include <string>
#include <string_view>

#include "config/config.hpp"

namespace tandem::cli {

/// Makes spdlog's default logger the service's.
void start_logging(const config::LogOptions& options);

/// A log line as the members of a JSON object, without braces: "event" is its first word if
/// key=value pairs follow, each of which becomes a string; "msg" is the whole line. Values may be
/// quoted.
std::string json_members(std::string_view line);

}  // namespace tandem::cli
