// Latency predictor: learns from every finished iteration how long iterations take.
//   in   IterationMeasured  from the scheduler: the plan and its report
//   out  ModelUpdated -> scheduler, whenever the model was fitted anew: an immutable snapshot
//   Holds estimates only; when it dies it is respawned and starts from the profile again.
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <optional>

#include "actors/actor_support.hpp"
#include "actors/spawn.hpp"
#include "policy/latency_learner.hpp"

namespace tandem {
namespace {

struct PredictorState {
  static inline const char* name = "latency_predictor";
  policy::LatencyLearner learner;
  MetricsPtr metrics;
  std::optional<Scheduler> scheduler;
  bool was_known = false, was_drifting = false;
};
using Self = LatencyPredictor::stateful_pointer<PredictorState>;

void publish(Self self) {
  auto& state = self->state;
  if (!state.scheduler) return;
  const auto snapshot = std::make_shared<const policy::LatencySnapshot>(state.learner.snapshot());
  const auto& model = snapshot->model;
  state.metrics->latency_model(model, state.learner.drifting());
  if (!std::exchange(state.was_known, model.error_is_known()) && model.error_is_known())
    spdlog::info("latency_model_known form={} samples={} mape_percent={:.2f} margin_percent={:.2f}",
                 to_string(model.form()), model.error().samples, 100 * model.error().mape,
                 100 * model.error().margin);
  self->send(*state.scheduler, msg::ModelUpdated{snapshot});
}

void learn(Self self, const msg::IterationMeasured& measured) {
  if (measured.report->outcome != Outcome::done) return;
  auto& state = self->state;
  const auto shape = policy::IterationShape::of(*measured.plan);
  const bool was_known = state.learner.snapshot().model.error_is_known();
  const auto error = state.learner.add(shape, measured.report->elapsed);
  if (error && was_known) state.metrics->prediction_error(*error);
  const bool drifting = state.learner.drifting();
  if (drifting != state.was_drifting)
    spdlog::warn("latency_drift_{} mape_percent={:.2f} bias_percent={:.2f}",
                 drifting ? "began" : "ended", 100 * state.learner.drift_mape(),
                 100 * state.learner.drift_bias());
  state.was_drifting = drifting;
  if (state.learner.changed()) publish(self);
}

LatencyPredictor::behavior_type latency_predictor(Self self, const policy::LearnerOptions& options,
                                                  MetricsPtr metrics) {
  install_handlers(self);
  self->state.learner = policy::LatencyLearner(options);
  self->state.metrics = std::move(metrics);
  return {
      [self](const msg::IterationMeasured& measured) { learn(self, measured); },
      [self](const msg::AttachScheduler& attach) {
        self->state.scheduler = attach.scheduler;
        if (self->state.learner.changed()) publish(self);
      },
  };
}

}  // namespace

LatencyPredictor spawn_latency_predictor(caf::actor_system& system,
                                         const policy::LearnerOptions& options,
                                         MetricsPtr metrics) {
  return system.spawn(latency_predictor, options, std::move(metrics));
}

}  // namespace tandem
