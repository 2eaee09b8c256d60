// See values.hpp.
#include "config/values.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

namespace tandem::config {
namespace {

struct Unit {
  std::string_view name;
  std::int64_t factor;
};

/// Largest binary units first: bytes_text takes the first that divides.
constexpr std::array units{
    Unit{"TiB", 1LL << 40}, Unit{"GiB", 1LL << 30},      Unit{"MiB", 1LL << 20},
    Unit{"KiB", 1LL << 10}, Unit{"TB", 1000000000000LL}, Unit{"GB", 1000000000LL},
    Unit{"MB", 1000000LL},  Unit{"kB", 1000LL},          Unit{"B", 1LL},
};
constexpr std::size_t num_binary_units = 4;

/// Words longer than this are not compared: nobody means a key by them.
constexpr std::size_t longest_word = 64;

char folded(char c) { return c == '-' ? '_' : c; }

/// Insertions, deletions, substitutions and swaps of neighbours that turn `a` into `b`.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  const std::size_t width = b.size() + 1;
  std::vector<std::size_t> cost((a.size() + 1) * width);
  const auto at = [&](std::size_t i, std::size_t j) -> std::size_t& { return cost[i * width + j]; };
  for (std::size_t i = 0; i <= a.size(); ++i) at(i, 0) = i;
  for (std::size_t j = 0; j <= b.size(); ++j) at(0, j) = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const bool same = folded(a[i - 1]) == folded(b[j - 1]);
      auto best = std::min({at(i - 1, j) + 1, at(i, j - 1) + 1, at(i - 1, j - 1) + (same ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        best = std::min(best, at(i - 2, j - 2) + 1);
      at(i, j) = best;
    }
  }
  return at(a.size(), b.size());
}

}  // namespace

std::optional<std::int64_t> parse_integer(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failure != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<double> parse_decimal(std::string_view text) {
  double value = 0;
  const auto [end, failure] =
      std::from_chars(text.data(), text.data() + text.size(), value, std::chars_format::fixed);
  if (failure != std::errc{} || end != text.data() + text.size() || !std::isfinite(value))
    return std::nullopt;
  return value;
}

std::optional<std::int64_t> parse_bytes(std::string_view text) {
  const auto digits = std::min(text.find_first_not_of("0123456789"), text.size());
  const auto number = parse_integer(text.substr(0, digits));
  if (!number) return std::nullopt;
  auto suffix = text.substr(digits);
  if (suffix.size() > 1 && suffix.front() == ' ') suffix.remove_prefix(1);
  if (suffix.empty()) return number;
  for (const auto& unit : units) {
    if (unit.name != suffix) continue;
    if (*number > std::numeric_limits<std::int64_t>::max() / unit.factor) return std::nullopt;
    return *number * unit.factor;
  }
  return std::nullopt;
}

std::string bytes_text(std::int64_t bytes) {
  for (std::size_t i = 0; i < num_binary_units; ++i)
    if (bytes > 0 && bytes % units[i].factor == 0)
      return std::to_string(bytes / units[i].factor) + std::string(units[i].name);
  return std::to_string(bytes);
}

std::string seconds_text(std::int64_t milliseconds) {
  auto text = std::to_string(milliseconds / 1000);
  const auto rest = milliseconds % 1000;
  if (rest == 0) return text;
  auto fraction = std::to_string(1000 + rest).substr(1);
  fraction.erase(fraction.find_last_not_of('0') + 1);
  return text + "." + fraction;
}

std::string number_text(double value) {
  std::array<char, 400> text{};
  const auto end =
      std::to_chars(text.data(), text.data() + text.size(), value, std::chars_format::fixed).ptr;
  return {text.data(), end};
}

std::string_view nearest(std::string_view word, std::span<const std::string_view> known) {
  if (word.empty() || word.size() > longest_word) return {};
  std::string_view best;
  // More than a third of the letters wrong is another word.
  std::size_t least = std::max<std::size_t>(1, word.size() / 3) + 1;
  for (const auto candidate : known) {
    const auto distance = edit_distance(word, candidate);
    if (distance < least) {
      least = distance;
      best = candidate;
    }
  }
  return best;
}

}  // namespace tandem::config
