// How to test a scheduling policy of your own against the real service, without a device, a socket
// or a clock: write a planner, write an executor actor, put both into RuntimeParts, and say what
// must happen. Everything between them (request intake, the scheduler and its KV ledger, the
// observers) is the code that serves; time is virtual, so the test is exact and takes milliseconds.
#include <algorithm>
#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <catch2/catch.hpp>

#include "actors/runtime.hpp"
#include "policy/iteration_planner.hpp"
#include "sim/probe.hpp"
#include "sim/virtual_runtime.hpp"
#include "tests/support/temporary_folder.hpp"

using namespace tandem;
using namespace std::chrono_literals;

namespace {

/// The policy: one request at a time, and of those that wait, the one with the shortest prompt.
class ShortestPromptFirst final : public policy::IterationPlanner {
 public:
  [[nodiscard]] std::string_view name() const override { return "shortest_prompt_first"; }

  policy::Selection select(const policy::PlanningView& view) override {
    for (const auto& running : view.online_running) {
      if (running.pending.is_zero()) return {};  // its last token is being computed
      return {.choices = {{running.id, std::min(running.pending, view.token_budget)}}};
    }
    const auto shortest =
        std::min_element(view.online_waiting.begin(), view.online_waiting.end(),
                         [](const auto& a, const auto& b) { return a.pending < b.pending; });
    if (shortest == view.online_waiting.end()) return {};
    return {.choices = {{shortest->id, std::min(shortest->pending, view.token_budget)}}};
  }
};

/// The executor: an actor that fills the Executor protocol. Every iteration takes 5 ms of virtual
/// time and every sampled token is 7.
struct FiveMilliseconds {
  std::vector<std::pair<PlanPtr, caf::typed_response_promise<msg::IterationFinished>>> queue;
};

Executor::behavior_type five_milliseconds(Executor::stateful_pointer<FiveMilliseconds> self, int) {
  return {
      [self](const msg::RunIteration& run) {
        auto promise = self->make_response_promise<msg::IterationFinished>();
        self->state.queue.emplace_back(run.plan, promise);
        self->delayed_send(self, 5ms * self->state.queue.size(), msg::SegmentDone{run.plan->id});
        return promise;
      },
      [](const msg::Preempt&) {},
      [self](const msg::SegmentDone&) {
        auto [plan, promise] = self->state.queue.front();
        self->state.queue.erase(self->state.queue.begin());
        IterationReport report{.id = plan->id, .elapsed = 5ms};
        for (std::uint32_t i = 0; i < plan->slices.size(); ++i)
          if (plan->slices[i].samples) report.samples.push_back({.slice = i, .token = 7});
        promise.deliver(
            msg::IterationFinished{std::make_shared<IterationReport>(std::move(report))});
      },
  };
}

/// A model as far as the front needs one: no tokenizer, so prompts are token ids.
ServedModelPtr tiny_model() {
  ServedModel model{.name = "tiny", .max_context = Tokens(512)};
  model.config.vocab_size = 100;
  return std::make_shared<const ServedModel>(std::move(model));
}

msg::SubmitTo call_with_prompt_of(std::size_t tokens, const TokenSink& sink) {
  GenerateCall call{.model = "tiny", .prompts = {std::vector<TokenId>(tokens, 11)}};
  call.max_tokens = Tokens(3);
  return {{.call = std::make_shared<const GenerateCall>(std::move(call))}, sink};
}

}  // namespace

TEST_CASE("a planner of one's own decides the order in which requests finish") {
  tests::TemporaryFolder folder;
  sim::VirtualRuntime virtual_time;
  auto log = std::make_shared<std::vector<TokenEvent>>();
  const auto sink = virtual_time.own(sim::spawn_probe(virtual_time.system(), log));

  RuntimeOptions options{.store = {.data_dir = folder.path()}, .detached = false};
  options.scheduler.kv_blocks = Blocks(64);
  RuntimeParts parts;
  parts.planner = std::make_unique<ShortestPromptFirst>();
  parts.executor = virtual_time.own(virtual_time.system().spawn(five_milliseconds, 0));
  auto runtime = Runtime::start(virtual_time.system(), options, tiny_model(), std::move(parts));
  REQUIRE(runtime.has_value());

  // The first keeps the device busy while the other three arrive: long, short, middle.
  for (const std::size_t prompt : {50, 200, 10, 100}) {
    caf::anon_send((*runtime)->intake(), call_with_prompt_of(prompt, sink));
    virtual_time.run();
  }
  virtual_time.advance(1s);

  // Ids are given in the order of arrival: 1 was the first, 3 the short one, 4 the middle, 2 the
  // long.
  CHECK(sim::finish_order(*log) ==
        std::vector{RequestId(1), RequestId(3), RequestId(4), RequestId(2)});
  CHECK(sim::tokens_of(*log, RequestId(2)) == std::vector<TokenId>{7, 7, 7});

  (*runtime)->stop();
  virtual_time.run();
}
