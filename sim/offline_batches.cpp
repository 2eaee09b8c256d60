// See offline_batches.hpp.
#include "sim/offline_batches.hpp"

namespace tandem::sim {

OfflineBatches::OfflineBatches(const Workload& workload, bool endless)
    : workload_(&workload), endless_(endless) {
  for (std::size_t i = 0; i < workload.requests.size(); ++i)
    if (workload.requests[i].request_class == RequestClass::offline) places_.push_back(i);
}

Duration OfflineBatches::arrival(std::size_t place) const {
  return endless_ ? Duration{} : workload_->requests[places_[place]].arrival;
}

bool OfflineBatches::is_due(Duration now, bool some_wait) const {
  if (next_ < places_.size()) return arrival(next_) <= now;
  return endless_ && !places_.empty() && !some_wait;
}

std::vector<OfflineItem> OfflineBatches::next(Duration now, bool some_wait) {
  std::vector<OfflineItem> items;
  if (!is_due(now, some_wait)) return items;
  if (next_ == places_.size()) {
    next_ = 0;
    ++repetition_;
  }
  const Duration at = arrival(next_);
  while (next_ < places_.size() && arrival(next_) == at && items.size() < max_items)
    items.push_back({places_[next_++], repetition_});
  return items;
}

std::optional<Duration> OfflineBatches::next_arrival() const {
  if (next_ == places_.size()) return std::nullopt;
  return arrival(next_);
}

}  // namespace tandem::sim
