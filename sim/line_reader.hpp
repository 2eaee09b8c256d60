// A text file line by line, with a bound on the length of a line, since a file may come from
// anywhere; and the pieces of a line of CSV. Used by the readers of traces and prompts.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.hpp"

namespace tandem::sim {

/// Longest line of any file: a prompt of a million token ids as JSON.
inline constexpr std::size_t longest_line = 16 << 20;

class LineReader {
 public:
  static Result<LineReader> open(const std::filesystem::path& file);

  /// The next line that holds more than white space, without its end; nothing after the last one.
  /// An error if a line is longer than `longest_line` or the file cannot be read on.
  Result<bool> next(std::string& line);
  /// Of the line that next() gave last, from 1.
  [[nodiscard]] std::size_t number() const { return number_; }
  /// "file:number: what".
  [[nodiscard]] Error wrong(const std::string& what) const;

 private:
  LineReader(std::filesystem::path file, std::ifstream in);
  std::filesystem::path file_;
  std::ifstream in_;
  std::size_t number_ = 0;
};

/// The fields of one line of CSV; a quoted field may hold commas and doubled quotes. Nothing if a
/// quote is not closed.
std::optional<std::vector<std::string>> csv_fields(std::string_view line);

/// Without white space around it.
std::string_view trimmed(std::string_view text);
std::optional<std::int64_t> parse_integer(std::string_view text);
/// Finite.
std::optional<double> parse_decimal(std::string_view text);
/// At most 80 bytes of `text`, printable, in quotes.
std::string excerpt(std::string_view text);

}  // namespace tandem::sim
