// The one table of what can be set: it drives the YAML file, the TANDEM_ environment, the
// command-line flags, --print-config, and config/default.yaml.
#pragma once

#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "config/config.hpp"

namespace tandem::config {

enum class KeyKind : std::uint8_t { single, flag, path, list };

struct Key {
  std::string name;  ///< of the file; the flag is "--" with '-' for '_', the variable TANDEM_ and
                     ///< upper case
  std::string section;  ///< keys of one section follow each other
  KeyKind kind = KeyKind::single;
  std::string allowed;  ///< a phrase: "an integer in 0 .. 65535"
  std::string reason;   ///< what it does, and why one would change it
  /// Sets the field; false: not one of the allowed values. Kinds other than `list` get one value.
  std::function<bool(Config&, const std::vector<std::string>&)> set;
  /// The field as YAML, on one line.
  std::function<std::string(const Config&)> get;
  /// Of kind path: the field itself.
  std::function<std::filesystem::path(const Config&)> get_path;

  [[nodiscard]] std::string flag() const;
  [[nodiscard]] std::string variable() const;
};

/// All keys, in the order of default.yaml.
const std::vector<Key>& keys();
/// Null if there is no such key.
const Key* find_key(std::string_view name);
/// "did you mean 'port'?", or how to see all keys if nothing is near.
std::string suggestion(std::string_view unknown);

}  // namespace tandem::config
