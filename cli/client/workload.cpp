// See workload.hpp.
#include "cli/client/workload.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cmath>
#include <fstream>
#include <random>

namespace tandem::client {
namespace {

constexpr std::int64_t longest = 1 << 20;
constexpr std::uintmax_t largest_prompt_file = 64 << 20;

std::optional<std::int64_t> integer(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failure != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<double> decimal(std::string_view text) {
  double value = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failure != std::errc{} || end != text.data() + text.size() || !std::isfinite(value))
    return std::nullopt;
  return value;
}

/// Seconds since 1970 of "2023-11-16 18:15:46.6805900".
std::optional<double> timestamp(std::string_view text) {
  if (text.size() < 19 || text[4] != '-' || text[7] != '-' || text[13] != ':' || text[16] != ':')
    return std::nullopt;
  const auto year = integer(text.substr(0, 4)), month = integer(text.substr(5, 2)),
             day = integer(text.substr(8, 2)), hour = integer(text.substr(11, 2)),
             minute = integer(text.substr(14, 2));
  const auto second = decimal(text.substr(17));
  if (!year || !month || !day || !hour || !minute || !second) return std::nullopt;
  const std::chrono::year_month_day date(std::chrono::year(static_cast<int>(*year)),
                                         std::chrono::month(static_cast<unsigned>(*month)),
                                         std::chrono::day(static_cast<unsigned>(*day)));
  if (!date.ok() || *hour > 23 || *minute > 59 || *second < 0 || *second >= 61) return std::nullopt;
  const auto days = std::chrono::sys_days(date).time_since_epoch().count();
  return static_cast<double>(days) * 86400.0 + static_cast<double>(*hour * 3600 + *minute * 60) +
         *second;
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '"')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '"' || text.back() == '\r'))
    text.remove_suffix(1);
  return text;
}

/// The three fields of a row, or nothing if there are not three.
std::optional<std::array<std::string_view, 3>> fields(std::string_view line) {
  std::array<std::string_view, 3> result;
  for (std::size_t i = 0; i < 3; ++i) {
    const auto comma = line.find(',');
    if ((i < 2) != (comma != std::string_view::npos)) return std::nullopt;
    result[i] = trimmed(line.substr(0, comma));
    if (i < 2) line.remove_prefix(comma + 1);
  }
  return result;
}

std::optional<Arrival> row(std::string_view line) {
  const auto parts = fields(line);
  if (!parts) return std::nullopt;
  auto at = decimal((*parts)[0]);
  if (!at) at = timestamp((*parts)[0]);
  const auto input = integer((*parts)[1]), output = integer((*parts)[2]);
  if (!at || !input || !output || *input < 1 || *input > longest || *output < 0 ||
      *output > longest)
    return std::nullopt;
  return Arrival{*at, *input, std::max<std::int64_t>(1, *output)};
}

std::int64_t draw(const Length& length, std::mt19937_64& random) {
  return std::uniform_int_distribution<std::int64_t>(length.least, length.most)(random);
}

}  // namespace

Result<Length> parse_length(std::string_view text) {
  const auto colon = text.find(':');
  const auto least = integer(text.substr(0, colon));
  const auto most = colon == std::string_view::npos ? least : integer(text.substr(colon + 1));
  if (!least || !most || *least < 1 || *most < *least || *most > longest)
    return error(Errc::invalid_value,
                 "'" + std::string(text) +
                     "' is no length; expected tokens such as 128, or a "
                     "range such as 64:256, in 1 .. 1048576",
                 "length");
  return Length{*least, *most};
}

std::vector<Arrival> poisson_arrivals(const ArrivalOptions& options) {
  std::mt19937_64 random(options.seed);
  std::vector<Arrival> arrivals;
  double now = 0;
  while (arrivals.size() < options.count) {
    if (options.duration > 0 && now > options.duration) break;
    const auto input = draw(options.input, random);
    arrivals.push_back({now, input, draw(options.output, random)});
    if (std::isfinite(options.rate))
      now += std::exponential_distribution<double>(options.rate)(random);
  }
  return arrivals;
}

Result<std::vector<Arrival>> read_trace(const std::filesystem::path& file, std::size_t count,
                                        double speed) {
  std::ifstream in(file);
  const auto wrong = [&](std::size_t number, const std::string& what) {
    return error(Errc::invalid_value,
                 file.string() + ":" + std::to_string(number) + ": " + what +
                     "; expected: arrival (seconds or a timestamp), prompt tokens (1 .. 1048576), "
                     "output tokens",
                 "trace");
  };
  std::vector<Arrival> arrivals;
  std::string line;
  for (std::size_t number = 1; arrivals.size() < count && std::getline(in, line); ++number) {
    if (trimmed(line).empty()) continue;
    const auto arrival = row(line);
    if (!arrival && number == 1 && fields(line)) continue;  // the header
    if (!arrival) return wrong(number, "'" + line.substr(0, 100) + "' is no row of a trace");
    if (!arrivals.empty() && arrival->seconds < arrivals.back().seconds)
      return wrong(number, "arrives before the row above it");
    arrivals.push_back(*arrival);
  }
  if (arrivals.empty())
    return error(Errc::invalid_value, file.string() + ": no trace could be read from it", "trace");
  const double first = arrivals.front().seconds;
  for (auto& arrival : arrivals) arrival.seconds = (arrival.seconds - first) / speed;
  return arrivals;
}

std::vector<TokenId> random_prompt(std::uint64_t seed, std::uint64_t index, std::int64_t length,
                                   std::int64_t shared, std::int64_t vocab_size) {
  std::mt19937_64 common(seed), own(seed * 0x9E3779B97F4A7C15ULL + index + 1);
  std::uniform_int_distribution<TokenId> token(0, static_cast<TokenId>(vocab_size - 1));
  std::vector<TokenId> prompt;
  prompt.reserve(static_cast<std::size_t>(length));
  for (std::int64_t i = 0; i < length; ++i) prompt.push_back(token(i < shared ? common : own));
  return prompt;
}

Result<std::vector<std::string>> read_prompts(const std::filesystem::path& file) {
  const auto wrong = [&](const std::string& what) {
    return error(Errc::invalid_value, file.string() + ": " + what, "prompt-file");
  };
  std::error_code failure;
  const auto size = std::filesystem::file_size(file, failure);
  if (failure) return wrong("cannot be read: " + failure.message());
  if (size > largest_prompt_file) return wrong("is larger than 64 MiB");
  std::ifstream in(file);
  std::vector<std::string> prompts;
  for (std::string line; std::getline(in, line);)
    if (!trimmed(line).empty()) prompts.push_back(line);
  if (prompts.empty()) return wrong("has no lines that could be prompts");
  return prompts;
}

}  // namespace tandem::client
