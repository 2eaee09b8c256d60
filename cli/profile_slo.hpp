// `tandem profile --slo`: the budget that serve starts from, found before the first request.
#pragma once

#include "cli/commands.hpp"
#include "config/config.hpp"
#include "core/result.hpp"
#include "gpu/backend.hpp"
#include "policy/latency_profile.hpp"

namespace tandem::cli {

/// What is wrong with the arguments of the search, before anything is measured.
Result<void> check_slo_arguments(const ProfileArguments& arguments, const config::Config& config);

/// Searches by bisection over simulated replays of arguments.slo_online beside offline work, on a
/// device that takes what `latency` says with its error as noise. Says for each probe what was
/// measured. An error if no budget meets config's objectives.
/// Source: HyGen (arXiv 2501.14808), §3.4; ours replays in virtual time, so a search takes seconds.
Result<policy::BudgetFinding> find_budget(const ProfileArguments& arguments,
                                          const config::Config& config,
                                          const gpu::DeviceLimits& limits,
                                          const policy::LatencyModel& latency);

}  // namespace tandem::cli
