// See measurements.hpp.
#include "sim/measurements.hpp"

#include <algorithm>
#include <cmath>

#include "core/check.hpp"

namespace tandem::sim {
namespace {

float milliseconds(Duration duration) { return static_cast<float>(to_ms(duration)); }

/// Reorders `values`.
double quantile(std::vector<float>& values, double share) {
  if (values.empty()) return 0;
  const double rank = std::ceil(share * static_cast<double>(values.size())) - 1;
  const auto place = static_cast<std::ptrdiff_t>(std::max(rank, 0.0));
  std::nth_element(values.begin(), values.begin() + place, values.end());
  return static_cast<double>(values[static_cast<std::size_t>(place)]);
}

double mean(const std::vector<float>& values) {
  double sum = 0;
  for (const float value : values) sum += static_cast<double>(value);
  return values.empty() ? 0 : sum / static_cast<double>(values.size());
}

}  // namespace

Latency latency_of(std::vector<float>& values) {
  Latency latency;
  latency.count = values.size();
  latency.mean = mean(values);
  latency.p50 = quantile(values, 0.5);
  latency.p99 = quantile(values, 0.99);
  latency.max = quantile(values, 1);
  return latency;
}

double Measured::offline_tail_per_s(double share) const {
  const auto first = static_cast<std::size_t>(share * static_cast<double>(intervals.size()));
  double tokens = 0, length = 0;
  for (std::size_t i = first; i < intervals.size(); ++i) {
    tokens += static_cast<double>(intervals[i].offline);
    length += std::min(interval_seconds, seconds - static_cast<double>(i) * interval_seconds);
  }
  return length > 0 ? tokens / length : 0;
}

Measurements::Measurements(const Workload& workload, Duration horizon, Duration interval)
    : workload_(&workload), horizon_(horizon), interval_(interval) {
  TANDEM_CHECK(interval > Duration{}, "an interval has a length");
  measured_.interval_seconds = to_seconds(interval);
}

bool Measurements::counts(TimePoint now) const {
  return horizon_ == Duration{} || now <= TimePoint(horizon_);
}

ClassTotals& Measurements::totals(RequestClass request_class) {
  return request_class == RequestClass::online ? measured_.online : measured_.offline;
}

/// That of `now`; nullptr behind the horizon.
Interval* Measurements::interval(TimePoint now) {
  if (!counts(now)) return nullptr;
  auto place = static_cast<std::size_t>(now.time_since_epoch() / interval_);
  if (horizon_ > Duration{} && now == TimePoint(horizon_) && place > 0) --place;
  if (place >= measured_.intervals.size()) {
    measured_.intervals.resize(place + 1);
    interval_samples_.resize(place + 1);
  }
  return &measured_.intervals[place];
}

void Measurements::arrived(const Request& request, std::size_t index, TimePoint now) {
  live_[request.id] = {request.request_class, index, now, now, false, 0};
  if (!counts(now)) return;
  ++totals(request.request_class).requests;
  Interval* at = interval(now);
  if (request.request_class == RequestClass::online) ++at->arrivals;
}

void Measurements::launched(const Plan& /*plan*/, TimePoint /*now*/) {}

void Measurements::reported(const Plan& plan, const IterationReport& report, TimePoint now) {
  if (!counts(now)) return;
  ++measured_.iterations;
  busy_ += report.elapsed;
  const bool done = report.outcome == Outcome::done;
  // What never started was not computed in vain.
  if (!done && report.elapsed == Duration{}) return;
  for (const Slice& slice : plan.slices) take_slice(slice, done, now);
}

void Measurements::take_slice(const Slice& slice, bool done, TimePoint now) {
  const auto found = live_.find(slice.id);
  ClassTotals& of_class = totals(slice.request_class);
  const std::int64_t rows = slice.num_tokens;
  // Cancelled while it ran, or ended by the plan before: nobody wanted these rows.
  if (found == live_.end() || !done) {
    of_class.wasted += rows;
    return;
  }
  std::int64_t& computed = found->second.computed;
  const std::int64_t end = slice.context + rows;
  const std::int64_t fresh = std::max<std::int64_t>(end - computed, 0);
  const std::int64_t again = std::max<std::int64_t>(rows - fresh, 0);
  const std::int64_t cached = fresh - (rows - again);
  of_class.wasted += again;
  of_class.served += fresh;
  of_class.cached += cached;
  if (slice.decode) ++of_class.generated;
  computed = std::max(computed, end);
  Interval* at = interval(now);
  (slice.request_class == RequestClass::online ? at->online : at->offline) += fresh;
}

void Measurements::emitted(const std::vector<TokenEvent>& events, TimePoint now) {
  for (const TokenEvent& event : events) {
    const auto found = live_.find(event.id);
    TANDEM_CHECK(found != live_.end(), "an event is about a request that lives");
    if (event.token) take_token(found->second, now);
    if (!event.finish) continue;
    take_end(found->second, *event.finish, now);
    live_.erase(found);
  }
}

void Measurements::take_token(Progress& progress, TimePoint now) {
  if (progress.request_class == RequestClass::offline) return;
  const float waited = milliseconds(now - progress.last);
  (progress.answered ? tbt_ : ttft_).push_back(waited);
  if (interval(now) != nullptr) {
    Samples& samples =
        interval_samples_[static_cast<std::size_t>(interval(now) - measured_.intervals.data())];
    (progress.answered ? samples.tbt : samples.ttft).push_back(waited);
  }
  progress.answered = true;
  progress.last = now;
}

void Measurements::take_end(const Progress& progress, FinishReason reason, TimePoint now) {
  if (counts(now)) {
    ClassTotals& of_class = totals(progress.request_class);
    if (reason == FinishReason::failed)
      ++of_class.failed;
    else if (reason == FinishReason::cancelled)
      ++of_class.cancelled;
    else
      ++of_class.finished;
  }
  const auto& deadline = workload_->requests[progress.index].deadline;
  if (deadline && now > TimePoint(*deadline)) ++measured_.deadlines_missed;
}

void Measurements::given_back(RequestId id, TimePoint now) {
  const auto found = live_.find(id);
  TANDEM_CHECK(found != live_.end(), "only a request that lives is given back");
  // It will come again under another id and be served anew: what was served is wasted.
  if (counts(now)) {
    measured_.offline.wasted += found->second.computed;
    measured_.offline.served -= found->second.computed;
    --measured_.offline.requests;
  }
  live_.erase(found);
}

void Measurements::given_up(std::size_t /*index*/, TimePoint now) {
  if (!counts(now)) return;
  ++measured_.offline.requests;
  ++measured_.offline.failed;
}

void Measurements::died(TimePoint /*now*/) {
  preemptions_before_ += preemptions_now_;
  preemptions_now_ = 0;
}

void Measurements::settled(const policy::SchedulerCore& core, TimePoint now) {
  if (counts(now)) preemptions_now_ = core.stats().preemptions;
}

void Measurements::finished(bool /*drained*/, TimePoint now) {
  // Up to the horizon even if nothing was left to do before it.
  measured_.end_seconds = to_seconds(now.time_since_epoch());
  measured_.seconds = horizon_ == Duration{} ? measured_.end_seconds : to_seconds(horizon_);
  for (const auto& [id, progress] : live_) {
    if (progress.request_class == RequestClass::offline || progress.answered) continue;
    ttft_.push_back(milliseconds(now - progress.arrival));
    ++measured_.unanswered;
  }
  measured_.preemptions = preemptions_before_ + preemptions_now_;
}

Measured Measurements::result() {
  Measured& m = measured_;
  m.ttft = latency_of(ttft_);
  m.tbt = latency_of(tbt_);
  m.busy_share = m.seconds > 0 ? std::min(to_seconds(busy_) / m.seconds, 1.0) : 0;
  for (std::size_t i = 0; i < m.intervals.size(); ++i) {
    m.intervals[i].tbt_ms_mean = mean(interval_samples_[i].tbt);
    m.intervals[i].tbt_ms_p99 = quantile(interval_samples_[i].tbt, 0.99);
    m.intervals[i].ttft_ms_p99 = quantile(interval_samples_[i].ttft, 0.99);
  }
  interval_samples_.clear();
  return std::move(m);
}

}  // namespace tandem::sim
