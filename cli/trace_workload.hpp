// A trace as the command line describes it, read and made to fit.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/commands.hpp"
#include "sim/workload.hpp"

namespace tandem::cli {

/// `max_context` is the service's, where the arguments name none. What was left out or changed is
/// added to `notes`.
Result<sim::Workload> read_trace_workload(const TraceArguments& a, RequestClass request_class,
                                          std::int64_t max_context, std::uint64_t seed,
                                          std::vector<std::string>& notes);

}  // namespace tandem::cli
