// What goes wrong in a run, drawn from a seed: each draw is a function of the seed and of what it
// is about (a plan's number, a request's place), never of what was drawn before. So equal seeds
// give equal runs, in fast and in full mode alike.
#pragma once

#include <cstdint>
#include <optional>

#include "core/plan.hpp"
#include "core/units.hpp"

namespace tandem::sim {

/// Shares are probabilities, 0 to 1.
struct FaultOptions {
  double noise = 0;       ///< sigma of a log-normal factor of mean 1 on every iteration's cost
  double slow_share = 0;  ///< of iterations that take slow_factor as long
  double slow_factor = 10;
  double abort_share = 0;    ///< of offline-only iterations, stopped at a safepoint
  double failure_share = 0;  ///< of iterations that end with a device error; the device lives
  double death_share = 0;    ///< of iterations in which the executor dies and the process with it
  Duration restart = std::chrono::seconds(10);        ///< until the next process serves
  double cancel_share = 0;                            ///< of requests whose caller goes away...
  Duration cancel_within = std::chrono::seconds(10);  ///< ...evenly up to so long after arrival
};

enum class Fate : std::uint8_t { done, aborted, failed, died };

class Faults {
 public:
  Faults(const FaultOptions& options, std::uint64_t seed) : options_(options), seed_(seed) {}

  /// The cost of `plan`, which the device model puts at `cost`, in the process's `life` (0, 1,
  /// ...).
  [[nodiscard]] Duration cost(const Plan& plan, std::uint64_t life, Duration cost) const;
  [[nodiscard]] Fate fate(const Plan& plan, std::uint64_t life) const;
  /// When after its arrival the caller of request `index` goes away, if it does.
  [[nodiscard]] std::optional<Duration> cancelled_after(std::uint64_t index) const;
  [[nodiscard]] Duration restart() const { return options_.restart; }

 private:
  enum class About : std::uint64_t { noise, slow, fate, cancel, cancel_time, stop };
  /// Even in [0, 1).
  [[nodiscard]] double draw(About about, std::uint64_t a, std::uint64_t b) const;

  FaultOptions options_;
  std::uint64_t seed_;
};

}  // namespace tandem::sim
