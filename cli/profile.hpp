// What a profile of this service is of, for `profile`, which writes it, and `serve`, which
// compares.
#pragma once

#include <string>
#include <vector>

#include "config/config.hpp"
#include "core/result.hpp"
#include "gpu/backend.hpp"
#include "model/model_config.hpp"
#include "policy/latency_profile.hpp"

namespace tandem::cli {

/// Architecture and sizes, as a profile's key has them.
std::string model_text(const model::ModelConfig& model);
policy::ProfileKey profile_key(const model::ModelConfig& model, const gpu::DeviceLimits& device,
                               const config::Config& config);

/// "ttft_p99 +10%", in the order of the configuration: what a found budget is kept with.
std::vector<std::string> texts_of(const policy::Objectives& objectives);

/// Reads config.profile_file, if one is set, into what predictor and profiler start from, and
/// checks the objectives. A profile of another model or device is refused; one of another engine
/// version is taken with a line in the log. A budget that was found for other objectives or another
/// max_iteration_tokens is left out, with a line in the log.
Result<void> apply_profile(const config::Config& config, const policy::ProfileKey& key,
                           RuntimeOptions& options);

}  // namespace tandem::cli
