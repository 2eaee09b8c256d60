// See slo_statistics.hpp.
#include "policy/slo_statistics.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace tandem::policy {

SampleWindow::SampleWindow(std::size_t capacity) : capacity_(capacity) {}

void SampleWindow::add(double value) {
  if (values_.size() < capacity_)
    values_.push_back(value);
  else
    values_[count_ % capacity_] = value;
  ++count_;
}

double SampleWindow::quantile(double share) const {
  if (values_.empty()) return 0;
  const auto wanted = std::ceil(share * static_cast<double>(values_.size()));
  const auto rank =
      static_cast<std::size_t>(std::clamp(wanted, 1.0, static_cast<double>(values_.size()))) - 1;
  auto sorted = values_;
  std::nth_element(sorted.begin(), sorted.begin() + static_cast<std::ptrdiff_t>(rank),
                   sorted.end());
  return sorted[rank];
}

double SampleWindow::mean() const {
  if (values_.empty()) return 0;
  const double sum = std::accumulate(values_.begin(), values_.end(), 0.0);
  return sum / static_cast<double>(values_.size());
}

SloStatistics::SloStatistics(std::size_t window) : ttft_ms_(window), tbt_ms_(window) {}

void SloStatistics::admitted(RequestId id, RequestClass request_class, TimePoint arrival) {
  const auto [place, added] = requests_.insert_or_assign(
      id, RequestTimes{.request_class = request_class, .arrival = arrival});
  if (added && request_class == RequestClass::offline) ++offline_requests_;
}

void SloStatistics::launched(RequestId id, TimePoint at) {
  const auto found = requests_.find(id);
  if (found != requests_.end() && !found->second.launched) found->second.launched = at;
}

std::optional<TokenTiming> SloStatistics::token(RequestId id, TimePoint at) {
  const auto found = requests_.find(id);
  if (found == requests_.end()) return std::nullopt;
  auto& times = found->second;
  const bool first = !times.first_token;
  const TokenTiming timing{times.request_class, first,
                           at - (first ? times.arrival : times.last_token)};
  if (times.request_class == RequestClass::online)
    (first ? ttft_ms_ : tbt_ms_).add(to_ms(timing.since_last));
  if (first) times.first_token = at;
  times.last_token = at;
  ++times.num_tokens;
  return timing;
}

std::optional<RequestTimes> SloStatistics::ended(RequestId id) {
  const auto found = requests_.find(id);
  if (found == requests_.end()) return std::nullopt;
  const auto times = found->second;
  if (times.request_class == RequestClass::offline) --offline_requests_;
  requests_.erase(found);
  return times;
}

BudgetSnapshot SloStatistics::snapshot() const {
  BudgetSnapshot snapshot;
  snapshot.ttft_samples = ttft_ms_.count();
  snapshot.tbt_samples = tbt_ms_.count();
  snapshot.ttft_ms_mean = ttft_ms_.mean();
  snapshot.ttft_ms_p50 = ttft_ms_.quantile(0.5);
  snapshot.ttft_ms_p99 = ttft_ms_.quantile(0.99);
  snapshot.tbt_ms_mean = tbt_ms_.mean();
  snapshot.tbt_ms_p50 = tbt_ms_.quantile(0.5);
  snapshot.tbt_ms_p99 = tbt_ms_.quantile(0.99);
  return snapshot;
}

}  // namespace tandem::policy
