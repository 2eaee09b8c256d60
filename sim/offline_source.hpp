// The offline queue of fast mode: the order of the real one (policy/offline_order.hpp) without its
// files. Items are put into it as they are pushed, those that the engine failed under come back in
// their place, and a Refill takes the next ones.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "policy/offline_order.hpp"
#include "sim/offline_batches.hpp"

namespace tandem::sim {

class OfflineSource {
 public:
  OfflineSource(const Workload& workload, bool endless, const policy::OfflineOrderOptions& order,
                std::int64_t vocab_size);

  /// Up to `count` of the items that were pushed.
  std::vector<OfflineItem> take(std::uint32_t count);
  void give_back(OfflineItem item);
  /// Pushes what is there at `now` and was not yet pushed.
  void push(Duration now);
  [[nodiscard]] bool push_is_due(Duration now) const { return batches_.is_due(now, ready()); }
  /// When there will be more to push; nothing if that does not depend on time.
  [[nodiscard]] std::optional<Duration> next_arrival() const { return batches_.next_arrival(); }
  /// Something can be taken.
  [[nodiscard]] bool ready() const { return order_.size() > 0; }

 private:
  void insert(OfflineItem item);

  const Workload* workload_;
  std::int64_t vocab_size_;
  bool looks_at_prompts_;
  OfflineBatches batches_;
  policy::BlockHasher hasher_{0};
  policy::OfflineOrder order_;
};

}  // namespace tandem::sim
