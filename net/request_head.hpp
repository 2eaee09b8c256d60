// A request without its body, as handlers see it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tandem::net {

struct RequestHead {
  std::string method;
  std::string path;   ///< before '?', as sent
  std::string query;  ///< after '?', as sent
  bool http_1_1 = true;
  bool keep_alive = true;
  bool chunked = false;
  std::optional<std::uint64_t> content_length;
  std::vector<std::pair<std::string, std::string>> fields;  ///< names in lower case

  [[nodiscard]] bool has_body() const { return chunked || content_length.value_or(0) > 0; }
  /// The field's value, or null. `name` in lower case.
  [[nodiscard]] const std::string* find(std::string_view name) const {
    const auto at = std::find_if(fields.begin(), fields.end(),
                                 [&](const auto& field) { return field.first == name; });
    return at == fields.end() ? nullptr : &at->second;
  }
  [[nodiscard]] std::string_view value(std::string_view name) const {
    const auto* found = find(name);
    return found ? std::string_view(*found) : std::string_view();
  }
};

}  // namespace tandem::net
