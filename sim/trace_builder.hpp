// What all readers of traces share: the checks of a request, the order of arrivals, the notes.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "sim/line_reader.hpp"
#include "sim/trace_reader.hpp"

namespace tandem::sim {

class TraceBuilder {
 public:
  TraceBuilder(const std::filesystem::path& path, const TraceOptions& options);

  /// A request whose arrival is `seconds` on the file's own clock (0 or later). Says what is wrong
  /// with it, or nothing. Lengths of the request are set, its arrival is not.
  std::string add(double seconds, WorkloadRequest request);
  /// All that is wanted is there.
  [[nodiscard]] bool full() const {
    return options_.max_requests < most_requests && rows_.size() >= options_.max_requests;
  }
  [[nodiscard]] const TraceOptions& options() const { return options_; }
  void set_prefix_id_tokens(Tokens tokens) { workload_.prefix_id_tokens = tokens; }
  void note(std::string sentence) { notes_.push_back(std::move(sentence)); }

  /// Times become relative to the first arrival. An error if there is no request.
  Result<Trace> finish() &&;

 private:
  struct Row {
    double seconds = 0;
    WorkloadRequest request;
  };
  std::string path_;
  TraceOptions options_;
  Workload workload_;
  std::vector<Row> rows_;
  std::vector<std::string> notes_;
  double last_ = 0;
  std::size_t unsorted_ = 0, empty_answers_ = 0;
};

/// The readers of each kind; read_trace chooses.
Result<Trace> read_csv_trace(const std::filesystem::path& file, const TraceOptions& options);
Result<Trace> read_jsonl_trace(const std::filesystem::path& file, const TraceOptions& options);
Result<Trace> read_servegen(const std::filesystem::path& folder, const TraceOptions& options);

}  // namespace tandem::sim
