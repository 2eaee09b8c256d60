// CSV traces: the columns are found by their names, which are those of the Azure LLM inference
// traces, of BurstGPT, of Vidur's processed sets, and ours.
#include <algorithm>
#include <array>
#include <cctype>
#include <chrono>
#include <optional>

#include "sim/trace_builder.hpp"

namespace tandem::sim {
namespace {

struct Column {
  std::string_view meaning;
  std::vector<std::string_view> names;  ///< lower case
  std::optional<std::size_t> place{};
};

struct Columns {
  Column arrival{"arrival", {"arrival", "timestamp", "arrived_at", "arrival_seconds"}};
  Column prompt{"prompt tokens",
                {"prompt_tokens", "contexttokens", "request tokens", "num_prefill_tokens",
                 "input_tokens", "input_length"}};
  Column output{"output tokens",
                {"output_tokens", "generatedtokens", "response tokens", "num_decode_tokens",
                 "output_length"}};
};

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

std::string listed(const std::vector<std::string_view>& names) {
  std::string text;
  for (const auto name : names) text += (text.empty() ? "'" : ", '") + std::string(name) + "'";
  return text;
}

/// Which column means what; says what is missing or there twice.
std::string find_columns(const std::vector<std::string>& header, bool needs_arrival,
                         Columns& columns) {
  for (auto* column : {&columns.arrival, &columns.prompt, &columns.output}) {
    for (std::size_t i = 0; i < header.size(); ++i) {
      const auto name = lower(header[i]);
      if (std::find(column->names.begin(), column->names.end(), name) == column->names.end())
        continue;
      if (column->place)
        return "has two columns for " + std::string(column->meaning) + ": '" +
               header[*column->place] + "' and '" + header[i] + "'";
      column->place = i;
    }
    if (!column->place && (needs_arrival || column != &columns.arrival))
      return "has no column for " + std::string(column->meaning) + "; it is called one of " +
             listed(column->names);
  }
  return {};
}

/// Seconds since 1970 of "2023-11-16 18:15:46.6805900".
std::optional<double> timestamp(std::string_view text) {
  if (text.size() < 19 || text[4] != '-' || text[7] != '-' || text[13] != ':' || text[16] != ':')
    return std::nullopt;
  const auto year = parse_integer(text.substr(0, 4)), month = parse_integer(text.substr(5, 2)),
             day = parse_integer(text.substr(8, 2)), hour = parse_integer(text.substr(11, 2)),
             minute = parse_integer(text.substr(14, 2));
  const auto second = parse_decimal(text.substr(17));
  if (!year || !month || !day || !hour || !minute || !second) return std::nullopt;
  if (*month < 1 || *day < 1 || *hour < 0 || *minute < 0) return std::nullopt;
  const std::chrono::year_month_day date(std::chrono::year(static_cast<int>(*year)),
                                         std::chrono::month(static_cast<unsigned>(*month)),
                                         std::chrono::day(static_cast<unsigned>(*day)));
  if (!date.ok() || *hour > 23 || *minute > 59 || *second < 0 || *second >= 61) return std::nullopt;
  const auto days = std::chrono::sys_days(date).time_since_epoch().count();
  return static_cast<double>(days) * 86400.0 + static_cast<double>(*hour * 3600 + *minute * 60) +
         *second;
}

std::optional<double> arrival_of(std::string_view text) {
  const auto seconds = parse_decimal(text);
  return seconds ? seconds : timestamp(text);
}

/// Three columns without names are arrival, prompt tokens and output tokens.
bool is_row(const std::vector<std::string>& fields) {
  return fields.size() == 3 && arrival_of(fields[0]) && parse_integer(fields[1]) &&
         parse_integer(fields[2]);
}

/// What is wrong with a row, or nothing.
std::string add_row(const std::vector<std::string>& fields, std::size_t width,
                    const Columns& columns, TraceBuilder& builder) {
  if (fields.size() != width)
    return "has " + std::to_string(fields.size()) + " columns, the first line has " +
           std::to_string(width);
  const auto field = [&](const Column& column) { return std::string_view(fields[*column.place]); };
  double seconds = 0;
  if (columns.arrival.place) {
    const auto arrival = arrival_of(field(columns.arrival));
    if (!arrival)
      return excerpt(field(columns.arrival)) +
             " is no arrival; expected are seconds, or a time such as 2023-11-16 18:15:46.68";
    seconds = *arrival;
  }
  const auto prompt = parse_integer(field(columns.prompt));
  if (!prompt) return excerpt(field(columns.prompt)) + " is no number of prompt tokens";
  const auto output = parse_integer(field(columns.output));
  if (!output) return excerpt(field(columns.output)) + " is no number of output tokens";
  WorkloadRequest request;
  request.request_class = builder.options().request_class;
  request.prompt_tokens = Tokens(*prompt);
  request.output_tokens = Tokens(*output);
  return builder.add(seconds, std::move(request));
}

}  // namespace

Result<Trace> read_csv_trace(const std::filesystem::path& file, const TraceOptions& options) {
  auto lines = LineReader::open(file);
  if (!lines) return lines.error();
  TraceBuilder builder(file, options);
  Columns columns;
  std::size_t width = 0;
  std::string line;
  while (!builder.full()) {
    const auto more = lines->next(line);
    if (!more) return more.error();
    if (!*more) break;
    const auto fields = csv_fields(line);
    if (!fields) return lines->wrong("opens a quote that is not closed");
    if (width == 0) {
      width = fields->size();
      const bool unnamed = is_row(*fields);
      if (unnamed) {
        columns.arrival.place = 0;
        columns.prompt.place = 1;
        columns.output.place = 2;
      } else {
        const auto rule =
            find_columns(*fields, options.request_class == RequestClass::online, columns);
        if (!rule.empty()) return lines->wrong(excerpt(line) + " " + rule);
        continue;
      }
    }
    const auto rule = add_row(*fields, width, columns, builder);
    if (!rule.empty()) return lines->wrong(rule);
  }
  return std::move(builder).finish();
}

}  // namespace tandem::sim
