// Executor: owns the device and decides nothing. Runs plans in the order in which they came,
// segment by segment, and answers each with its report. A device that can has the next plan started
// while the last segment of the one before runs, and does not wait for this actor between the two.
//   in   RunIteration  queued behind what runs; answered by IterationFinished
//        Preempt       what is named and everything after it is reported aborted at the next
//                      safepoint; what has no safepoint left, or was started ahead, runs to its end
//        SegmentDone   from the device: the mailbox is the safepoint, so a Preempt that came while
//                      the segment ran has been seen before the next one starts
//   dies on a device error, after every plan in its hands was reported failed or aborted.
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <deque>

#include "actors/actor_support.hpp"
#include "actors/spawn.hpp"

namespace tandem {
namespace {

struct Job {
  PlanPtr plan;
  caf::typed_response_promise<msg::IterationFinished> promise;
};

struct ExecutorState {
  static inline const char* name = "executor";
  std::unique_ptr<gpu::Backend> backend;
  std::deque<Job> jobs;  ///< the front one runs
  std::uint32_t segment = 0;
  TimePoint started{};
  bool preempt_front = false;
  bool ahead = false;  ///< the second one was started, too
  /// Told of the one ahead before the front one's end was: a start that failed at once.
  std::optional<msg::SegmentDone> done_ahead;
};
using Self = Executor::stateful_pointer<ExecutorState>;

void start_segment(Self self, const PlanPtr& plan, std::uint32_t segment) {
  self->state.backend->start_segment(
      plan, segment,
      [handle = Executor(self), clock = &self->clock(), id = plan->id,
       segment](Result<void> result) {
        msg::SegmentDone done{id, segment, std::nullopt, now_by(*clock)};
        if (!result) done.error = result.error();
        caf::anon_send(handle, std::move(done));
      });
}

/// The second plan, once nothing of the front one is left to start.
void start_ahead(Self self) {
  auto& state = self->state;
  if (state.ahead || state.jobs.size() < 2) return;
  if (state.segment + 1 != state.backend->num_segments(*state.jobs.front().plan)) return;
  const auto next = state.jobs[1].plan;
  if (!state.backend->runs_ahead(*next)) return;
  state.ahead = true;
  start_segment(self, next, 0);
}

void start_next_segment(Self self) {
  start_segment(self, self->state.jobs.front().plan, self->state.segment);
  start_ahead(self);
}

/// The time of one that was started ahead begins when the one before was done: `before`.
void start_front(Self self, TimePoint before) {
  auto& state = self->state;
  if (state.jobs.empty()) return;
  state.segment = 0;
  state.preempt_front = false;
  if (!std::exchange(state.ahead, false)) {
    state.started = now(self);
    return start_next_segment(self);
  }
  state.started = before;
  if (auto done = std::exchange(state.done_ahead, std::nullopt))
    caf::anon_send(Executor(self), std::move(*done));
  start_ahead(self);
}

void answer_front(Self self, IterationReport report) {
  auto& state = self->state;
  auto job = std::move(state.jobs.front());
  state.jobs.pop_front();
  report.id = job.plan->id;
  job.promise.deliver(
      msg::IterationFinished{std::make_shared<const IterationReport>(std::move(report))});
}

/// The plans behind one that did not finish build on its progress: they cannot run, or what they
/// did is lost with the device. They took no time of their own.
void abort_waiting(Self self) {
  while (!self->state.jobs.empty()) answer_front(self, {.outcome = Outcome::aborted});
}

void fail(Self self, const Error& reason, TimePoint at) {
  spdlog::error("device_failed what=\"{}\"", reason.message);
  self->state.ahead = false;
  answer_front(self,
               {.outcome = Outcome::failed, .elapsed = at - self->state.started, .error = reason});
  abort_waiting(self);
  self->quit(caf::make_error(caf::sec::runtime_error, reason.message));
}

void finish_front(Self self, TimePoint at) {
  auto& state = self->state;
  auto samples = state.backend->collect(*state.jobs.front().plan);
  if (!samples) return fail(self, samples.error(), at);
  if (const auto warning = state.backend->take_warning())
    spdlog::warn("device_warning what=\"{}\"", *warning);
  IterationReport report{.samples = std::move(*samples), .elapsed = at - state.started};
  // The next plan starts before this one's report is looked at: that is what the second plan is
  // for. Its report cannot overtake, since both leave through this thread.
  answer_front(self, std::move(report));
  start_front(self, at);
}

void on_segment_done(Self self, const msg::SegmentDone& done) {
  auto& state = self->state;
  if (state.ahead && state.jobs[1].plan->id == done.id) {
    state.done_ahead = done;
    return;
  }
  if (state.jobs.empty() || state.jobs.front().plan->id != done.id || state.segment != done.segment)
    return;
  if (done.error) return fail(self, *done.error, done.at);
  ++state.segment;
  const auto& plan = *state.jobs.front().plan;
  if (state.segment == state.backend->num_segments(plan)) return finish_front(self, done.at);
  if (!state.preempt_front) return start_next_segment(self);
  state.backend->abort(plan);
  answer_front(self, {.outcome = Outcome::aborted, .elapsed = done.at - state.started});
  abort_waiting(self);
}

void on_preempt(Self self, const msg::Preempt& preempt) {
  auto& state = self->state;
  if (state.jobs.empty()) return;
  const auto& front = *state.jobs.front().plan;
  const bool has_safepoint = state.segment + 1 < state.backend->num_segments(front);
  if (raw(preempt.id) <= raw(front.id) && has_safepoint) {
    state.preempt_front = true;
    return;
  }
  // What was started runs on; what stands behind it from `id` on leaves at once, in order.
  const std::size_t started = state.ahead ? 2 : 1;
  std::deque<Job> kept;
  while (!state.jobs.empty() &&
         (kept.size() < started || raw(state.jobs.front().plan->id) < raw(preempt.id))) {
    kept.push_back(std::move(state.jobs.front()));
    state.jobs.pop_front();
  }
  abort_waiting(self);
  state.jobs = std::move(kept);
}

Executor::behavior_type executor(Self self,
                                 std::shared_ptr<std::unique_ptr<gpu::Backend>> backend) {
  install_handlers(self);
  self->state.backend = std::move(*backend);
  return {
      [self](const msg::RunIteration& run) {
        auto promise = self->make_response_promise<msg::IterationFinished>();
        self->state.jobs.push_back({run.plan, promise});
        if (self->state.jobs.size() == 1)
          start_front(self, now(self));
        else
          start_ahead(self);
        return promise;
      },
      [self](const msg::Preempt& preempt) { on_preempt(self, preempt); },
      [self](const msg::SegmentDone& done) { on_segment_done(self, done); },
  };
}

}  // namespace

Executor spawn_executor(caf::actor_system& system, bool detached,
                        std::unique_ptr<gpu::Backend> backend) {
  auto boxed = std::make_shared<std::unique_ptr<gpu::Backend>>(std::move(backend));
  return spawn_actor(system, detached, executor, boxed);
}

}  // namespace tandem
