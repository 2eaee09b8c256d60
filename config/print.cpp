// The configuration as text: effective values with their origin, and the reference of all keys.
#include <algorithm>
#include <sstream>

#include "config/key_builders.hpp"
#include "config/keys.hpp"
#include "config/load.hpp"

namespace tandem::config {
namespace {

constexpr std::size_t line_width = 98;
constexpr std::size_t origin_column = 44;

/// `text` as comment lines of at most line_width columns.
std::string comment(const std::string& text) {
  std::string result, line = "#";
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    if (line.size() + 1 + word.size() > line_width) {
      result += line + "\n";
      line = "#";
    }
    line += " " + word;
  }
  return result + line + "\n";
}

/// Effective paths are printed whole, so that the output means the same wherever it is saved.
std::string effective(const Key& key, const Config& config) {
  if (key.kind != KeyKind::path) return key.get(config);
  const auto path = key.get_path(config);
  if (path.empty()) return key.get(config);
  return yaml_quoted(std::filesystem::absolute(path).lexically_normal().string());
}

}  // namespace

std::string print_config(const Loaded& loaded) {
  std::string text;
  for (const auto& key : keys()) {
    auto line = key.name + ": " + effective(key, loaded.config);
    line.resize(std::max(line.size() + 2, origin_column), ' ');
    const auto origin = loaded.origins.find(key.name);
    text += line + "# " + (origin == loaded.origins.end() ? "default" : origin->second) + "\n";
  }
  return text;
}

std::string default_yaml() {
  std::string text = comment(
      "Every key of `tandem serve`, with what it does, what is allowed, and its default. The same "
      "keys are flags (--max-sequences 8) and environment variables (TANDEM_MAX_SEQUENCES=8); "
      "flags go before variables, variables before the file, the file before the defaults. Paths "
      "in a file are relative to its folder. An unknown key is an error.");
  text += comment("Written by `tandem serve --print-defaults`.");
  const Config defaults;
  std::string section;
  for (const auto& key : keys()) {
    if (key.section != section) text += "\n# ---- " + key.section + " ----\n";
    section = key.section;
    text += "\n" + comment(key.reason) + comment("Allowed: " + key.allowed + ".");
    text += key.name + ": " + key.get(defaults) + "\n";
  }
  return text;
}

}  // namespace tandem::config
