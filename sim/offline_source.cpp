// See offline_source.hpp.
#include "sim/offline_source.hpp"

namespace tandem::sim {

OfflineSource::OfflineSource(const Workload& workload, bool endless)
    : workload_(&workload), endless_(endless) {
  for (std::size_t i = 0; i < workload.requests.size(); ++i)
    if (workload.requests[i].request_class == RequestClass::offline) order_.push_back(i);
}

Duration OfflineSource::arrival(std::size_t position) const {
  return endless_ ? Duration{} : workload_->requests[order_[position]].arrival;
}

std::vector<OfflineSource::Item> OfflineSource::take(std::uint32_t count, Duration now) {
  std::vector<Item> taken;
  while (taken.size() < count && ready(now)) {
    if (!returned_.empty()) {
      taken.push_back(returned_.front());
      returned_.pop_front();
      continue;
    }
    taken.push_back({order_[next_ % order_.size()], next_ / order_.size(), 0});
    ++next_;
  }
  return taken;
}

void OfflineSource::give_back(Item item) {
  ++item.attempts;
  returned_.push_back(item);
}

bool OfflineSource::ready(Duration now) const {
  if (!returned_.empty()) return true;
  if (order_.empty()) return false;
  return endless_ || (next_ < order_.size() && arrival(next_) <= now);
}

std::optional<Duration> OfflineSource::next_arrival() const {
  if (endless_ || next_ >= order_.size()) return std::nullopt;
  return arrival(next_);
}

}  // namespace tandem::sim
