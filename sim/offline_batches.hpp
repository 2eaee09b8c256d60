// The offline part of a workload as the batches in which a client would push it: items that are
// there at the same time, in the workload's order, at most as many as a batch may have. An endless
// set is pushed again whenever nothing of it waits any more. Both modes push the same batches.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "core/units.hpp"
#include "sim/workload.hpp"

namespace tandem::sim {

struct OfflineItem {
  std::size_t index = 0;         ///< of the workload's requests
  std::uint64_t repetition = 0;  ///< how often the set had been pushed before

  /// A number of its own: ascending in the order in which items are pushed.
  [[nodiscard]] std::uint64_t number(const Workload& workload) const {
    return repetition * workload.requests.size() + index;
  }
};

class OfflineBatches {
 public:
  static constexpr std::size_t max_items = 50000;

  /// `endless`: all items are taken to be there from the start.
  OfflineBatches(const Workload& workload, bool endless);

  /// The next batch that is there at `now` (since the run's start), if there is one. `some_wait`:
  /// items that were pushed have not been taken yet.
  std::vector<OfflineItem> next(Duration now, bool some_wait);
  /// next() would not be empty.
  [[nodiscard]] bool is_due(Duration now, bool some_wait) const;
  /// When the next batch comes; nothing if that does not depend on time.
  [[nodiscard]] std::optional<Duration> next_arrival() const;

 private:
  [[nodiscard]] Duration arrival(std::size_t place) const;

  const Workload* workload_;
  bool endless_;
  std::vector<std::size_t> places_;  ///< of offline requests
  std::size_t next_ = 0;             ///< in places_
  std::uint64_t repetition_ = 0;
};

}  // namespace tandem::sim
