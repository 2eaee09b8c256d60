// See fast_run.hpp.
#include "sim/fast_run.hpp"

#include <algorithm>
#include <deque>
#include <map>
#include <queue>
#include <unordered_map>
#include <utility>

#include "core/check.hpp"
#include "sim/offline_source.hpp"

namespace tandem::sim {
namespace {

using policy::SchedulerCore;

constexpr TimePoint never = TimePoint::max();
constexpr std::uint64_t events_per_progress = 4096;

class FastRun {
 public:
  FastRun(const Workload& workload, const RunOptions& options,
          const std::vector<RunObserver*>& observers)
      : workload_(workload),
        options_(options),
        observers_(observers),
        faults_(options.faults, options.seed),
        source_(workload, options.endless_offline) {
    TANDEM_CHECK(!options.endless_offline || options.horizon > Duration{},
                 "what never ends needs a horizon");
    end_ = options.horizon > Duration{} ? TimePoint(2 * options.horizon) : never;
    skip_to_online();
  }

  TimePoint run() {
    start_process();
    std::uint64_t events = 0;
    bool stopped = false;
    while (!stopped && !over()) {
      const TimePoint next = next_time();
      if (next == never || next > end_) break;
      now_ = next;
      step();
      if (++events % events_per_progress == 0 && options_.progress)
        stopped = !options_.progress(now_.time_since_epoch());
    }
    const bool drained = !stopped && live_.empty() && !source_.ready(now_.time_since_epoch()) &&
                         next_online_ == workload_.requests.size();
    for (RunObserver* observer : observers_) observer->finished(*core_, drained, now_);
    return now_;
  }

 private:
  struct Live {
    RequestPtr request;
    std::size_t index = 0;
    OfflineSource::Item item;  ///< of an offline one
  };

  // ---- time ----

  [[nodiscard]] bool past_horizon(TimePoint at) const {
    return options_.horizon > Duration{} && at > TimePoint(options_.horizon);
  }

  /// With a horizon: it has passed, and no online request is left.
  [[nodiscard]] bool over() const { return past_horizon(now_) && live_online_ == 0; }

  [[nodiscard]] TimePoint arrival_time() const {
    if (next_online_ == workload_.requests.size()) return never;
    const TimePoint at(workload_.requests[next_online_].arrival);
    return past_horizon(at) ? never : at;
  }

  [[nodiscard]] TimePoint supply_time() const {
    if (!source_ran_dry_ || is_down()) return never;
    const Duration now = now_.time_since_epoch();
    if (source_.ready(now)) return now_;
    const auto next = source_.next_arrival();
    return next ? TimePoint(*next) : never;
  }

  [[nodiscard]] bool is_down() const { return restart_at_ != never; }

  [[nodiscard]] TimePoint next_time() const {
    const TimePoint cancel = cancels_.empty() ? never : cancels_.top().first;
    return std::min({device_ends_, cancel, arrival_time(), supply_time(), wake_at_, restart_at_});
  }

  /// Carries out what is due now; of several, the one named first.
  void step() {
    if (device_ends_ == now_) return end_iteration();
    if (restart_at_ == now_) return start_process();
    if (!cancels_.empty() && cancels_.top().first == now_) return cancel();
    if (arrival_time() == now_) return arrive();
    if (supply_time() == now_) {
      source_ran_dry_ = false;
      return feed(policy::Available{});
    }
    wake_at_ = never;
    feed(policy::Woken{});
  }

  // ---- the process ----

  void start_process() {
    restart_at_ = never;
    core_ = std::make_unique<SchedulerCore>(options_.scheduler, options_.make_planner());
    if (options_.model) feed(policy::ModelUpdated{options_.model});
    if (options_.budget) feed(policy::BudgetUpdated{options_.budget});
    feed(policy::Available{});
  }

  void die() {
    for (auto plan = device_.begin(); plan != device_.end(); ++plan)
      for (RunObserver* observer : observers_)
        observer->reported(**plan, failed_report(**plan), now_);
    device_.clear();
    device_ends_ = wake_at_ = never;
    std::vector<Live> lost;
    for (const auto& [id, live] : live_) lost.push_back(live);
    for (const Live& live : lost) {
      TokenEvent event{.id = live.request->id, .finish = FinishReason::failed};
      event.error = error(Errc::device_failed, "the process died");
      end_request(event);
    }
    for (RunObserver* observer : observers_) observer->died(now_);
    ++life_;
    restart_at_ = now_ + faults_.restart();
  }

  // ---- the core ----

  /// Hands the core an event, and whatever its actions lead to at once.
  void feed(policy::Event event) {
    pending_.push_back(std::move(event));
    if (feeding_) return;
    feeding_ = true;
    while (!pending_.empty()) {
      const policy::Event next = std::move(pending_.front());
      pending_.pop_front();
      for (const policy::Action& action : core_->on(next, now_))
        std::visit([this](const auto& each) { perform(each); }, action);
    }
    feeding_ = false;
    for (RunObserver* observer : observers_) observer->settled(*core_, now_);
  }

  void perform(const policy::Launch& launch) {
    device_.push_back(launch.plan);
    for (RunObserver* observer : observers_) observer->launched(*launch.plan, now_);
    if (device_.size() == 1) start_iteration();
  }

  void perform(const policy::Emit& emit) {
    std::vector<TokenEvent> events;
    for (const TokenEvent& event : emit.events)
      if (!event.finish || !give_back(event)) events.push_back(event);
    if (events.empty()) return;
    for (RunObserver* observer : observers_) observer->emitted(events, now_);
    for (const TokenEvent& event : events)
      if (event.finish) forget(event.id);
  }

  void perform(const policy::Refill& refill) {
    policy::Supplied supplied;
    for (const auto& item : source_.take(refill.count, now_.time_since_epoch()))
      supplied.items.push_back(enter(item.index, item.repetition, item));
    source_ran_dry_ = supplied.items.size() < refill.count;
    pending_.push_back(std::move(supplied));
  }

  void perform(const policy::Wake& wake) { wake_at_ = std::max(wake.at, now_); }

  // ---- requests ----

  void skip_to_online() {
    while (next_online_ < workload_.requests.size() &&
           workload_.requests[next_online_].request_class == RequestClass::offline)
      ++next_online_;
  }

  void arrive() {
    const std::size_t index = next_online_++;
    skip_to_online();
    const RequestPtr request = enter(index, 0, {});
    if (!is_down()) return feed(policy::Arrived{request});
    TokenEvent refused{.id = request->id, .finish = FinishReason::failed};
    refused.error = error(Errc::shutting_down, "the process is being restarted");
    end_request(refused);
  }

  RequestPtr enter(std::size_t index, std::uint64_t repetition, const OfflineSource::Item& item) {
    const WorkloadRequest& from = workload_.requests[index];
    auto request = std::make_shared<Request>();
    const bool online = from.request_class == RequestClass::online;
    request->id = RequestId(online ? ++next_call_ : first_item_request_id + next_item_++);
    request->request_class = from.request_class;
    request->prompt = prompt_of(workload_, index, options_.vocab_size, repetition);
    request->stop.max_tokens = from.output_tokens;
    request->arrival = now_;
    live_.emplace(request->id, Live{request, index, item});
    live_online_ += online ? 1U : 0U;
    const std::uint64_t draw = index + repetition * workload_.requests.size();
    if (item.attempts == 0)
      if (const auto after = faults_.cancelled_after(draw))
        cancels_.emplace(now_ + *after, request->id);
    for (RunObserver* observer : observers_) observer->arrived(*request, index, now_);
    return request;
  }

  void cancel() {
    const RequestId id = cancels_.top().second;
    cancels_.pop();
    if (live_.contains(id)) feed(policy::Cancelled{id});
  }

  /// True if the event ends a request whose item will be tried again.
  bool give_back(const TokenEvent& event) {
    const auto found = live_.find(event.id);
    TANDEM_CHECK(found != live_.end(), "a request ends once");
    const Live& live = found->second;
    if (*event.finish != FinishReason::failed ||
        live.request->request_class == RequestClass::online ||
        live.item.attempts + 1 >= options_.item_attempts)
      return false;
    source_.give_back(live.item);
    for (RunObserver* observer : observers_) observer->given_back(event.id, now_);
    forget(event.id);
    return true;
  }

  void end_request(const TokenEvent& event) {
    if (give_back(event)) return;
    for (RunObserver* observer : observers_) observer->emitted({event}, now_);
    forget(event.id);
  }

  void forget(RequestId id) {
    const auto found = live_.find(id);
    live_online_ -= found->second.request->request_class == RequestClass::online ? 1U : 0U;
    live_.erase(found);
  }

  // ---- the device ----

  void start_iteration() {
    if (device_.empty()) {
      device_ends_ = never;
      return;
    }
    const Plan& plan = *device_.front();
    elapsed_ = faults_.cost(plan, life_, options_.device->cost(plan));
    device_ends_ = now_ + elapsed_;
  }

  static IterationReport failed_report(const Plan& plan) {
    IterationReport report{.id = plan.id, .outcome = Outcome::failed};
    report.error = error(Errc::device_failed, "made to fail");
    return report;
  }

  void end_iteration() {
    const PlanPtr plan = device_.front();
    const Fate fate = faults_.fate(*plan, life_);
    if (fate == Fate::died) return die();
    device_.pop_front();
    if (fate == Fate::done) {
      auto report = simulated_report(*plan, elapsed_, options_.vocab_size);
      start_iteration();
      return report_to_core(*plan, std::move(report));
    }
    IterationReport stopped{.id = plan->id, .outcome = Outcome::aborted};
    if (fate == Fate::failed) stopped = failed_report(*plan);
    stopped.elapsed = elapsed_;
    const std::deque<PlanPtr> behind = std::exchange(device_, {});
    device_ends_ = never;
    report_to_core(*plan, std::move(stopped));
    // The core plans nothing before it has seen the end of all that was in flight.
    for (const PlanPtr& later : behind)
      report_to_core(*later, {.id = later->id, .outcome = Outcome::aborted});
  }

  void report_to_core(const Plan& plan, IterationReport report) {
    for (RunObserver* observer : observers_) observer->reported(plan, report, now_);
    feed(policy::Reported{std::make_shared<const IterationReport>(std::move(report))});
  }

  using Cancel = std::pair<TimePoint, RequestId>;

  const Workload& workload_;
  const RunOptions& options_;
  const std::vector<RunObserver*>& observers_;
  Faults faults_;
  OfflineSource source_;
  std::unique_ptr<SchedulerCore> core_;
  std::deque<policy::Event> pending_;
  bool feeding_ = false;

  TimePoint now_{}, end_ = never;
  TimePoint device_ends_ = never, wake_at_ = never, restart_at_ = never;
  Duration elapsed_{};
  std::uint64_t life_ = 0;
  std::deque<PlanPtr> device_;  ///< the front one runs
  std::size_t next_online_ = 0;
  bool source_ran_dry_ = false;
  std::map<RequestId, Live> live_;  ///< ordered, so that a death ends them in one order
  std::size_t live_online_ = 0;
  std::priority_queue<Cancel, std::vector<Cancel>, std::greater<>> cancels_;
  std::uint64_t next_call_ = 0, next_item_ = 0;
};

}  // namespace

IterationReport simulated_report(const Plan& plan, Duration elapsed, std::int64_t vocab_size) {
  IterationReport report{.id = plan.id, .elapsed = elapsed};
  for (std::uint32_t i = 0; i < plan.slices.size(); ++i) {
    const Slice& slice = plan.slices[i];
    if (!slice.samples) continue;
    const std::uint64_t context = slice.context + slice.num_tokens;
    report.samples.push_back({.slice = i, .token = simulated_token(slice.id, context, vocab_size)});
  }
  return report;
}

Result<void> check_fits(const Workload& workload, const RunOptions& options) {
  for (std::size_t i = 0; i < workload.requests.size(); ++i) {
    const WorkloadRequest& request = workload.requests[i];
    const Tokens longest = request.prompt_tokens + request.output_tokens - Tokens(1);
    if (blocks_for(longest) > options.scheduler.kv_blocks)
      return error(Errc::context_length_exceeded,
                   workload.name + ": request " + std::to_string(i + 1) + " has " +
                       std::to_string(request.prompt_tokens.value()) + " prompt and " +
                       std::to_string(request.output_tokens.value()) +
                       " output tokens; the KV cache holds " +
                       std::to_string(options.scheduler.kv_blocks.value() * kv_block_tokens));
  }
  return {};
}

TimePoint run_fast(const Workload& workload, const RunOptions& options,
                   const std::vector<RunObserver*>& observers) {
  return FastRun(workload, options, observers).run();
}

}  // namespace tandem::sim
