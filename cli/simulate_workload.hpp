// The traffic and the offline set of a simulation, as the command line describes them.
#pragma once

#include <string>
#include <vector>

#include "cli/simulate.hpp"
#include "core/result.hpp"
#include "sim/workload.hpp"

namespace tandem::cli {

struct SimulatedTraffic {
  sim::Workload online, offline;
  std::vector<std::string> notes;  ///< what was changed or left out in reading
};

/// Read, generated or tokenized, and made to fit `max_context`.
Result<SimulatedTraffic> read_traffic(const SimulateArguments& arguments, Tokens max_context);

}  // namespace tandem::cli
