// See simple_device.hpp. One plan runs at a time; a Preempt takes effect on what has not started.
#include "sim/simple_device.hpp"

#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <deque>

namespace tandem::sim {
namespace {

struct Job {
  PlanPtr plan;
  caf::typed_response_promise<msg::IterationFinished> promise;
};

struct DeviceState {
  static inline const char* name = "simple_device";
  SimpleDeviceOptions options;
  PlanLog log;
  std::deque<Job> jobs;
};
using Self = Executor::stateful_pointer<DeviceState>;

Duration cost(const DeviceState& state, const Plan& plan) {
  return state.options.fixed_cost + state.options.cost_per_row * plan.num_rows();
}

void start(Self self) {
  auto& state = self->state;
  if (state.jobs.empty()) return;
  const auto& plan = state.jobs.front().plan;
  state.log->push_back(plan);
  self->delayed_send(self, cost(state, *plan), msg::SegmentDone{plan->id, 0, std::nullopt});
}

void answer(Self self, Job job, Outcome outcome) {
  IterationReport report{
      .id = job.plan->id, .outcome = outcome, .elapsed = cost(self->state, *job.plan)};
  if (outcome == Outcome::done)
    for (std::uint32_t i = 0; i < job.plan->slices.size(); ++i) {
      const auto& slice = job.plan->slices[i];
      if (slice.samples)
        report.samples.push_back(
            {.slice = i,
             .token = self->state.options.token(slice.id, slice.context + slice.num_tokens)});
    }
  job.promise.deliver(
      msg::IterationFinished{std::make_shared<const IterationReport>(std::move(report))});
}

void finish(Self self) {
  auto& jobs = self->state.jobs;
  auto job = std::move(jobs.front());
  jobs.pop_front();
  answer(self, std::move(job), Outcome::done);
  start(self);
}

void preempt(Self self, IterationId id) {
  auto& jobs = self->state.jobs;
  for (std::size_t i = 1; i < jobs.size();) {
    if (raw(jobs[i].plan->id) < raw(id)) {
      ++i;
      continue;
    }
    auto job = std::move(jobs[i]);
    jobs.erase(jobs.begin() + static_cast<std::ptrdiff_t>(i));
    answer(self, std::move(job), Outcome::aborted);
  }
}

Executor::behavior_type simple_device(Self self, SimpleDeviceOptions options, PlanLog log) {
  self->state.options = std::move(options);
  self->state.log = std::move(log);
  return {
      [self](const msg::RunIteration& run) {
        auto promise = self->make_response_promise<msg::IterationFinished>();
        self->state.jobs.push_back({run.plan, promise});
        if (self->state.jobs.size() == 1) start(self);
        return promise;
      },
      [self](const msg::Preempt& p) { preempt(self, p.id); },
      [self](const msg::SegmentDone&) { finish(self); },
  };
}

}  // namespace

Executor spawn_simple_device(caf::actor_system& system, SimpleDeviceOptions options, PlanLog log) {
  return system.spawn(simple_device, std::move(options), std::move(log));
}

}  // namespace tandem::sim
