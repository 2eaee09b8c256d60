// The file that `tandem profile` writes and `tandem serve` reads: YAML, one mapping, with a version
// of its own. What it holds is policy/latency_profile.hpp.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "core/result.hpp"
#include "policy/latency_profile.hpp"

namespace tandem::config {

inline constexpr int profile_version = 1;

std::string profile_text(const policy::LatencyProfile& profile);
/// `name` stands in errors, which name the line, what was wrong and what is allowed.
Result<policy::LatencyProfile> parse_profile(std::string_view text, const std::string& name);

Result<policy::LatencyProfile> read_profile(const std::filesystem::path& file);
/// Complete or not there.
Result<void> write_profile(const std::filesystem::path& file,
                           const policy::LatencyProfile& profile);

}  // namespace tandem::config
