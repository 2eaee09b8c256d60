// What `tandem bench` found, as a table for people and as JSON for programs.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "cli/bench_load.hpp"
#include "cli/client/statistics.hpp"

namespace tandem::cli {

struct BenchReport {
  std::string url, model, workload;  ///< `workload`: what was sent, in a line
  std::uint64_t seed = 0;
  bool interrupted = false;
  double online_seconds = 0;
  client::Summary online;
  client::Objectives objectives;
  std::optional<OfflineResult> offline;
};

std::string report_table(const BenchReport& report);
/// One JSON object, with a line break at its end.
std::string report_json(const BenchReport& report);

}  // namespace tandem::cli
