// See trace_reader.hpp and trace_builder.hpp.
#include "sim/trace_reader.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "sim/trace_builder.hpp"

namespace tandem::sim {
namespace {

/// Longest span of a trace: 30 years, well inside what nanoseconds can count.
constexpr double longest_seconds = 1e9;

std::string length_rule(std::string_view what, std::int64_t value, std::int64_t least) {
  if (value >= least && value <= longest_length) return {};
  return "has " + std::to_string(value) + " " + std::string(what) + " tokens; allowed is " +
         std::to_string(least) + " to " + std::to_string(longest_length);
}

std::string counted(std::size_t count, const std::string& what) {
  return std::to_string(count) + (count == 1 ? " request " : " requests ") + what;
}

}  // namespace

TraceBuilder::TraceBuilder(const std::filesystem::path& path, const TraceOptions& options)
    : path_(path.string()), options_(options) {
  workload_.name =
      path.filename().empty() ? path.parent_path().filename().string() : path.filename().string();
}

std::string TraceBuilder::add(double seconds, WorkloadRequest request) {
  if (!std::isfinite(seconds) || seconds < 0) return "arrives before time 0";
  if (rows_.size() >= most_requests)
    return "is one request too many; allowed are " + std::to_string(most_requests);
  auto rule = length_rule("prompt", request.prompt_tokens.value(), 1);
  if (rule.empty()) rule = length_rule("output", request.output_tokens.value(), 0);
  if (!rule.empty()) return rule;
  if (request.output_tokens.is_zero()) {
    request.output_tokens = Tokens(1);
    ++empty_answers_;
  }
  const auto ids = static_cast<std::int64_t>(request.prefix_ids.size());
  const auto per_id = workload_.prefix_id_tokens.value();
  if (ids > 0 && (ids - 1) * per_id >= request.prompt_tokens.value())
    return "has " + std::to_string(ids) + " prefix ids of " + std::to_string(per_id) +
           " tokens, more than its " + std::to_string(request.prompt_tokens.value()) +
           " prompt tokens";
  if (!rows_.empty() && seconds < last_) {
    if (!options_.sort)
      return "arrives before the request above it; a trace is ordered by arrival, unless it is "
             "to be sorted";
    ++unsorted_;
  }
  last_ = seconds;
  rows_.push_back({seconds, std::move(request)});
  return {};
}

Result<Trace> TraceBuilder::finish() && {
  if (rows_.empty()) return error(Errc::invalid_value, path_ + ": holds no request", "file");
  std::stable_sort(rows_.begin(), rows_.end(),
                   [](const Row& a, const Row& b) { return a.seconds < b.seconds; });
  const double first = rows_.front().seconds;
  if (options_.span > Duration{})
    std::erase_if(rows_,
                  [&](const Row& row) { return row.seconds - first >= to_seconds(options_.span); });
  if (rows_.back().seconds - first > longest_seconds)
    return error(Errc::invalid_value,
                 path_ + ": spans " + std::to_string(rows_.back().seconds - first) +
                     " seconds; allowed are " + std::to_string(longest_seconds),
                 "file");
  workload_.requests.reserve(rows_.size());
  for (auto& row : rows_) {
    row.request.arrival =
        std::chrono::duration_cast<Duration>(std::chrono::duration<double>(row.seconds - first));
    workload_.requests.push_back(std::move(row.request));
  }
  if (empty_answers_ > 0)
    notes_.push_back(counted(empty_answers_, "without output tokens, taken to generate 1"));
  if (unsorted_ > 0) notes_.push_back(counted(unsorted_, "out of order, sorted by arrival"));
  if (const auto checked = check(workload_); !checked) return checked.error();
  return Trace{std::move(workload_), std::move(notes_)};
}

Result<Trace> read_trace(const std::filesystem::path& path, const TraceOptions& options) {
  std::error_code failure;
  if (std::filesystem::is_directory(path, failure)) return read_servegen(path, options);
  auto lines = LineReader::open(path);
  if (!lines) return lines.error();
  std::string line;
  const auto found = lines->next(line);
  if (!found) return found.error();
  if (!*found) return error(Errc::invalid_value, path.string() + ": holds no request", "file");
  return trimmed(line).front() == '{' ? read_jsonl_trace(path, options)
                                      : read_csv_trace(path, options);
}

}  // namespace tandem::sim
