// SLO profiler: watches what online requests feel, and sets what an iteration may take.
//   in   RequestAdmitted, RequestsLaunched, TokensObserved  from the scheduler
//   out  BudgetUpdated -> scheduler: at start, after every `publish_every` online tokens, and when
//   the
//        budget has moved by `worth_telling`: the budget and the percentiles of TTFT and TBT
//   Holds statistics only; when it dies it is respawned, counts anew and starts from the first
//   budget.
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <cmath>
#include <optional>

#include "actors/actor_support.hpp"
#include "actors/spawn.hpp"
#include "policy/slo_control.hpp"
#include "policy/slo_statistics.hpp"

namespace tandem {
namespace {

constexpr std::uint64_t publish_every = 256;
constexpr double worth_telling = 0.05;

struct ProfilerState {
  static inline const char* name = "slo_profiler";
  policy::SloStatistics statistics;
  std::optional<policy::BudgetControl> control;
  MetricsPtr metrics;
  std::optional<Scheduler> scheduler;
  std::uint64_t unpublished = 0;
  double published_ms = 0;
};
using Self = SloProfiler::stateful_pointer<ProfilerState>;

void publish(Self self) {
  auto& state = self->state;
  auto budget = state.control->budgets();
  state.published_ms = budget.iteration_ms.value_or(0);
  if (budget.iteration_ms) state.metrics->iteration_budget(*budget.iteration_ms);
  spdlog::debug("budget_published iteration_ms={:.3f} online_prompt_ms={:.3f}", state.published_ms,
                budget.online_iteration_ms.value_or(0));
  static_cast<policy::LatencyStatistics&>(budget) = state.statistics.snapshot();
  if (state.scheduler)
    self->send(*state.scheduler,
               msg::BudgetUpdated{std::make_shared<const policy::BudgetSnapshot>(budget)});
}

void observe_token(ProfilerState& state, const TokenEvent& event, TimePoint at) {
  const auto timing = state.statistics.token(event.id, at);
  if (!timing) return;
  state.control->observe(*timing);
  state.metrics->generated(timing->request_class, 1);
  if (timing->first)
    state.metrics->first_token(timing->request_class, timing->since_last);
  else
    state.metrics->token_gap(timing->request_class, timing->since_last);
  if (timing->request_class == RequestClass::online) ++state.unpublished;
}

void observe(Self self, const msg::TokensObserved& observed) {
  auto& state = self->state;
  for (const auto& event : *observed.events) {
    if (event.token) observe_token(state, event, observed.at);
    if (!event.finish) continue;
    if (const auto times = state.statistics.ended(event.id))
      state.metrics->finished(*times, *event.finish, observed.at);
  }
  state.control->iteration_ended(state.statistics.offline_requests() > 0);
  const double now = state.control->budget_ms().value_or(0);
  const bool moved = std::abs(now - state.published_ms) > worth_telling * state.published_ms;
  if (!moved && state.unpublished < publish_every) return;
  state.unpublished = 0;
  publish(self);
}

SloProfiler::behavior_type slo_profiler(Self self, const policy::SloOptions& options,
                                        MetricsPtr metrics) {
  install_handlers(self);
  auto& state = self->state;
  state.control.emplace(options);
  state.metrics = std::move(metrics);
  return {
      [self](const msg::RequestAdmitted& admitted) {
        self->state.statistics.admitted(admitted.id, admitted.request_class, admitted.arrival);
      },
      [self](const msg::RequestsLaunched& launched) {
        for (const auto id : launched.ids) self->state.statistics.launched(id, launched.at);
      },
      [self](const msg::TokensObserved& observed) { observe(self, observed); },
      [self](const msg::AttachScheduler& attach) {
        self->state.scheduler = attach.scheduler;
        if (self->state.control->budget_ms()) publish(self);
      },
  };
}

}  // namespace

SloProfiler spawn_slo_profiler(caf::actor_system& system, const policy::SloOptions& options,
                               MetricsPtr metrics) {
  return system.spawn(slo_profiler, options, std::move(metrics));
}

}  // namespace tandem
