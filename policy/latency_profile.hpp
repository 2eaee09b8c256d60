// What was measured of one model on one device, as a value: the latency model with some of its
// samples, and what a search for a budget found. `tandem profile` makes it, `tandem serve` starts
// from it; its file is config/profile_file.hpp.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "policy/latency_fit.hpp"
#include "policy/latency_model.hpp"
#include "policy/snapshots.hpp"

namespace tandem::policy {

/// What a measurement holds for. Texts, compared as a whole.
struct ProfileKey {
  std::string model;   ///< architecture and sizes
  std::string device;  ///< name, kernels, threads
  std::string dtype;
  std::string engine_version;

  friend bool operator==(const ProfileKey&, const ProfileKey&) = default;
};

/// A budget that met `objectives`, and what online-only service felt on the same trace.
struct BudgetFinding {
  std::vector<std::string> objectives;  ///< "ttft_p99 +10%"
  std::string trace;                    ///< what was replayed
  std::int64_t max_iteration_tokens = 0;
  double budget_ms = 0;
  LatencyStatistics baseline;

  friend bool operator==(const BudgetFinding&, const BudgetFinding&) = default;
};

struct LatencyProfile {
  ProfileKey key;
  LatencyModel latency;
  std::vector<LatencySample> samples;  ///< weights are 1
  std::optional<BudgetFinding> budget;

  friend bool operator==(const LatencyProfile&, const LatencyProfile&) = default;
};

/// How the key of a profile differs from what it is to serve, one "model: profile has …, service
/// has …" each. An engine version alone is not among them: times then are a starting point.
std::vector<std::string> differences(const ProfileKey& profile, const ProfileKey& service);

}  // namespace tandem::policy
