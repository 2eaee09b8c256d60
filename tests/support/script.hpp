// The little language in which scheduler tests are written, and its parser:
//
//   options  tokens=512 blocks=64            # what the scheduler under test is made of
//   at 0ms   arrive offline r1 prompt=512    # an event at a virtual time
//   expect   launch i0 offline r1:512        # what it must lead to
//
// A line is a verb, words, and key=value pairs; `#` starts a comment. What the verbs mean is up to
// whoever runs the script. Bad syntax throws std::runtime_error naming the line.
#pragma once

#include <charconv>
#include <cstdint>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "core/units.hpp"

namespace tandem::test {

struct ScriptLine {
  enum class Kind { options, at, expect };
  int number = 0;  ///< 1 is the script's first line
  std::string text;
  Kind kind = Kind::options;
  TimePoint at{};                             ///< of an `at` line
  std::string verb;                           ///< of an `at` or `expect` line
  std::vector<std::string> words;             ///< in order, without the pairs
  std::map<std::string, std::string> values;  ///< the pairs

  [[noreturn]] void fail(const std::string& why) const {
    throw std::runtime_error("script line " + std::to_string(number) + " '" + text + "': " + why);
  }
  /// The number in `text` after `prefix` ("r" of "r12", "" of "64").
  [[nodiscard]] std::int64_t number_of(std::string_view word, std::string_view prefix) const {
    std::int64_t value = 0;
    if (word.substr(0, prefix.size()) != prefix) fail("'" + std::string(word) + "' is no number");
    word.remove_prefix(prefix.size());
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
    if (error != std::errc{} || end != word.data() + word.size() || word.empty())
      fail("'" + std::string(word) + "' is no number");
    return value;
  }
  [[nodiscard]] std::int64_t value(const std::string& key, std::int64_t otherwise) const {
    const auto found = values.find(key);
    return found == values.end() ? otherwise : number_of(found->second, "");
  }
};

namespace detail {
inline TimePoint parse_time(const ScriptLine& line, std::string_view word) {
  if (word.size() < 3 || word.substr(word.size() - 2) != "ms") line.fail("a time looks like 7ms");
  word.remove_suffix(2);
  return TimePoint{std::chrono::milliseconds(line.number_of(word, ""))};
}

inline ScriptLine parse_script_line(int number, const std::string& text) {
  ScriptLine line;
  line.number = number;
  line.text = text;
  std::istringstream in(text);
  std::vector<std::string> words;
  for (std::string word; in >> word;) words.push_back(word);
  std::size_t next = 1;
  if (words[0] == "at") {
    line.kind = ScriptLine::Kind::at;
    if (words.size() < 3) line.fail("'at' is followed by a time and an event");
    line.at = parse_time(line, words[1]);
    line.verb = words[2];
    next = 3;
  } else if (words[0] == "expect") {
    line.kind = ScriptLine::Kind::expect;
    if (words.size() < 2) line.fail("'expect' is followed by an action");
    line.verb = words[1];
    next = 2;
  } else if (words[0] != "options") {
    line.fail("a line starts with options, at or expect");
  }
  for (; next < words.size(); ++next) {
    const auto equals = words[next].find('=');
    if (equals == std::string::npos)
      line.words.push_back(words[next]);
    else
      line.values[words[next].substr(0, equals)] = words[next].substr(equals + 1);
  }
  return line;
}
}  // namespace detail

inline std::vector<ScriptLine> parse_script(const std::string& script) {
  std::vector<ScriptLine> lines;
  std::istringstream in(script);
  int number = 0;
  for (std::string text; std::getline(in, text);) {
    ++number;
    text.erase(std::min(text.find('#'), text.size()));
    if (text.find_first_not_of(" \t") == std::string::npos) continue;
    lines.push_back(detail::parse_script_line(number, text));
  }
  return lines;
}

}  // namespace tandem::test
