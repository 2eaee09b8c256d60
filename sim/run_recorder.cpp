// See run_recorder.hpp.
#include "sim/run_recorder.hpp"

#include "core/check.hpp"

namespace tandem::sim {

void RunRecorder::begin_life(std::uint64_t life) {
  offset_ = id_offset(life);
  alive_ = true;
}

void RunRecorder::end_life(TimePoint now) {
  alive_ = false;
  books_->died({in_flight_.begin(), in_flight_.end()}, now);
  in_flight_.clear();
  wakes_.clear();
}

PlanPtr RunRecorder::seen(const PlanPtr& plan) const {
  if (offset_ == 0) return plan;
  auto copy = std::make_shared<Plan>(*plan);
  for (Slice& slice : copy->slices) slice.id = seen(slice.id);
  return copy;
}

RequestPtr RunRecorder::seen(const RequestPtr& request) const {
  if (offset_ == 0) return request;
  auto copy = std::make_shared<Request>(*request);
  copy->id = seen(copy->id);
  return copy;
}

void RunRecorder::arrive(const RequestPtr& request, TimePoint now) {
  const std::uint64_t number = request->sampling.seed, size = workload_->requests.size();
  books_->arrived({seen(request), {static_cast<std::size_t>(number % size), number / size}}, now);
}

void RunRecorder::report(const IterationReport& report, TimePoint now) {
  TANDEM_CHECK(!in_flight_.empty() && in_flight_.front()->id == report.id,
               "plans are reported in the order in which they were launched");
  books_->reported(*in_flight_.front(), report, now);
  in_flight_.pop_front();
}

void RunRecorder::happens(const policy::Event& event, TimePoint now) {
  if (!alive_) return;
  ++events_;
  if (const auto* arrived = std::get_if<policy::Arrived>(&event)) arrive(arrived->request, now);
  if (const auto* reported = std::get_if<policy::Reported>(&event)) report(*reported->report, now);
  if (const auto* supplied = std::get_if<policy::Supplied>(&event))
    for (const RequestPtr& item : supplied->items) {
      ++items_supplied_;
      arrive(item, now);
    }
  if (std::holds_alternative<policy::Woken>(event))
    wakes_.erase(wakes_.begin(), wakes_.upper_bound(now));
}

void RunRecorder::decides(const policy::Action& action, TimePoint now) {
  if (!alive_) return;
  if (const auto* launch = std::get_if<policy::Launch>(&action)) {
    in_flight_.push_back(seen(launch->plan));
    books_->launched(*in_flight_.back(), now);
  }
  if (const auto* wake = std::get_if<policy::Wake>(&action)) wakes_.insert(wake->at);
  const auto* emit = std::get_if<policy::Emit>(&action);
  if (emit == nullptr) return;
  std::vector<TokenEvent> events = emit->events;
  for (TokenEvent& event : events) {
    online_events_ += raw(event.id) < first_item_request_id ? 1U : 0U;
    event.id = seen(event.id);
  }
  books_->emitted(events, now);
}

void RunRecorder::settles(const policy::SchedulerCore& core, TimePoint now) {
  if (alive_) books_->settled(core, now);
}

}  // namespace tandem::sim
