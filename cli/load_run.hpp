// One run of load against a service, which `tandem bench` and `tandem replay` describe each in its
// own words: both loads on one loop, a progress bar, a table, JSON, an exit code.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "cli/commands.hpp"
#include "cli/load.hpp"
#include "cli/load_report.hpp"

namespace tandem::cli {

struct LoadPlan {
  std::string label;  ///< of the progress bar
  client::Url url;
  RequestShape online_shape, offline_shape;
  sim::Workload online, offline;
  std::string offline_mode = "batch";    ///< batch | flex
  std::size_t offline_concurrency = 32;  ///< of flex calls
  std::size_t max_concurrency = 1024;    ///< of online requests
  double run_seconds = 0;                ///< then the run ends, whatever still runs; 0: never
  bool end_with_online = false;          ///< the run ends with the last online request
  client::Objectives objectives;
  std::string workload;            ///< what is sent, in a line
  std::vector<std::string> notes;  ///< what was changed in reading it
  std::uint64_t seed = 0;
  std::filesystem::path json;  ///< where the result goes, too; empty: nowhere
};

/// The plan as far as all loads are described alike: without workloads.
Result<LoadPlan> begin_plan(std::string label, const LoadArguments& arguments);

/// What the service says of its model; fills in model and vocabulary of the plan where they are not
/// set. An error if the service is not there.
Result<client::ModelInfo> ask_service(LoadPlan& plan);

/// Runs the load and prints the table on standard output. What still runs of a batch at the end is
/// cancelled. Returns the exit code of the program.
int run_load(const LoadPlan& plan);

}  // namespace tandem::cli
