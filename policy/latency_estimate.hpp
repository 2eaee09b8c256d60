// How long iterations take, as a line through (rows, milliseconds), refitted with forgetting at
// each report. A stand-in of honest simplicity until the fitted models arrive: it has the same
// place, the same inputs and the same output, a LatencySnapshot.
#pragma once

#include "core/units.hpp"
#include "policy/snapshots.hpp"

namespace tandem::policy {

class LatencyEstimate {
 public:
  /// Takes in one finished iteration of `rows` tokens.
  void add(Tokens rows, Duration elapsed);
  [[nodiscard]] LatencySnapshot snapshot() const;

 private:
  // Weighted sums of 1, x, y, x*x, x*y; the weight of a sample halves every ~700 samples.
  double weight_ = 0, x_ = 0, y_ = 0, xx_ = 0, xy_ = 0;
  std::uint64_t samples_ = 0;
};

}  // namespace tandem::policy
