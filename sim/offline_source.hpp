// The offline queue of a run, without files: hands out items in the workload's order, takes back
// those that the engine failed under, and hands them out again first.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "core/units.hpp"
#include "sim/workload.hpp"

namespace tandem::sim {

class OfflineSource {
 public:
  struct Item {
    std::size_t index = 0;         ///< of the workload's requests
    std::uint64_t repetition = 0;  ///< how often the source had gone over the workload before
    std::uint32_t attempts = 0;    ///< that ended without a result
  };

  /// `endless`: after the last item the first comes again, so that the queue never runs dry. All
  /// items are then taken to be there from the start.
  OfflineSource(const Workload& workload, bool endless);

  /// Up to `count` items that are there at `now` (since the run's start).
  std::vector<Item> take(std::uint32_t count, Duration now);
  void give_back(Item item);
  /// When the next item that is not there yet comes.
  [[nodiscard]] std::optional<Duration> next_arrival() const;
  /// Something could be taken at `now`.
  [[nodiscard]] bool ready(Duration now) const;

 private:
  [[nodiscard]] Duration arrival(std::size_t position) const;

  const Workload* workload_;
  bool endless_;
  std::vector<std::size_t> order_;  ///< places of offline requests
  std::size_t next_ = 0;            ///< in order_, over all repetitions
  std::deque<Item> returned_;
};

}  // namespace tandem::sim
