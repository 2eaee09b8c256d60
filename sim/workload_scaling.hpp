// One trace for many services: a window of it, a share of its requests, faster, shorter.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/result.hpp"
#include "sim/workload.hpp"

namespace tandem::sim {

/// Applied from top to bottom. Times of `start` and `length` are the trace's own.
struct Scaling {
  Duration start{};              ///< leaves out what arrives before it, and moves it to 0
  Duration length{};             ///< leaves out what arrives so long after `start`; 0: nothing
  double keep = 1;               ///< share of the requests, chosen by seed; over 0, at most 1
  double speed = 1;              ///< arrivals and deadlines come so many times faster; over 0
  double prompt_scale = 1;       ///< of prompt lengths; prefixes shrink with them; over 0
  double output_scale = 1;       ///< of output lengths; over 0
  std::size_t max_requests = 0;  ///< the first so many; 0: all
  Tokens max_context{0};         ///< 0: no bound on prompt + output
  bool drop_too_long = false;    ///< leave out what is longer than max_context, instead of refusing
  std::uint64_t seed = 0;
};

/// Adds to `notes` a sentence for what was left out as too long. An error if a number is out of
/// its range, if a request is too long, or if nothing is left.
Result<Workload> scaled(Workload workload, const Scaling& scaling, std::vector<std::string>& notes);

}  // namespace tandem::sim
