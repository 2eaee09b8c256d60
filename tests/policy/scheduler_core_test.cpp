// What scripts do not show: plans in detail, statistics, and that a planner's broken rule is named.
#include "policy/scheduler_core.hpp"

#include <catch2/catch.hpp>
#include <functional>

#include "tests/support/death.hpp"

namespace tandem::policy {
namespace {

RequestPtr make_request(std::uint64_t id, std::size_t prompt, std::int64_t max_tokens = 8,
                        RequestClass request_class = RequestClass::online) {
  auto request = std::make_shared<Request>();
  request->id = RequestId{id};
  request->request_class = request_class;
  for (std::size_t i = 0; i < prompt; ++i) request->prompt.push_back(static_cast<TokenId>(i));
  request->stop.max_tokens = Tokens(max_tokens);
  return request;
}

SchedulerOptions small() {
  SchedulerOptions options;
  options.max_iteration_tokens = Tokens(64);
  options.max_sequences = 4;
  options.kv_blocks = Blocks(16);
  options.offline_window = 0;
  return options;
}

std::vector<PlanPtr> plans_of(const std::vector<Action>& actions) {
  std::vector<PlanPtr> plans;
  for (const auto& action : actions)
    if (const auto* launch = std::get_if<Launch>(&action)) plans.push_back(launch->plan);
  return plans;
}

ReportPtr done(const Plan& plan, TokenId token) {
  auto report = std::make_shared<IterationReport>();
  report->id = plan.id;
  for (std::uint32_t i = 0; i < plan.slices.size(); ++i)
    if (plan.slices[i].samples)
      report->samples.push_back({i, token, -0.5F, {{token, -0.5F}, {token + 1, -2.0F}}});
  return report;
}

/// Selects whatever a test says.
class ScriptedPlanner final : public IterationPlanner {
 public:
  using Choose = std::function<Selection(const PlanningView&)>;
  explicit ScriptedPlanner(Choose choose) : choose_(std::move(choose)) {}
  [[nodiscard]] std::string_view name() const override { return "scripted"; }
  Selection select(const PlanningView& view) override { return choose_(view); }

 private:
  Choose choose_;
};

}  // namespace

TEST_CASE("a plan says all that a device must know") {
  SchedulerCore core(small(), make_online_first());
  const auto plans = plans_of(core.on(Arrived{make_request(7, 20)}, {}));
  REQUIRE(plans.size() == 2);
  const Plan& prefill = *plans[0];
  CHECK(prefill.id == IterationId{0});
  REQUIRE(prefill.bindings.size() == 1);
  CHECK(prefill.bindings[0].request->id == RequestId{7});
  CHECK(prefill.bindings[0].output.empty());
  REQUIRE(prefill.slices.size() == 1);
  CHECK(prefill.slices[0].slot == prefill.bindings[0].slot);
  CHECK(prefill.slices[0].samples);
  CHECK_FALSE(prefill.slices[0].decode);
  CHECK(prefill.tokens_of(prefill.slices[0]).size() == 20);
  CHECK(prefill.tokens_of(prefill.slices[0])[19] == 19);
  CHECK(prefill.slices[0].blocks->size() == 2);

  const Plan& decode = *plans[1];
  CHECK(decode.bindings.empty());
  CHECK(decode.slices[0].decode);
  CHECK(decode.slices[0].context == 20);
  CHECK(decode.slices[0].num_tokens == 1);
  CHECK(decode.slices[0].tokens.count == 0);
  CHECK(decode.slices[0].source_slice == 0);
  CHECK(decode.slices[0].blocks->front() == prefill.slices[0].blocks->front());
}

TEST_CASE("with one plan in flight tokens are always known") {
  auto options = small();
  options.plans_in_flight = 1;
  SchedulerCore core(options, make_online_first());
  auto plans = plans_of(core.on(Arrived{make_request(7, 20)}, {}));
  REQUIRE(plans.size() == 1);
  plans = plans_of(core.on(Reported{done(*plans[0], 99)}, {}));
  REQUIRE(plans.size() == 1);
  REQUIRE(plans[0]->slices[0].tokens.count == 1);
  CHECK(plans[0]->tokens_of(plans[0]->slices[0])[0] == 99);
}

TEST_CASE("what the device says of a token reaches the event") {
  SchedulerCore core(small(), make_online_first());
  const auto plans = plans_of(core.on(Arrived{make_request(7, 20)}, {}));
  const auto& actions = core.on(Reported{done(*plans[0], 5)}, {});
  REQUIRE(std::holds_alternative<Launch>(actions.front()));
  const auto& event = std::get<Emit>(actions.back()).events.at(0);
  CHECK(event.token == 5);
  CHECK(event.logprob == -0.5F);
  CHECK(event.top_logprobs.size() == 2);
  CHECK_FALSE(event.finish.has_value());
}

TEST_CASE("more slots than rows are not used, lest a decode is left out") {
  std::uint32_t seen = 0;
  const auto offered = [&](std::int64_t rows, std::uint32_t slots) {
    auto options = small();
    options.max_iteration_tokens = Tokens(rows);
    options.max_sequences = slots;
    SchedulerCore core(options, std::make_unique<ScriptedPlanner>([&](const PlanningView& view) {
                         seen = view.free_slots;
                         return Selection{};
                       }));
    (void)core.on(Arrived{make_request(1, 1)}, {});
    return seen;
  };
  CHECK(offered(2, 4) == 2);
  CHECK(offered(4, 4) == 4);
  CHECK(offered(64, 4) == 4);
}

TEST_CASE("statistics count what they say") {
  auto options = small();
  options.plans_in_flight = 1;
  SchedulerCore core(options, make_online_first());
  auto plans = plans_of(core.on(Arrived{make_request(1, 40, 1)}, {}));
  (void)core.on(Arrived{make_request(2, 40, 1)}, {});
  (void)core.on(Arrived{make_request(3, 40, 1, RequestClass::offline)}, {});
  SchedulerStats stats = core.stats();
  CHECK(stats.online_running == 1);
  CHECK(stats.online_waiting == 1);
  CHECK(stats.offline_waiting == 1);
  CHECK(stats.kv_total == Blocks(16));
  CHECK(stats.kv_held == Blocks(3));
  CHECK(stats.prefix_queries == 40);
  CHECK_FALSE(core.idle());
  plans = plans_of(core.on(Reported{done(*plans[0], 1)}, {}));
  stats = core.stats();
  CHECK(stats.offline_running == 1);
  CHECK(stats.prefix_queries == 120);
  CHECK(stats.prefix_hits == 64);
  (void)core.on(Reported{done(*plans[0], 1)}, {});
  CHECK(core.idle());
  CHECK(core.stats().kv_held == Blocks(0));
  CHECK(core.stats().preemptions == 0);
}

TEST_CASE("what preemption throws away is counted once it is computed again") {
  auto options = small();
  options.kv_blocks = Blocks(4);
  options.plans_in_flight = 1;
  options.prefix_cache = false;
  SchedulerCore core(options, make_online_first());
  auto plans = plans_of(core.on(Arrived{make_request(1, 20, 3, RequestClass::offline)}, {}));
  (void)core.on(Arrived{make_request(2, 64, 1)}, {});
  plans = plans_of(core.on(Reported{done(*plans[0], 1)}, {}));
  CHECK(core.stats().preemptions == 1);
  CHECK(core.stats().recomputed_tokens == 0);
  plans = plans_of(core.on(Reported{done(*plans[0], 1)}, {}));
  CHECK(core.stats().recomputed_tokens == 20);
  REQUIRE(plans.at(0)->bindings.size() == 1);
  CHECK(plans[0]->bindings[0].output == std::vector<TokenId>{1});
  CHECK(plans[0]->tokens_of(plans[0]->slices[0])[20] == 1);
}

TEST_CASE("what the device is reaches the planner") {
  Tokens seen_budget{0};
  std::int64_t seen_quantum = 0;
  auto options = small();
  options.row_quantum = 16;
  SchedulerCore core(options, std::make_unique<ScriptedPlanner>([&](const PlanningView& view) {
                       seen_budget = view.token_budget;
                       seen_quantum = view.row_quantum;
                       return Selection{};
                     }));
  (void)core.on(Arrived{make_request(1, 20)}, {});
  CHECK(seen_budget == Tokens(64));
  CHECK(seen_quantum == 16);
}

TEST_CASE("the snapshots reach the planner") {
  const LatencySnapshot* seen_model = nullptr;
  const BudgetSnapshot* seen_budget = nullptr;
  TimePoint seen_now{};
  SchedulerCore core(small(), std::make_unique<ScriptedPlanner>([&](const PlanningView& view) {
                       seen_model = view.model;
                       seen_budget = view.budget;
                       seen_now = view.now;
                       return Selection{};
                     }));
  (void)core.on(Arrived{make_request(1, 20)}, {});
  CHECK(seen_model == nullptr);
  const auto model = std::make_shared<const LatencySnapshot>();
  const auto budget = std::make_shared<const BudgetSnapshot>();
  (void)core.on(ModelUpdated{model}, {});
  (void)core.on(BudgetUpdated{budget}, TimePoint{std::chrono::seconds(3)});
  CHECK(seen_model == model.get());
  CHECK(seen_budget == budget.get());
  CHECK(seen_now == TimePoint{std::chrono::seconds(3)});
}

TEST_CASE("under a budget a request waits for one offline iteration, not for two") {
  SchedulerCore core(small(), make_hygen());
  BudgetSnapshot budget;
  budget.offline_iteration_ms = 5.0;
  (void)core.on(BudgetUpdated{std::make_shared<const BudgetSnapshot>(budget)}, {});
  auto plans = plans_of(core.on(Supplied{{make_request(1, 20, 8, RequestClass::offline)}}, {}));
  REQUIRE(plans.size() == 1);
  CHECK(plans_of(core.on(Arrived{make_request(2, 10)}, {})).size() == 1);
  plans = plans_of(core.on(Reported{done(*plans[0], 5)}, {}));
  CHECK(plans.size() == 1);  // behind online work the next plan is prepared as ever
}

TEST_CASE("without objectives offline work is planned two deep") {
  SchedulerCore core(small(), make_hygen());
  (void)core.on(BudgetUpdated{std::make_shared<const BudgetSnapshot>()}, {});
  CHECK(plans_of(core.on(Supplied{{make_request(1, 20, 8, RequestClass::offline)}}, {})).size() ==
        2);
}

TEST_CASE("a planner that chose nothing is asked again at the time it names") {
  const TimePoint later{std::chrono::seconds(2)}, sooner{std::chrono::seconds(1)};
  TimePoint named = later;
  int asked = 0;
  SchedulerCore core(small(), std::make_unique<ScriptedPlanner>([&](const PlanningView&) {
                       ++asked;
                       Selection selection;
                       selection.again_at = named;
                       return selection;
                     }));
  const auto wakes = [&](const Event& event) {
    std::vector<TimePoint> times;
    for (const Action& action : core.on(event, {}))
      if (const auto* wake = std::get_if<Wake>(&action)) times.push_back(wake->at);
    return times;
  };
  CHECK(wakes(Arrived{make_request(1, 20)}) == std::vector{later});
  CHECK(wakes(ModelUpdated{}).empty());  // it will be woken anyway
  named = sooner;
  CHECK(wakes(ModelUpdated{}) == std::vector{sooner});
  asked = 0;
  CHECK(wakes(Woken{}) == std::vector{sooner});
  CHECK(asked == 1);
}

TEST_CASE("a broken planner is named by the rule it broke") {
  struct Row {
    const char* rule;
    ScriptedPlanner::Choose choose;
  };
  const auto first = [](const PlanningView& view) { return view.online_waiting[0].id; };
  const std::vector<Row> rows = {
      {"chooses sequences of its view",
       [](const auto&) {
         return Selection{{}, {{RequestId{99}, Tokens(1)}}};
       }},
      {"chooses a sequence once",
       [&](const auto& view) {
         return Selection{{}, {{first(view), Tokens(1)}, {first(view), Tokens(1)}}};
       }},
      {"at least one token",
       [&](const auto& view) {
         return Selection{{}, {{first(view), Tokens(0)}}};
       }},
      {"no more than is pending",
       [&](const auto& view) {
         return Selection{{}, {{first(view), Tokens(101)}}};
       }},
      {"keeps to the token budget",
       [&](const auto& view) {
         return Selection{{}, {{first(view), Tokens(65)}}};
       }},
      {"preempts only what is preemptible",
       [&](const auto& view) {
         return Selection{{first(view)}, {}};
       }},
      {"preempts sequences of its view",
       [](const auto&) {
         return Selection{{RequestId{99}}, {}};
       }},
  };
  for (const Row& row : rows) {
    CHECK_THAT(test::last_words([&] {
                 SchedulerCore core(small(), std::make_unique<ScriptedPlanner>(row.choose));
                 (void)core.on(Arrived{make_request(1, 100)}, {});
               }),
               Catch::Contains(row.rule));
  }
}

TEST_CASE("a planner that overdraws blocks or slots is named too") {
  const auto all_waiting = [](const PlanningView& view) {
    Selection selection;
    for (const auto& waiting : view.online_waiting)
      selection.choices.push_back({waiting.id, Tokens(10)});
    return selection;
  };
  const auto run = [&](SchedulerOptions options, std::size_t) {
    return test::last_words([&] {
      bool held = true;  // until all have arrived
      SchedulerCore core(options, std::make_unique<ScriptedPlanner>([&](const PlanningView& view) {
                           return held ? Selection{} : all_waiting(view);
                         }));
      for (std::uint64_t id = 0; id < 6; ++id) (void)core.on(Arrived{make_request(id, 10)}, {});
      held = false;
      (void)core.on(Available{}, {});
    });
  };
  auto options = small();
  CHECK_THAT(run(options, 6), Catch::Contains("no more sequences than there are free slots"));
  options.max_sequences = 8;
  options.kv_blocks = Blocks(5);
  CHECK_THAT(run(options, 6), Catch::Contains("no more than free blocks allow"));
}

TEST_CASE("what a shell must not do is named") {
  const auto words = [](const std::function<void(SchedulerCore&)>& act) {
    return test::last_words([&] {
      SchedulerCore core(small(), make_online_first());
      act(core);
    });
  };
  CHECK_THAT(words([](auto& core) { (void)core.on(Arrived{make_request(1, 250, 8)}, {}); }),
             Catch::Contains("fits the KV cache"));
  CHECK_THAT(words([](auto& core) {
               (void)core.on(Arrived{make_request(1, 10)}, {});
               (void)core.on(Arrived{make_request(1, 10)}, {});
             }),
             Catch::Contains("a request id is given out once"));
  CHECK_THAT(words([](auto& core) {
               const auto plans = plans_of(core.on(Arrived{make_request(1, 10)}, {}));
               (void)core.on(Reported{done(*plans[1], 1)}, {});
             }),
             Catch::Contains("in the order in which they were launched"));
  CHECK_THAT(words([](auto& core) {
               const auto plans = plans_of(core.on(Arrived{make_request(1, 10)}, {}));
               auto report = *done(*plans[0], 1);
               report.samples.clear();
               (void)core.on(Reported{std::make_shared<IterationReport>(report)}, {});
             }),
             Catch::Contains("one sample for each slice that samples"));
}

}  // namespace tandem::policy
