// From the four places where a value may stand to one checked Config. A place goes before the next:
// command line, environment (TANDEM_<KEY>), file, default. Nothing is guessed: an unknown key or a
// value that is not allowed is an error that names its place.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "config/config.hpp"
#include "core/result.hpp"

namespace tandem::config {

struct Sources {
  std::filesystem::path file;  ///< empty: none
  /// Name and value of the variables that begin with TANDEM_; see process_environment().
  std::vector<std::pair<std::string, std::string>> environment;
  /// Key (not flag) and its values, as given.
  std::vector<std::pair<std::string, std::vector<std::string>>> command_line;
};

struct Loaded {
  Config config;
  std::map<std::string, std::string> origins;  ///< per key; those that are not in it are defaults
  std::vector<std::string> warnings;           ///< e.g. TANDEM_ variables that are no key
};

/// Paths in the file are relative to its folder, others to the current one. Every mistake is found
/// before it fails: the message has one line each, at most 20.
Result<Loaded> load(const Sources& sources);

/// The TANDEM_ variables of this process.
std::vector<std::pair<std::string, std::string>> process_environment();

/// Effective values as YAML that load() reads back, the origin behind each.
std::string print_config(const Loaded& loaded);
/// All keys with reason, allowed values and default: what config/default.yaml holds.
std::string default_yaml();

}  // namespace tandem::config
