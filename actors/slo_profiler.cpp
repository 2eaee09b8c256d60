// SLO profiler: watches what online requests feel.
//   in   RequestAdmitted, TokensObserved  from the scheduler
//   out  BudgetUpdated -> scheduler, after every `publish_every` online tokens: percentiles of TTFT
//   and TBT Holds statistics only; when it dies it is respawned and counts anew.
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <optional>

#include "actors/actor_support.hpp"
#include "actors/spawn.hpp"
#include "policy/slo_statistics.hpp"

namespace tandem {
namespace {

constexpr std::uint64_t publish_every = 256;

struct ProfilerState {
  static inline const char* name = "slo_profiler";
  policy::SloStatistics statistics;
  MetricsPtr metrics;
  std::optional<Scheduler> scheduler;
  std::uint64_t unpublished = 0;
};
using Self = SloProfiler::stateful_pointer<ProfilerState>;

void observe_token(ProfilerState& state, const TokenEvent& event, TimePoint at) {
  const auto timing = state.statistics.token(event.id, at);
  if (!timing) return;
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
    if (const auto end = state.statistics.ended(event.id, observed.at))
      state.metrics->finished(end->request_class, *event.finish, end->since_last);
  }
  if (!state.scheduler || state.unpublished < publish_every) return;
  state.unpublished = 0;
  self->send(*state.scheduler, msg::BudgetUpdated{std::make_shared<const policy::BudgetSnapshot>(
                                   state.statistics.snapshot())});
}

SloProfiler::behavior_type slo_profiler(Self self, MetricsPtr metrics) {
  install_handlers(self);
  self->state.metrics = std::move(metrics);
  return {
      [self](const msg::RequestAdmitted& admitted) {
        self->state.statistics.admitted(admitted.id, admitted.request_class, admitted.arrival);
      },
      [self](const msg::TokensObserved& observed) { observe(self, observed); },
      [self](const msg::AttachScheduler& attach) { self->state.scheduler = attach.scheduler; },
  };
}

}  // namespace

SloProfiler spawn_slo_profiler(caf::actor_system& system, MetricsPtr metrics) {
  return system.spawn(slo_profiler, std::move(metrics));
}

}  // namespace tandem
