// Traces of traffic, from files of several projects and of our own, brought into the one form of
// workload.hpp. docs/workloads.md has every format with an example. A file is hostile until read:
// what is wrong in it is an error that names file and line; what is changed in reading is counted
// and told. Nothing is guessed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "core/result.hpp"
#include "sim/workload.hpp"

namespace tandem::sim {

/// Longest prompt and longest answer that a trace may name.
inline constexpr std::int64_t longest_length = 1 << 20;
/// Requests that one trace may have.
inline constexpr std::size_t most_requests = 1 << 22;

struct TraceOptions {
  /// Of all requests that name no class of their own. Offline sets need no arrivals.
  RequestClass request_class = RequestClass::online;
  /// Reading ends after so many. A file with more than most_requests is refused, unless it is less.
  std::size_t max_requests = most_requests;
  Duration span{};         ///< 0: all; else nothing that arrives so long after the first
  bool sort = false;       ///< put rows into the order of arrival, instead of refusing the file
  std::uint64_t seed = 0;  ///< of what a statistical trace leaves to chance
};

struct Trace {
  Workload workload;  ///< the first request arrives at 0
  /// What was changed or left out in reading, one sentence each with its count.
  std::vector<std::string> notes;
};

/// A folder is read as ServeGen client files, a file whose first line is a JSON object as JSONL
/// (Mooncake's fields or ours), any other as CSV by the names of its columns.
Result<Trace> read_trace(const std::filesystem::path& path, const TraceOptions& options);

}  // namespace tandem::sim
