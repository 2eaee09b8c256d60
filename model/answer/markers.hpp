// Looking for markers in text that comes in pieces: what may be the beginning of one is held back.
#pragma once

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string_view>

namespace tandem::model {

/// How many bytes at the end of `text` may be the beginning of `marker`, without being all of it.
inline std::size_t longest_beginning(std::string_view text, std::string_view marker) {
  if (marker.empty()) return 0;
  std::size_t size = std::min(marker.size() - 1, text.size());
  while (size > 0 && text.substr(text.size() - size) != marker.substr(0, size)) --size;
  return size;
}

/// Line ends in front of a marker that belong to it, and white space where a marker is awaited;
/// more is text.
inline constexpr std::size_t max_newlines = 16;
inline constexpr std::size_t max_spaces = 64;

/// `text` without the line ends at its end that would belong to a marker behind it.
inline std::string_view without_trailing_newlines(std::string_view text) {
  for (std::size_t i = 0; i < max_newlines && text.ends_with('\n'); ++i) text.remove_suffix(1);
  return text;
}

/// Where the white space at the beginning of `text` ends (`also` counts as some); its size if it is
/// nothing else. Unset: there is too much of it.
inline std::optional<std::size_t> skip_space(std::string_view text, std::string_view also = {}) {
  std::size_t at = 0;
  while (at < text.size() && (std::string_view(" \n\r\t").find(text[at]) != text.npos ||
                              also.find(text[at]) != also.npos)) {
    if (++at > max_spaces) return std::nullopt;
  }
  return at;
}

}  // namespace tandem::model
