#include "net/query.hpp"

#include <algorithm>
#include <charconv>

namespace tandem::net {
namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

std::optional<std::string> percent_decode(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '%') {
      if (i + 2 >= text.size()) return std::nullopt;
      const int high = hex_digit(text[i + 1]), low = hex_digit(text[i + 2]);
      if (high < 0 || low < 0) return std::nullopt;
      c = static_cast<char>(high * 16 + low);
      i += 2;
    }
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) return std::nullopt;
    out.push_back(c);
  }
  return out;
}

std::optional<std::string> query_value(std::string_view query, std::string_view name) {
  while (!query.empty()) {
    const auto end = std::min(query.find('&'), query.size());
    const auto pair = query.substr(0, end);
    query.remove_prefix(std::min(end + 1, query.size()));
    const auto equal = std::min(pair.find('='), pair.size());
    if (pair.substr(0, equal) != name) continue;
    return percent_decode(pair.substr(std::min(equal + 1, pair.size())));
  }
  return std::nullopt;
}

Result<std::int64_t> query_number(std::string_view query, std::string_view name, std::int64_t low,
                                  std::int64_t high, std::int64_t fallback) {
  const auto text = query_value(query, name);
  if (!text) return fallback;
  std::int64_t value = 0;
  const auto [end, failed] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (failed != std::errc{} || end != text->data() + text->size() || value < low || value > high)
    return error(Errc::invalid_value,
                 std::string(name) + " must be a whole number from " + std::to_string(low) +
                     " to " + std::to_string(high),
                 std::string(name));
  return value;
}

}  // namespace tandem::net
