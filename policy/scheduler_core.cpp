// One handler per event, then the step that is common to all: plan while there is room in flight,
// tell what happened, ask for offline work.
#include "policy/scheduler_core.hpp"

#include <algorithm>
#include <optional>
#include <utility>

#include "core/check.hpp"
#include "policy/plan_builder.hpp"
#include "policy/report_commit.hpp"
#include "policy/scheduler_books.hpp"

namespace tandem::policy {

struct SchedulerCore::State {
  State(const SchedulerOptions& options, PlannerPtr planner)
      : books(options), builder(std::move(planner)) {}

  SchedulerBooks books;
  PlanBuilder builder;
  LatencySnapshotPtr model;
  BudgetSnapshotPtr budget;
  ReportCommit commit;
  std::vector<Action> actions;     ///< what the vector form of on() returns
  std::vector<TokenEvent> events;  ///< of the event being handled
  std::uint32_t asked = 0;         ///< items of the open Refill; 0: none is open
  bool queue_is_empty = false;
  std::optional<TimePoint> wake_at;  ///< the earliest Wake that was not answered

  void handle(const Arrived& arrived) { enter(books, arrived.request); }
  void handle(const Supplied& supplied);
  void handle(const Available&) { queue_is_empty = false; }
  void handle(const Cancelled& cancelled);
  void handle(const Reported& reported);
  void handle(const ModelUpdated& updated) { model = updated.model; }
  void handle(const BudgetUpdated& updated) { budget = updated.budget; }
  void handle(const Woken&) { wake_at.reset(); }

  void launch_plans(TimePoint now, const Performer& perform);
  void ask_to_be_woken(const Performer& perform);
  void ask_for_offline_work(const Performer& perform);
};

void SchedulerCore::State::handle(const Supplied& supplied) {
  for (const RequestPtr& item : supplied.items) {
    TANDEM_CHECK(item != nullptr && item->request_class == RequestClass::offline,
                 "the offline queue supplies offline requests");
    enter(books, item);
  }
  if (asked > 0) queue_is_empty = supplied.items.size() < asked;
  asked = 0;
}

void SchedulerCore::State::handle(const Cancelled& cancelled) {
  Sequence* sequence = books.table.find(cancelled.id);
  if (sequence == nullptr) return;
  events.push_back(ending(*sequence, FinishReason::cancelled));
  end(books, *sequence);
}

void SchedulerCore::State::handle(const Reported& reported) {
  TANDEM_CHECK(reported.report != nullptr, "a report is there");
  commit.commit(books, *reported.report);
}

void SchedulerCore::State::launch_plans(TimePoint now, const Performer& perform) {
  while (books.may_plan()) {
    PlanPtr plan = builder.build(books, now, model.get(), budget.get());
    if (plan == nullptr) return ask_to_be_woken(perform);
    perform(Launch{std::move(plan)});
  }
}

/// With a plan in flight its report is the next occasion to plan.
void SchedulerCore::State::ask_to_be_woken(const Performer& perform) {
  const auto at = builder.again_at();
  if (!at || !books.in_flight.empty() || (wake_at && *wake_at <= *at)) return;
  wake_at = at;
  perform(Wake{*at});
}

void SchedulerCore::State::ask_for_offline_work(const Performer& perform) {
  const std::uint32_t window = books.options.offline_window;
  const std::size_t waiting = books.table.waiting(RequestClass::offline).size();
  if (queue_is_empty || asked > 0 || 2 * waiting >= window) return;
  asked = window - static_cast<std::uint32_t>(waiting);
  perform(Refill{asked});
}

SchedulerCore::SchedulerCore(const SchedulerOptions& options, PlannerPtr planner)
    : state_(std::make_unique<State>(options, std::move(planner))) {}
SchedulerCore::~SchedulerCore() = default;
SchedulerCore::SchedulerCore(SchedulerCore&&) noexcept = default;

void SchedulerCore::on(const Event& event, TimePoint now, const Performer& perform) {
  State& state = *state_;
  state.events.clear();
  std::visit([&state](const auto& happened) { state.handle(happened); }, event);
  state.launch_plans(now, perform);
  if (std::holds_alternative<Reported>(event)) state.commit.tell(state.books, state.events);
  if (!state.events.empty()) perform(Emit{std::move(state.events)});
  state.ask_for_offline_work(perform);
}

const std::vector<Action>& SchedulerCore::on(const Event& event, TimePoint now) {
  state_->actions.clear();
  on(event, now, [this](Action&& action) { state_->actions.push_back(std::move(action)); });
  return state_->actions;
}

SchedulerStats SchedulerCore::stats() const {
  const SchedulerBooks& books = state_->books;
  SchedulerStats stats;
  stats.online_running = books.table.running(RequestClass::online).size();
  stats.online_waiting = books.table.waiting(RequestClass::online).size();
  stats.offline_running = books.table.running(RequestClass::offline).size();
  stats.offline_waiting = books.table.waiting(RequestClass::offline).size();
  stats.kv_total = books.ledger.total();
  stats.kv_available = books.ledger.available();
  stats.kv_held = books.ledger.held();
  stats.preemptions = books.preemptions;
  stats.prefix_queries = books.prefix_queries;
  stats.prefix_hits = books.prefix_hits;
  stats.recomputed_tokens = books.recomputed_tokens;
  return stats;
}

bool SchedulerCore::idle() const {
  return state_->books.table.size() == 0 && state_->books.in_flight.empty();
}

void SchedulerCore::check() const { state_->books.check(); }

}  // namespace tandem::policy
