// What a simulation tells a person (table), a program (JSON) and a reader of a page (SVG, complete
// in itself): every policy on the same workload, with objectives and the offline-only ceiling.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "sim/comparison.hpp"

namespace tandem::sim {

struct PolicyRow {
  Trial trial;
  bool searched = false;  ///< its budget or rate was found by search
  bool met = true;        ///< searched: some budget or rate met all objectives
  std::size_t runs = 1;   ///< of the search
  MeasuredPtr measured;
};

struct SimulationReport {
  RunMode mode = RunMode::fast;
  std::string device, model, workload;
  double model_mape = 0;  ///< of the fitted latency model
  Blocks kv_blocks{0};
  Tokens max_iteration_tokens{0};
  std::uint64_t seed = 0;
  policy::Objectives objectives;
  policy::LatencyStatistics baseline;  ///< online_only
  double ceiling = 0;                  ///< offline tokens per second, offline work alone
  std::vector<PolicyRow> rows;
};

/// How many of the objectives `measured` meets.
std::size_t objectives_met(const SimulationReport& report, const Measured& measured);

std::string report_table(const SimulationReport& report);
/// Times in milliseconds, rates in tokens per second; the curves of every policy included.
std::string report_json(const SimulationReport& report);
/// Three panels over time: online load, TBT against its objective, offline tokens per second.
std::string report_svg(const SimulationReport& report);

/// A table of text: columns as wide as their widest cell, the first to the left, the others to the
/// right; the first row is the head.
std::string text_table(const std::vector<std::vector<std::string>>& rows);
/// With `digits` behind the point.
std::string fixed(double value, int digits);

}  // namespace tandem::sim
