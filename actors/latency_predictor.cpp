// Latency predictor: learns from every finished iteration how long iterations take.
//   in   IterationMeasured  from the scheduler: the plan and its report
//   out  ModelUpdated -> scheduler, after every `publish_every` reports: an immutable snapshot
//   Holds estimates only; when it dies it is respawned and learns anew.
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <optional>

#include "actors/actor_support.hpp"
#include "actors/spawn.hpp"
#include "policy/latency_estimate.hpp"

namespace tandem {
namespace {

constexpr std::uint64_t publish_every = 16;

struct PredictorState {
  static inline const char* name = "latency_predictor";
  policy::LatencyEstimate estimate;
  MetricsPtr metrics;
  std::optional<Scheduler> scheduler;
};
using Self = LatencyPredictor::stateful_pointer<PredictorState>;

void learn(Self self, const msg::IterationMeasured& measured) {
  if (measured.report->outcome != Outcome::done) return;
  auto& state = self->state;
  const auto shape = policy::IterationShape::of(*measured.plan);
  const auto before = state.estimate.snapshot();
  const auto ms = to_ms(measured.report->elapsed);
  if (before.samples >= publish_every && ms > 0)
    state.metrics->prediction_error(before.model.predict_ms(shape) / ms - 1);
  state.estimate.add(Tokens(shape.rows()), measured.report->elapsed);
  if (state.scheduler && (before.samples + 1) % publish_every == 0)
    self->send(*state.scheduler, msg::ModelUpdated{std::make_shared<const policy::LatencySnapshot>(
                                     state.estimate.snapshot())});
}

LatencyPredictor::behavior_type latency_predictor(Self self, MetricsPtr metrics) {
  install_handlers(self);
  self->state.metrics = std::move(metrics);
  return {
      [self](const msg::IterationMeasured& measured) { learn(self, measured); },
      [self](const msg::AttachScheduler& attach) { self->state.scheduler = attach.scheduler; },
  };
}

}  // namespace

LatencyPredictor spawn_latency_predictor(caf::actor_system& system, MetricsPtr metrics) {
  return system.spawn(latency_predictor, std::move(metrics));
}

}  // namespace tandem
