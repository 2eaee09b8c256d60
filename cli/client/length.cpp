// See length.hpp.
#include "cli/client/length.hpp"

#include <charconv>
#include <optional>

namespace tandem::client {
namespace {

constexpr std::int64_t longest = 1 << 20;

std::optional<std::int64_t> integer(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failure != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

Result<Length> parse_length(std::string_view text) {
  const auto colon = text.find(':');
  const auto least = integer(text.substr(0, colon));
  const auto most = colon == std::string_view::npos ? least : integer(text.substr(colon + 1));
  if (!least || !most || *least < 1 || *most < *least || *most > longest)
    return error(Errc::invalid_value,
                 "'" + std::string(text) +
                     "' is no length; expected tokens such as 128, or a "
                     "range such as 64:256, in 1 .. 1048576",
                 "length");
  return Length{*least, *most};
}

}  // namespace tandem::client
