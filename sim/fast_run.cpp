// See fast_run.hpp.
#include "sim/fast_run.hpp"

#include <algorithm>
#include <deque>
#include <optional>
#include <queue>
#include <unordered_map>
#include <utility>

#include "core/check.hpp"
#include "policy/slo_control.hpp"
#include "sim/offline_source.hpp"
#include "sim/run_books.hpp"

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
        faults_(options.faults, options.seed),
        source_(workload, options.endless_offline, options.offline_order, options.vocab_size),
        books_(observers, [this](const LiveRequest& live) { return take_back(live.item); }) {
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
    books_.finished(!stopped && books_.live() == 0 && !source_.ready() && !source_.next_arrival() &&
                        next_online_ == workload_.requests.size(),
                    now_);
    return now_;
  }

 private:
  // ---- time ----

  [[nodiscard]] bool past_horizon(TimePoint at) const {
    return options_.horizon > Duration{} && at > TimePoint(options_.horizon);
  }

  /// With a horizon: it has passed, and no online request is left.
  [[nodiscard]] bool over() const { return past_horizon(now_) && books_.live_online() == 0; }

  [[nodiscard]] TimePoint arrival_time() const {
    if (next_online_ == workload_.requests.size()) return never;
    const TimePoint at(workload_.requests[next_online_].arrival);
    return past_horizon(at) ? never : at;
  }

  [[nodiscard]] TimePoint supply_time() const {
    if (is_down()) return never;
    const Duration now = now_.time_since_epoch();
    if (source_.push_is_due(now) || (source_ran_dry_ && source_.ready())) return now_;
    const auto next = source_.next_arrival();
    return next ? TimePoint(*next) : never;
  }

  [[nodiscard]] bool is_down() const { return restart_at_ != never; }

  [[nodiscard]] TimePoint next_time() {
    while (!cancels_.empty() && !books_.lives(cancels_.top().second)) cancels_.pop();
    const TimePoint cancel = cancels_.empty() ? never : cancels_.top().first;
    const TimePoint wake = wakes_.empty() ? never : wakes_.top();
    return std::min({device_ends_, cancel, arrival_time(), supply_time(), wake, restart_at_});
  }

  /// Carries out what is due now; of several, the one named first.
  void step() {
    if (device_ends_ == now_) return end_iteration();
    if (restart_at_ == now_) return start_process();
    if (!cancels_.empty() && cancels_.top().first == now_) return cancel();
    if (arrival_time() == now_) return arrive();
    if (supply_time() == now_) {
      source_.push(now_.time_since_epoch());
      if (std::exchange(source_ran_dry_, false)) feed(policy::Available{});
      return;
    }
    wakes_.pop();
    feed(policy::Woken{});
  }

  // ---- the process ----

  void start_process() {
    restart_at_ = never;
    core_ = std::make_unique<SchedulerCore>(options_.scheduler, options_.make_planner());
    source_.push(now_.time_since_epoch());
    // The first event of all is answered with a Refill; what is known is told before items come.
    if (options_.learner.initial.error_is_known())
      pending_.emplace_back(policy::ModelUpdated{std::make_shared<const policy::LatencySnapshot>(
          policy::LatencySnapshot{.model = options_.learner.initial})});
    slo_ = policy::SloStatistics();
    told_budget_ms_.reset();
    control_.emplace(options_.slo);
    tell_budget();
    feed(policy::Available{});
  }

  void tell_budget() {
    const auto ms = control_->budget_ms();
    if (!ms || ms == told_budget_ms_) return;
    told_budget_ms_ = ms;
    pending_.emplace_back(
        policy::BudgetUpdated{std::make_shared<const policy::BudgetSnapshot>(control_->budgets())});
  }

  /// What the SLO profiler does in service; there, the scheduler is told of small steps later.
  void control_budget(const std::vector<TokenEvent>& events) {
    if (!options_.slo.control) return;
    for (const auto& event : events) {
      if (event.token)
        if (const auto timing = slo_.token(event.id, now_)) control_->observe(*timing);
      if (event.finish) slo_.ended(event.id);
    }
    control_->iteration_ended(slo_.offline_requests() > 0);
    tell_budget();
  }

  void die() {
    books_.died({device_.begin(), device_.end()}, now_);
    device_.clear();
    wakes_ = {};
    device_ends_ = never;
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
    books_.settled(*core_, now_);
  }

  void perform(const policy::Launch& launch) {
    device_.push_back(launch.plan);
    books_.launched(*launch.plan, now_);
    if (device_.size() == 1) start_iteration();
  }

  void perform(const policy::Emit& emit) {
    books_.emitted(emit.events, now_);
    control_budget(emit.events);
  }

  void perform(const policy::Refill& refill) {
    policy::Supplied supplied;
    for (const OfflineItem& item : source_.take(refill.count))
      supplied.items.push_back(enter(item));
    source_ran_dry_ = supplied.items.size() < refill.count;
    pending_.push_back(std::move(supplied));
  }

  void perform(const policy::Wake& wake) { wakes_.push(std::max(wake.at, now_)); }

  // ---- requests ----

  void skip_to_online() {
    while (next_online_ < workload_.requests.size() &&
           workload_.requests[next_online_].request_class == RequestClass::offline)
      ++next_online_;
  }

  void arrive() {
    const std::size_t index = next_online_++;
    skip_to_online();
    const RequestPtr request = enter({index, 0});
    if (!is_down()) return feed(policy::Arrived{request});
    TokenEvent refused{.id = request->id, .finish = FinishReason::failed};
    refused.error = error(Errc::shutting_down, "the process is being restarted");
    books_.emitted({refused}, now_);
  }

  RequestPtr enter(const OfflineItem& item) {
    const WorkloadRequest& from = workload_.requests[item.index];
    auto request = std::make_shared<Request>();
    const bool online = from.request_class == RequestClass::online;
    request->id = RequestId(online ? ++next_call_ : first_item_request_id + next_item_++);
    request->request_class = from.request_class;
    request->prompt = prompt_of(workload_, item.index, options_.vocab_size, item.repetition);
    request->stop.max_tokens = from.output_tokens;
    request->arrival = now_;
    if (options_.slo.control) slo_.admitted(request->id, request->request_class, now_);
    const std::uint64_t number = item.number(workload_);
    if (!failures_.contains(number))
      if (const auto after = faults_.cancelled_after(number))
        cancels_.emplace(now_ + *after, request->id);
    books_.arrived({request, item}, now_);
    return request;
  }

  void cancel() {
    const RequestId id = cancels_.top().second;
    cancels_.pop();
    feed(policy::Cancelled{id});
  }

  /// Whether an item that the engine failed under is tried again.
  bool take_back(const OfflineItem& item) {
    if (++failures_[item.number(workload_)] >= options_.item_attempts) return false;
    source_.give_back(item);
    return true;
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

  void end_iteration() {
    const PlanPtr plan = device_.front();
    const Fate fate = faults_.fate(*plan, life_);
    if (fate == Fate::died) return die();
    device_.pop_front();
    if (fate == Fate::done) {
      IterationReport report{.id = plan->id, .elapsed = elapsed_};
      report.samples = simulated_samples(*plan, options_.vocab_size);
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
    books_.reported(plan, report, now_);
    feed(policy::Reported{std::make_shared<const IterationReport>(std::move(report))});
  }

  using Cancel = std::pair<TimePoint, RequestId>;

  const Workload& workload_;
  const RunOptions& options_;
  Faults faults_;
  OfflineSource source_;
  RunBooks books_;
  std::unique_ptr<SchedulerCore> core_;
  policy::SloStatistics slo_;
  std::optional<policy::BudgetControl> control_;
  std::optional<double> told_budget_ms_;
  std::deque<policy::Event> pending_;
  bool feeding_ = false;

  TimePoint now_{}, end_ = never;
  TimePoint device_ends_ = never, restart_at_ = never;
  std::priority_queue<TimePoint, std::vector<TimePoint>, std::greater<>> wakes_;
  Duration elapsed_{};
  std::uint64_t life_ = 0;
  std::deque<PlanPtr> device_;  ///< the front one runs
  std::size_t next_online_ = 0;
  bool source_ran_dry_ = false;
  std::priority_queue<Cancel, std::vector<Cancel>, std::greater<>> cancels_;
  std::unordered_map<std::uint64_t, std::uint32_t> failures_;  ///< of items, by number
  std::uint64_t next_call_ = 0, next_item_ = 0;
};

}  // namespace

std::vector<Sample> simulated_samples(const Plan& plan, std::int64_t vocab_size,
                                      std::uint64_t id_offset) {
  std::vector<Sample> samples;
  for (std::uint32_t i = 0; i < plan.slices.size(); ++i) {
    const Slice& slice = plan.slices[i];
    if (!slice.samples) continue;
    const auto id = static_cast<RequestId>(raw(slice.id) + id_offset);
    const std::uint64_t context = slice.context + slice.num_tokens;
    samples.push_back({.slice = i, .token = simulated_token(id, context, vocab_size)});
  }
  return samples;
}

TimePoint run_fast(const Workload& workload, const RunOptions& options,
                   const std::vector<RunObserver*>& observers) {
  return FastRun(workload, options, observers).run();
}

}  // namespace tandem::sim
