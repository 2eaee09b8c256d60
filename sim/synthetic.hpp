// Generated workloads: Gamma arrivals, whose coefficient of variation says how bursty they are
// (1 is Poisson), and lengths drawn evenly from a range. A function of its arguments alone.
#pragma once

#include <cstdint>

#include "core/result.hpp"
#include "sim/workload.hpp"

namespace tandem::sim {

struct LengthRange {
  Tokens low{1}, high{1};  ///< both included
};

struct SyntheticOptions {
  double rate = 1;        ///< requests per second, over 0
  double cv = 1;          ///< of the times between arrivals, over 0: above 1 comes in bursts
  Duration duration{};    ///< no arrival at or after it; with count 0 a bound is needed
  std::size_t count = 0;  ///< at most so many; 0: no bound
  LengthRange prompt, output;
  std::uint64_t seed = 0;
};

/// Online requests.
Result<Workload> synthetic_online(const SyntheticOptions& options);
/// `count` offline items, all there at the start.
Workload synthetic_offline(std::size_t count, LengthRange prompt, LengthRange output,
                           std::uint64_t seed);

}  // namespace tandem::sim
