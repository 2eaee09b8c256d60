// Measures iterations of many shapes on a device: random mixes of decodes and prompt chunks, drawn
// so that small and large ones, short and long contexts all occur. The plans are such as the
// scheduler writes, and times run as the executor takes them: from the first segment to the last
// sample.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "core/result.hpp"
#include "gpu/backend.hpp"
#include "policy/latency_fit.hpp"

namespace tandem::cli {

struct SweepOptions {
  double seconds = 120;
  /// On a slow device it goes on until so many are measured, at most for twenty times as long.
  std::size_t least_iterations = 0;
  std::uint64_t seed = 0;
  /// Called after each iteration with the seconds passed; false ends the sweep.
  std::function<bool(double seconds, std::size_t iterations)> progress;
};

/// In the order in which they ran. Fails if the device does.
Result<std::vector<policy::LatencySample>> sweep(gpu::Backend& backend,
                                                 const SweepOptions& options);

/// What kind of iteration a sample is, for tables: "decodes alone, up to 8".
struct SweepRegion {
  const char* name;
  bool (*holds)(const policy::IterationShape& shape);
};
/// They cover every shape and do not overlap.
const std::vector<SweepRegion>& sweep_regions();

}  // namespace tandem::cli
