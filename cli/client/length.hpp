// A number of tokens as a tool is told it: one, or a range to draw from.
#pragma once

#include <cstdint>
#include <string_view>

#include "core/result.hpp"

namespace tandem::client {

/// A number of tokens, drawn evenly from [least, most].
struct Length {
  std::int64_t least = 0;
  std::int64_t most = 0;
};
/// "128" or "64:256"; 1 .. 1048576.
Result<Length> parse_length(std::string_view text);

}  // namespace tandem::client
