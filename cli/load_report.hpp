// What `tandem bench` or `tandem replay` found, as a table for people and as JSON for programs.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "cli/client/statistics.hpp"
#include "cli/load.hpp"

namespace tandem::cli {

struct LoadReport {
  std::string url, model, workload;  ///< `workload`: what was sent, in a line
  std::vector<std::string> notes;    ///< what was changed in reading it
  std::uint64_t seed = 0;
  bool interrupted = false;
  double online_seconds = 0;
  std::size_t online_unfinished = 0;  ///< neither completed nor failed when the run ended
  client::Summary online;
  client::Objectives objectives;
  std::optional<OfflineResult> offline;
};

std::string report_table(const LoadReport& report);
/// One JSON object, with a line break at its end.
std::string report_json(const LoadReport& report);

}  // namespace tandem::cli
