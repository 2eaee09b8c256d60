// See line_reader.hpp.
#include "sim/line_reader.hpp"

#include <charconv>
#include <cmath>
#include <utility>

namespace tandem::sim {

LineReader::LineReader(std::filesystem::path file, std::ifstream in)
    : file_(std::move(file)), in_(std::move(in)) {}

Result<LineReader> LineReader::open(const std::filesystem::path& file) {
  std::error_code failure;
  if (!std::filesystem::exists(file, failure))
    return error(Errc::invalid_value, file.string() + ": there is no such file", "file");
  if (std::filesystem::is_directory(file, failure))
    return error(Errc::invalid_value, file.string() + ": is a folder; a file is expected", "file");
  std::ifstream in(file, std::ios::binary);
  if (!in) return error(Errc::invalid_value, file.string() + ": cannot be read", "file");
  return LineReader(file, std::move(in));
}

Result<bool> LineReader::next(std::string& line) {
  auto* bytes = in_.rdbuf();
  constexpr auto end = std::ifstream::traits_type::eof();
  for (;;) {
    line.clear();
    ++number_;
    auto byte = bytes->sbumpc();
    if (byte == end) return false;
    for (; byte != end && byte != '\n'; byte = bytes->sbumpc()) {
      if (line.size() == longest_line)
        return wrong("is longer than " + std::to_string(longest_line) + " bytes");
      line.push_back(static_cast<char>(byte));
    }
    // A byte order mark is no part of the first column's name.
    if (number_ == 1 && line.rfind("\xEF\xBB\xBF", 0) == 0) line.erase(0, 3);
    if (!trimmed(line).empty()) return true;
  }
}

Error LineReader::wrong(const std::string& what) const {
  return error(Errc::invalid_value, file_.string() + ":" + std::to_string(number_) + ": " + what,
               "file");
}

std::optional<std::vector<std::string>> csv_fields(std::string_view line) {
  std::vector<std::string> fields(1);
  bool quoted = false;
  for (std::size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (quoted && c == '"' && i + 1 < line.size() && line[i + 1] == '"')
      fields.back() += line[i++];
    else if (c == '"')
      quoted = !quoted;
    else if (c == ',' && !quoted)
      fields.emplace_back();
    else
      fields.back() += c;
  }
  if (quoted) return std::nullopt;
  for (auto& field : fields) field = std::string(trimmed(field));
  return fields;
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view space = " \t\r\n";
  const auto first = text.find_first_not_of(space);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(space) - first + 1);
}

std::optional<std::int64_t> parse_integer(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failure != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<double> parse_decimal(std::string_view text) {
  double value = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failure != std::errc{} || end != text.data() + text.size() || !std::isfinite(value))
    return std::nullopt;
  return value;
}

std::string excerpt(std::string_view text) {
  std::string result = "'";
  for (const char c : text.substr(0, 80)) result += c >= 0x20 && c < 0x7F ? c : '?';
  return result + (text.size() > 80 ? "…'" : "'");
}

}  // namespace tandem::sim
