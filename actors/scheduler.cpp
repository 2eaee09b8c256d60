// Scheduler: asks policy::SchedulerCore what to do, and does it.
//   in   AdmitTo, OfflineItems, ItemsAvailable   work enters
//        Cancel                                  somebody lost interest
//        ModelUpdated, BudgetUpdated             snapshots, read by plain calls when planning
//   self Tick                                    the planner wanted to be asked again by now
//   out  RunIteration -> Executor                answered by IterationFinished; two in flight
//        TokensEmitted -> each request's sink    one message per sink and report
//        RefillOffline -> OfflineQueue, RequestsEnded -> RequestIntake
//        IterationMeasured -> LatencyPredictor, RequestAdmitted,
//        RequestsLaunched and TokensObserved -> SloProfiler
//   dies when the executor dies: without a device there is nothing to schedule. What was in flight
//   is reported failed first.
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <optional>
#include <unordered_map>
#include <utility>

#include "actors/actor_support.hpp"
#include "actors/scheduler_watch.hpp"
#include "actors/spawn.hpp"
#include "core/check.hpp"

namespace tandem {
namespace {

struct SchedulerState {
  static inline const char* name = "scheduler";
  std::unique_ptr<policy::SchedulerCore> core;
  Executor executor;
  MetricsPtr metrics;
  EngineStatusPtr status;
  SchedulerWatchPtr watch;  ///< may be null
  std::optional<OfflineQueue> queue;
  std::optional<msg::AttachObservers> observers;
  std::unordered_map<RequestId, TokenSink> sinks;
  std::vector<PlanPtr> in_flight;  ///< at the executor, oldest first
  bool executor_alive = true;
  std::optional<TimePoint> report_taken;  ///< of the report being handled, until its launch left
  std::uint32_t unasked_refill = 0;       ///< the core asked before there was a queue to ask
};
using Self = Scheduler::stateful_pointer<SchedulerState>;

void apply(Self self, const policy::Event& event);

/// The executor died: every plan in its hands ends failed, then this actor ends too.
void executor_lost(Self self, const caf::error& reason) {
  const auto lost = std::exchange(self->state.in_flight, {});
  spdlog::error("executor_lost iterations={} reason=\"{}\"", lost.size(),
                self->system().render(reason));
  self->state.executor_alive = false;
  for (const auto& plan : lost)
    apply(self, policy::Reported{std::make_shared<const IterationReport>(IterationReport{
                    .id = plan->id,
                    .outcome = Outcome::failed,
                    .error = error(Errc::device_failed,
                                   "the device failed while it worked on this request")})});
  self->quit(reason);
}

void take_report(Self self, const PlanPtr& plan, const ReportPtr& report) {
  auto& state = self->state;
  state.report_taken = now(self);
  std::erase(state.in_flight, plan);
  apply(self, policy::Reported{report});
  state.report_taken.reset();
  state.status->progressed(now(self));
  state.metrics->iteration(*plan, *report);
  if (state.observers) self->send(state.observers->predictor, msg::IterationMeasured{plan, report});
}

/// Of the requests that this plan is the first for, or the first after a preemption.
void tell_launched(Self self, const Plan& plan) {
  if (plan.bindings.empty() || !self->state.observers) return;
  msg::RequestsLaunched launched{.at = now(self)};
  for (const auto& binding : plan.bindings) launched.ids.push_back(binding.request->id);
  self->send(self->state.observers->profiler, std::move(launched));
}

void perform(Self self, const policy::Launch& launch) {
  if (!self->state.executor_alive) return;
  self->state.in_flight.push_back(launch.plan);
  // An executor that dies answers nothing; the monitor tells of it.
  self->request(self->state.executor, caf::infinite, msg::RunIteration{launch.plan})
      .then(
          [self, plan = launch.plan](const msg::IterationFinished& finished) {
            take_report(self, plan, finished.report);
          },
          [](const caf::error&) {});
  if (const auto taken = std::exchange(self->state.report_taken, std::nullopt))
    self->state.metrics->host_cost(now(self) - *taken);
  tell_launched(self, *launch.plan);
}

/// Splits the events by sink, keeping their order; there are as many sinks as network threads, plus
/// one.
void perform(Self self, policy::Emit&& emit) {
  auto& state = self->state;
  std::vector<std::pair<TokenSink, std::vector<TokenEvent>>> parts;
  msg::RequestsEnded ended;
  for (auto& event : emit.events) {
    const auto sink = state.sinks.find(event.id);
    TANDEM_CHECK(sink != state.sinks.end(),
                 "an event of a request that was never admitted, or after its end");
    auto part = std::find_if(parts.begin(), parts.end(),
                             [&](const auto& p) { return p.first == sink->second; });
    if (part == parts.end()) part = parts.insert(parts.end(), {sink->second, {}});
    if (event.finish) {
      ended.ids.push_back(event.id);
      state.sinks.erase(sink);
    }
    part->second.push_back(std::move(event));
  }
  for (auto& [sink, events] : parts) {
    auto shared = std::make_shared<const std::vector<TokenEvent>>(std::move(events));
    self->send(sink, msg::TokensEmitted{shared});
    if (state.observers)
      self->send(state.observers->profiler, msg::TokensObserved{shared, now(self)});
  }
  if (!ended.ids.empty() && state.observers) self->send(state.observers->intake, std::move(ended));
}

void perform(Self self, const policy::Refill& refill) {
  auto& state = self->state;
  if (state.queue)
    self->send(*state.queue, msg::RefillOffline{refill.count});
  else
    state.unasked_refill = refill.count;
}

void perform(Self self, const policy::Wake& wake) {
  self->delayed_send(self, std::max(wake.at - now(self), Duration(0)), msg::Tick{});
}

void apply(Self self, const policy::Event& event) {
  auto& state = self->state;
  if (state.watch) state.watch->happens(event, now(self));
  state.core->on(event, now(self), [self](policy::Action&& action) {
    if (self->state.watch) self->state.watch->decides(action, now(self));
    std::visit([self](auto& a) { perform(self, std::move(a)); }, action);
  });
  if (state.watch) state.watch->settles(*state.core, now(self));
  const auto stats = state.core->stats();
  state.metrics->scheduler(stats);
  state.status->set_work(stats, now(self));
}

void admit(Self self, const RequestPtr& request, const TokenSink& sink) {
  auto& state = self->state;
  state.sinks.emplace(request->id, sink);
  const auto prompt = Tokens(static_cast<std::int64_t>(request->prompt.size()));
  state.metrics->admitted(request->request_class, prompt);
  if (state.observers)
    self->send(state.observers->profiler,
               msg::RequestAdmitted{request->id, request->request_class, request->arrival, prompt});
}

Scheduler::behavior_type scheduler(Self self,
                                   std::shared_ptr<std::unique_ptr<policy::SchedulerCore>> core,
                                   Executor executor, MetricsPtr metrics, EngineStatusPtr status,
                                   SchedulerWatchPtr watch) {
  install_handlers(self);
  auto& state = self->state;
  state.core = std::move(*core);
  state.executor = std::move(executor);
  state.metrics = std::move(metrics);
  state.status = std::move(status);
  state.watch = std::move(watch);
  self->monitor(state.executor);
  self->set_down_handler([self](const caf::down_msg& down) { executor_lost(self, down.reason); });
  return {
      [self](const msg::AdmitTo& admit_to) {
        admit(self, admit_to.request, admit_to.sink);
        apply(self, policy::Arrived{admit_to.request});
      },
      [self](const msg::Cancel& cancel) {
        for (const auto id : cancel.ids) apply(self, policy::Cancelled{id});
      },
      [self](const msg::OfflineItems& items) {
        const auto sink = TokenSink(*self->state.queue);
        for (const auto& item : items.items) admit(self, item, sink);
        apply(self, policy::Supplied{items.items});
      },
      [self](const msg::ItemsAvailable&) { apply(self, policy::Available{}); },
      [self](const msg::ModelUpdated& updated) {
        apply(self, policy::ModelUpdated{updated.model});
      },
      [self](const msg::BudgetUpdated& updated) {
        apply(self, policy::BudgetUpdated{updated.budget});
      },
      [self](const msg::AttachQueue& attach) {
        self->state.queue = attach.queue;
        if (const auto count = std::exchange(self->state.unasked_refill, 0))
          self->send(attach.queue, msg::RefillOffline{count});
        else
          apply(self, policy::Available{});
      },
      [self](const msg::AttachObservers& attach) { self->state.observers = attach; },
      [self](const msg::Tick&) { apply(self, policy::Woken{}); },
  };
}

}  // namespace

Scheduler spawn_scheduler(caf::actor_system& system, const policy::SchedulerOptions& options,
                          policy::PlannerPtr planner, Executor executor, MetricsPtr metrics,
                          EngineStatusPtr status, SchedulerWatchPtr watch) {
  auto core = std::make_shared<std::unique_ptr<policy::SchedulerCore>>(
      std::make_unique<policy::SchedulerCore>(options, std::move(planner)));
  return system.spawn(scheduler, core, std::move(executor), std::move(metrics), std::move(status),
                      std::move(watch));
}

}  // namespace tandem
