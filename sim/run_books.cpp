// See run_books.hpp.
#include "sim/run_books.hpp"

#include "core/check.hpp"

namespace tandem::sim {

void RunBooks::arrived(const LiveRequest& live, TimePoint now) {
  const Request& request = *live.request;
  const bool fresh = live_.emplace(request.id, live).second;
  TANDEM_CHECK(fresh, "an id is given once in a run");
  live_online_ += request.request_class == RequestClass::online ? 1U : 0U;
  for (RunObserver* observer : observers_) observer->arrived(request, live.item.index, now);
}

void RunBooks::launched(const Plan& plan, TimePoint now) const {
  for (RunObserver* observer : observers_) observer->launched(plan, now);
}

void RunBooks::reported(const Plan& plan, const IterationReport& report, TimePoint now) const {
  for (RunObserver* observer : observers_) observer->reported(plan, report, now);
}

void RunBooks::emitted(const std::vector<TokenEvent>& events, TimePoint now) {
  std::vector<TokenEvent> told;
  for (const TokenEvent& event : events)
    if (!event.finish || !give_back(event, now)) told.push_back(event);
  if (told.empty()) return;
  for (RunObserver* observer : observers_) observer->emitted(told, now);
  for (const TokenEvent& event : told)
    if (event.finish) forget(event.id);
}

/// True if the event ends a request whose item will be tried again.
bool RunBooks::give_back(const TokenEvent& event, TimePoint now) {
  const auto found = live_.find(event.id);
  TANDEM_CHECK(found != live_.end(), "a request ends once");
  const LiveRequest& live = found->second;
  if (*event.finish != FinishReason::failed ||
      live.request->request_class == RequestClass::online || !take_back_(live))
    return false;
  for (RunObserver* observer : observers_) observer->given_back(event.id, now);
  ++given_back_;
  forget(event.id);
  return true;
}

void RunBooks::forget(RequestId id) {
  const auto found = live_.find(id);
  live_online_ -= found->second.request->request_class == RequestClass::online ? 1U : 0U;
  live_.erase(found);
}

void RunBooks::given_up(std::size_t index, TimePoint now) {
  for (RunObserver* observer : observers_) observer->given_up(index, now);
  ++given_up_;
}

void RunBooks::died(const std::vector<PlanPtr>& in_flight, TimePoint now) {
  for (const PlanPtr& plan : in_flight) reported(*plan, failed_report(*plan), now);
  std::vector<RequestId> lost;
  for (const auto& [id, live] : live_) lost.push_back(id);
  for (const RequestId id : lost) {
    TokenEvent event{.id = id, .finish = FinishReason::failed};
    event.error = error(Errc::device_failed, "the process died");
    emitted({event}, now);
  }
  for (RunObserver* observer : observers_) observer->died(now);
}

void RunBooks::settled(const policy::SchedulerCore& core, TimePoint now) const {
  for (RunObserver* observer : observers_) observer->settled(core, now);
}

void RunBooks::finished(bool drained, TimePoint now) const {
  for (RunObserver* observer : observers_) observer->finished(drained, now);
}

IterationReport failed_report(const Plan& plan) {
  IterationReport report{.id = plan.id, .outcome = Outcome::failed};
  report.error = error(Errc::device_failed, "made to fail");
  return report;
}

}  // namespace tandem::sim
