// SLO profiler: watches what online requests feel, and sets what an iteration may take.
//   in   RequestAdmitted, RequestsLaunched, TokensObserved  from the scheduler
//   out  BudgetUpdated -> scheduler: at start, then after every `publish_every` online tokens, the
//        budget and the percentiles of TTFT and TBT
//   Holds statistics only; when it dies it is respawned, counts anew and starts from the first
//   budget.
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <optional>

#include "actors/actor_support.hpp"
#include "actors/spawn.hpp"
#include "policy/slo_budget.hpp"
#include "policy/slo_statistics.hpp"

namespace tandem {
namespace {

constexpr std::uint64_t publish_every = 256;
/// Control looks at the latest samples: enough for a 99th percentile, few enough to be of now.
constexpr std::size_t control_window = 512;

struct ProfilerState {
  static inline const char* name = "slo_profiler";
  policy::SloStatistics statistics;
  policy::SloStatistics recent{control_window};
  std::optional<policy::BudgetControl> control;
  MetricsPtr metrics;
  std::optional<Scheduler> scheduler;
  std::uint64_t unpublished = 0;
  bool offline_ran = false;  ///< since control last looked
};
using Self = SloProfiler::stateful_pointer<ProfilerState>;

void publish(Self self) {
  auto& state = self->state;
  auto budget = state.control->budgets();
  if (budget.iteration_ms) state.metrics->iteration_budget(*budget.iteration_ms);
  static_cast<policy::LatencyStatistics&>(budget) = state.statistics.snapshot();
  if (state.scheduler)
    self->send(*state.scheduler,
               msg::BudgetUpdated{std::make_shared<const policy::BudgetSnapshot>(budget)});
}

void observe_token(ProfilerState& state, const TokenEvent& event, TimePoint at) {
  const auto timing = state.statistics.token(event.id, at);
  state.recent.token(event.id, at);
  if (!timing) return;
  state.metrics->generated(timing->request_class, 1);
  if (timing->first)
    state.metrics->first_token(timing->request_class, timing->since_last);
  else
    state.metrics->token_gap(timing->request_class, timing->since_last);
  if (timing->request_class == RequestClass::online)
    ++state.unpublished;
  else
    state.offline_ran = true;
}

void observe(Self self, const msg::TokensObserved& observed) {
  auto& state = self->state;
  for (const auto& event : *observed.events) {
    if (event.token) observe_token(state, event, observed.at);
    if (!event.finish) continue;
    state.recent.ended(event.id);
    if (const auto times = state.statistics.ended(event.id))
      state.metrics->finished(*times, *event.finish, observed.at);
  }
  if (state.unpublished < publish_every) return;
  state.unpublished = 0;
  if (state.control->update(state.recent.snapshot(), std::exchange(state.offline_ran, false))) {
    const auto now = state.control->budgets();
    spdlog::debug("budget_adjusted iteration_ms={:.3f} online_prompt_ms={:.3f}",
                  now.iteration_ms.value_or(0), now.online_iteration_ms.value_or(0));
  }
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
        self->state.recent.admitted(admitted.id, admitted.request_class, admitted.arrival);
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
