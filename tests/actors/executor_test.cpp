// The executor actor over a device that does exactly what the test says.
#include <caf/scoped_actor.hpp>
#include <caf/send.hpp>
#include <catch2/catch.hpp>
#include <deque>

#include "actors/spawn.hpp"
#include "sim/ask.hpp"
#include "sim/virtual_runtime.hpp"

using namespace tandem;

namespace {

/// Records calls; each segment finishes only when the test calls `finish_segment`, in the order of
/// their starts.
struct ManualDevice final : gpu::Backend {
  struct Record {
    std::vector<std::string> calls;
    std::deque<gpu::SegmentCallback> pending;
    std::uint32_t segments = 3;
    bool runs_ahead = false, fail_start = false, fail_collect = false;
    std::optional<std::string> warning;

    void finish_segment(Result<void> result = {}) {
      REQUIRE_FALSE(pending.empty());
      const auto done = std::move(pending.front());
      pending.pop_front();
      done(std::move(result));
    }
  };
  explicit ManualDevice(std::shared_ptr<Record> r) : record(std::move(r)) {}

  const gpu::DeviceLimits& limits() const override { return device_limits; }
  std::uint32_t num_segments(const Plan&) const override { return record->segments; }
  bool runs_ahead(const Plan&) const override { return record->runs_ahead; }
  void start_segment(const PlanPtr& plan, std::uint32_t index, gpu::SegmentCallback done) override {
    record->calls.push_back("start " + std::to_string(raw(plan->id)) + "." + std::to_string(index));
    if (record->fail_start) return done(error(Errc::device_failed, "planted"));
    record->pending.push_back(std::move(done));
  }
  Result<std::vector<Sample>> collect(const Plan& plan) override {
    record->calls.push_back("collect " + std::to_string(raw(plan.id)));
    if (record->fail_collect) return error(Errc::device_failed, "planted");
    return std::vector<Sample>{{.slice = 0, .token = 5}};
  }
  void abort(const Plan& plan) override {
    record->calls.push_back("abort " + std::to_string(raw(plan.id)));
  }

  std::optional<std::string> take_warning() override {
    return std::exchange(record->warning, std::nullopt);
  }

  gpu::DeviceLimits device_limits;
  std::shared_ptr<Record> record;
};

struct ExecutorFixture {
  sim::VirtualRuntime virtual_time;
  std::shared_ptr<ManualDevice::Record> device = std::make_shared<ManualDevice::Record>();
  Executor executor = virtual_time.own(
      spawn_executor(virtual_time.system(), false, std::make_unique<ManualDevice>(device)));

  std::shared_ptr<sim::Answer<msg::IterationFinished>> run(std::uint64_t id) {
    Plan plan{.id = IterationId(id)};
    plan.slices.push_back({.samples = true, .num_tokens = 1});
    auto answer = sim::ask<msg::IterationFinished>(
        virtual_time, executor, msg::RunIteration{std::make_shared<const Plan>(plan)});
    virtual_time.run();
    return answer;
  }
  void finish_segment(Result<void> result = {}) {
    device->finish_segment(std::move(result));
    virtual_time.run();
  }
  void preempt(std::uint64_t id) {
    caf::anon_send(executor, msg::Preempt{IterationId(id)});
    virtual_time.run();
  }
};

Outcome outcome_of(const sim::Answer<msg::IterationFinished>& answer) {
  REQUIRE(answer.value.has_value());
  return answer.value->report->outcome;
}

}  // namespace

TEST_CASE_METHOD(ExecutorFixture,
                 "plans run in order, segment by segment, and the next starts at once") {
  auto first = run(1);
  auto second = run(2);
  for (int i = 0; i < 3; ++i) finish_segment();
  CHECK(outcome_of(*first) == Outcome::done);
  CHECK(first->value->report->samples.at(0).token == 5);
  CHECK_FALSE(second->value.has_value());
  CHECK(device->calls ==
        std::vector<std::string>{"start 1.0", "start 1.1", "start 1.2", "collect 1", "start 2.0"});
}

TEST_CASE_METHOD(
    ExecutorFixture,
    "a preempt takes effect at the next safepoint and takes the plans behind with it") {
  auto first = run(1);
  auto second = run(2);
  finish_segment();
  preempt(1);
  CHECK_FALSE(first->value.has_value());
  finish_segment();
  CHECK(outcome_of(*first) == Outcome::aborted);
  CHECK(outcome_of(*second) == Outcome::aborted);
  CHECK(device->calls == std::vector<std::string>{"start 1.0", "start 1.1", "abort 1"});
  auto third = run(3);
  for (int i = 0; i < 3; ++i) finish_segment();
  CHECK(outcome_of(*third) == Outcome::done);
}

TEST_CASE_METHOD(ExecutorFixture, "a device's warning is taken with its plan, which is done") {
  device->segments = 2;
  device->warning = "another kernel took its place";
  auto first = run(1);
  finish_segment();
  CHECK(device->warning);
  finish_segment();
  CHECK(outcome_of(*first) == Outcome::done);
  CHECK_FALSE(device->warning);
}

TEST_CASE_METHOD(ExecutorFixture, "a plan that never started took no time") {
  using namespace std::chrono_literals;
  const auto elapsed = [](const auto& answer) { return answer->value->report->elapsed; };
  auto first = run(1);
  auto second = run(2);
  auto third = run(3);
  virtual_time.advance(3ms);
  preempt(3);
  CHECK(elapsed(third) == 0ms);
  SECTION("behind an aborted one") {
    preempt(1);
    virtual_time.advance(2ms);
    finish_segment();
    CHECK(outcome_of(*first) == Outcome::aborted);
  }
  SECTION("behind a failed one") {
    virtual_time.advance(2ms);
    finish_segment(error(Errc::device_failed, "planted"));
    CHECK(outcome_of(*first) == Outcome::failed);
  }
  CHECK(elapsed(first) == 5ms);
  CHECK(outcome_of(*second) == Outcome::aborted);
  CHECK(elapsed(second) == 0ms);
}

TEST_CASE_METHOD(ExecutorFixture, "a preempt of the waiting plan leaves the running one alone") {
  auto first = run(1);
  auto second = run(2);
  preempt(2);
  CHECK(outcome_of(*second) == Outcome::aborted);
  for (int i = 0; i < 3; ++i) finish_segment();
  CHECK(outcome_of(*first) == Outcome::done);
}

TEST_CASE_METHOD(ExecutorFixture, "a preempt during the last segment comes too late") {
  auto first = run(1);
  auto behind = run(2);
  finish_segment();
  finish_segment();
  preempt(1);
  CHECK(outcome_of(*behind) == Outcome::aborted);  // but not for what stands behind
  finish_segment();
  CHECK(outcome_of(*first) == Outcome::done);
  auto second = run(2);
  finish_segment();
  CHECK(device->calls.back() == "start 2.1");  // the old preempt does not stick
}

TEST_CASE_METHOD(ExecutorFixture,
                 "a device error fails the plan, aborts the rest and ends the executor") {
  auto first = run(1);
  auto second = run(2);
  SECTION("in a segment") { finish_segment(error(Errc::device_failed, "planted")); }
  SECTION("when the samples are collected") {
    device->fail_collect = true;
    for (int i = 0; i < 3; ++i) finish_segment();
  }
  CHECK(outcome_of(*first) == Outcome::failed);
  CHECK(first->value->report->error->message == "planted");
  CHECK(outcome_of(*second) == Outcome::aborted);
  auto third = run(3);
  CHECK(third->failure.has_value());
}

struct AheadFixture : ExecutorFixture {
  AheadFixture() {
    device->segments = 1;
    device->runs_ahead = true;
  }
  using Calls = std::vector<std::string>;
};

TEST_CASE_METHOD(AheadFixture,
                 "the next plan is started while the last segment runs, and no plan behind it") {
  auto first = run(1);
  auto second = run(2);
  auto third = run(3);
  CHECK(device->calls == Calls{"start 1.0", "start 2.0"});
  finish_segment();
  CHECK(outcome_of(*first) == Outcome::done);
  CHECK(device->calls == Calls{"start 1.0", "start 2.0", "collect 1", "start 3.0"});
  finish_segment();
  finish_segment();
  CHECK(outcome_of(*second) == Outcome::done);
  CHECK(outcome_of(*third) == Outcome::done);
  auto fourth = run(4);
  CHECK(device->calls.back() == "start 4.0");
}

TEST_CASE_METHOD(AheadFixture, "a plan is not started ahead while it can still be stopped") {
  device->segments = 2;
  auto first = run(1);
  auto second = run(2);
  CHECK(device->calls == Calls{"start 1.0"});
  SECTION("it stands behind a safepoint") {
    preempt(1);
    finish_segment();
    CHECK(device->calls == Calls{"start 1.0", "abort 1"});
    CHECK(outcome_of(*second) == Outcome::aborted);
  }
  SECTION("until that is passed") {
    finish_segment();
    CHECK(device->calls == Calls{"start 1.0", "start 1.1", "start 2.0"});
  }
}

TEST_CASE_METHOD(AheadFixture,
                 "what was started ahead is not preempted, what stands behind it is") {
  auto first = run(1);
  auto second = run(2);
  auto third = run(3);
  preempt(GENERATE(1U, 2U));
  CHECK_FALSE(second->value.has_value());
  CHECK(outcome_of(*third) == Outcome::aborted);
  finish_segment();
  finish_segment();
  CHECK(outcome_of(*first) == Outcome::done);
  CHECK(outcome_of(*second) == Outcome::done);
}

TEST_CASE_METHOD(AheadFixture,
                 "a plan that was started ahead takes the time since the one before") {
  using namespace std::chrono_literals;
  auto first = run(1);
  auto second = run(2);
  virtual_time.advance(5ms);
  finish_segment();
  virtual_time.advance(3ms);
  finish_segment();
  CHECK(first->value->report->elapsed == 5ms);
  CHECK(second->value->report->elapsed == 3ms);
}

TEST_CASE_METHOD(AheadFixture,
                 "a start ahead that fails at once is told after the plan before it") {
  auto first = run(1);
  device->fail_start = true;
  auto second = run(2);
  CHECK_FALSE(second->value.has_value());
  SECTION("which is done") {
    finish_segment();
    CHECK(outcome_of(*first) == Outcome::done);
    CHECK(outcome_of(*second) == Outcome::failed);
  }
  SECTION("or fails itself") {
    finish_segment(error(Errc::device_failed, "planted"));
    CHECK(outcome_of(*first) == Outcome::failed);
    CHECK(outcome_of(*second) == Outcome::aborted);
  }
  auto third = run(3);
  CHECK(third->failure.has_value());
}

TEST_CASE_METHOD(AheadFixture, "a plan's time ends when the device told, not when that was read") {
  using namespace std::chrono_literals;
  auto first = run(1);
  auto second = run(2);
  virtual_time.advance(5ms);
  device->finish_segment();
  virtual_time.move_to(virtual_time.now() + 2ms);
  virtual_time.run();
  virtual_time.advance(1ms);
  finish_segment();
  CHECK(first->value->report->elapsed == 5ms);
  CHECK(second->value->report->elapsed == 3ms);
}
