// The real actors around a simulated device, in virtual time: what a caller of the engine may rely
// on.
#include <caf/send.hpp>
#include <catch2/catch.hpp>

#include "actors/runtime.hpp"
#include "sim/ask.hpp"
#include "sim/probe.hpp"
#include "sim/simple_device.hpp"
#include "sim/virtual_runtime.hpp"
#include "tests/support/temporary_folder.hpp"

using namespace tandem;
using namespace std::chrono_literals;
using AcceptedReply = msg::Reply<msg::Accepted>;

namespace {

ServedModelPtr tiny_model() {
  ServedModel model{.name = "tiny", .max_context = Tokens(512)};
  model.config.vocab_size = 100;
  model.config.eos_tokens = {2};
  return std::make_shared<const ServedModel>(std::move(model));
}

struct EngineFixture {
  tests::TemporaryFolder folder;
  sim::VirtualRuntime virtual_time;
  sim::PlanLog plans = std::make_shared<std::vector<PlanPtr>>();
  sim::EventLog events = std::make_shared<std::vector<TokenEvent>>();
  TokenSink sink = virtual_time.own(sim::spawn_probe(virtual_time.system(), events));
  Executor device;
  std::unique_ptr<Runtime> runtime;

  explicit EngineFixture(RuntimeOptions options = {}, sim::SimpleDeviceOptions device_options = {},
                         SchedulerWatchPtr watch = nullptr) {
    options.store.data_dir = folder.path();
    options.detached = false;
    if (options.scheduler.kv_blocks.is_zero()) options.scheduler.kv_blocks = Blocks(256);
    device = virtual_time.own(
        sim::spawn_simple_device(virtual_time.system(), std::move(device_options), plans));
    RuntimeParts parts;
    parts.executor = device;
    parts.watch = std::move(watch);
    runtime =
        std::move(*Runtime::start(virtual_time.system(), options, tiny_model(), std::move(parts)));
  }
  ~EngineFixture() {
    runtime->stop();
    virtual_time.run();
  }

  static GenerateCall call(std::size_t prompt, std::int64_t max_tokens) {
    GenerateCall result{.model = "tiny", .prompts = {std::vector<TokenId>(prompt, 11)}};
    result.max_tokens = Tokens(max_tokens);
    return result;
  }
  std::shared_ptr<sim::Answer<AcceptedReply>> submit(GenerateCall generate) {
    auto answer = sim::ask<AcceptedReply>(
        virtual_time, runtime->intake(),
        msg::SubmitTo{{.call = std::make_shared<const GenerateCall>(std::move(generate))}, sink});
    virtual_time.run();
    return answer;
  }
  [[nodiscard]] double metric(const std::string& line) const {
    const auto text = runtime->metrics().text();
    const auto at = text.find("\n" + line + " ");
    REQUIRE(at != std::string::npos);
    return std::stod(text.substr(at + line.size() + 2));
  }
};

}  // namespace

TEST_CASE_METHOD(EngineFixture, "a call's tokens arrive in order and end with a reason") {
  const auto answer = submit(call(40, 5));
  REQUIRE(answer->value.has_value());
  const auto& choice = answer->value->value->choices.at(0);
  CHECK(choice.prompt_tokens == Tokens(40));
  virtual_time.advance(1s);
  REQUIRE(events->size() == 5);
  CHECK(events->back().finish == FinishReason::length);
  const sim::SimpleDeviceOptions device_options;
  for (std::uint32_t i = 0; i < 5; ++i)
    CHECK(*events->at(i).token == device_options.token(choice.id, 40 + i));
  CHECK(runtime->in_flight() == 0);
  CHECK(metric("tandem_kv_blocks_free") == metric("tandem_kv_blocks"));
}

TEST_CASE_METHOD(EngineFixture,
                 "the next plan waits at the executor before the report of this one") {
  submit(call(16, 20));
  virtual_time.advance(2500us);
  // Two launches are logged when they start; the second started in the instant in which the first
  // ended, so no plan can have been made from its report in between.
  REQUIRE(plans->size() >= 2);
  CHECK(plans->at(1)->slices.at(0).tokens.count == 0);  // its token was still being sampled
}

TEST_CASE_METHOD(EngineFixture,
                 "n choices are n requests with the same prompt and different seeds") {
  auto generate = call(20, 4);
  generate.n = 3;
  const auto answer = submit(std::move(generate));
  REQUIRE(answer->value->value->choices.size() == 3);
  virtual_time.advance(1s);
  CHECK(sim::finish_order(*events).size() == 3);
}

TEST_CASE_METHOD(EngineFixture, "a cancelled call ends once and its blocks come back") {
  const auto answer = submit(call(100, 300));
  const auto id = answer->value->value->choices.at(0).id;
  virtual_time.advance(20ms);
  caf::anon_send(runtime->intake(), msg::Cancel{{id}});
  caf::anon_send(runtime->intake(), msg::Cancel{{id}});
  virtual_time.advance(20ms);
  CHECK(sim::finish_order(*events) == std::vector{id});
  CHECK(events->back().finish == FinishReason::cancelled);
  CHECK(metric("tandem_kv_blocks_free") == metric("tandem_kv_blocks"));
  caf::anon_send(runtime->intake(), msg::Cancel{{id, RequestId(999)}});
  virtual_time.advance(20ms);
  CHECK(events->back().finish == FinishReason::cancelled);
}

TEST_CASE_METHOD(EngineFixture,
                 "what cannot be served is refused with a reason, and nothing enters") {
  auto refused = [this](GenerateCall generate) {
    const auto answer = submit(std::move(generate));
    REQUIRE(answer->value.has_value());
    REQUIRE(answer->value->value.has_error());
    return answer->value->value.error();
  };
  auto other_model = call(1, 1);
  other_model.model = "other";
  CHECK(refused(other_model).code == Errc::model_not_found);
  CHECK(refused(call(500, 100)).code == Errc::context_length_exceeded);
  CHECK(refused(call(512, 1)).code == Errc::context_length_exceeded);
  // It names the field in which the endpoint has the prompt.
  for (const auto& [endpoint, field] : {std::pair(Endpoint::completions, "prompt"),
                                        std::pair(Endpoint::chat_completions, "messages"),
                                        std::pair(Endpoint::responses, "input")}) {
    auto too_long = call(512, 1);
    too_long.endpoint = endpoint;
    CHECK(refused(too_long).param == field);
  }
  GenerateCall text{.model = "tiny", .prompts = {std::string("words")}};
  CHECK(refused(text).code == Errc::unsupported);
  GenerateCall outside{.model = "tiny", .prompts = {std::vector<TokenId>{100}}};
  CHECK(refused(outside).message.find("0 to 99") != std::string::npos);
  CHECK(runtime->in_flight() == 0);
}

TEST_CASE("more than max_online_requests at once is overload, and room comes back") {
  RuntimeOptions options;
  options.max_online_requests = 2;
  EngineFixture engine(options);
  engine.submit(engine.call(10, 4));
  engine.submit(engine.call(10, 4));
  const auto third = engine.submit(engine.call(10, 4));
  CHECK(third->value->value.error().code == Errc::overloaded);
  engine.virtual_time.advance(1s);
  CHECK(engine.submit(engine.call(10, 4))->value->value.has_value());
}

TEST_CASE_METHOD(EngineFixture,
                 "calls are counted by what they ask for, unknown fields by number") {
  auto answer = sim::ask<AcceptedReply>(
      virtual_time, runtime->intake(),
      msg::SubmitTo{
          {.call = std::make_shared<const GenerateCall>(call(10, 4)), .ignored_fields = 3}, sink});
  virtual_time.run();
  submit(call(10, 8));
  const auto text = runtime->metrics().text();
  CHECK(text.find("\ntandem_ignored_fields_total 3\n") != std::string::npos);
  CHECK(text.find("\ntandem_request_params_max_tokens_sum 12\n") != std::string::npos);
  CHECK(text.find("\ntandem_request_params_n_count 2\n") != std::string::npos);
}

TEST_CASE_METHOD(EngineFixture, "draining refuses new calls and finishes the running ones") {
  submit(call(10, 50));
  runtime->drain();
  virtual_time.run();
  CHECK_FALSE(runtime->ready());
  CHECK(runtime->not_ready_reason() == "draining");
  CHECK(submit(call(10, 1))->value->value.error().code == Errc::shutting_down);
  virtual_time.advance(1s);
  CHECK(events->size() == 50);
  CHECK(events->back().finish == FinishReason::length);
}

TEST_CASE_METHOD(EngineFixture, "percentiles and estimates are published from what was measured") {
  submit(call(10, 400));
  virtual_time.advance(2s);
  // 11 ms for 10 rows of prefill at 10 us each + 1 ms: the first token; then gaps of 1.01 ms.
  CHECK(metric("tandem_time_to_first_token_seconds_count{class=\"online\"}") == 1);
  CHECK(metric("tandem_inter_token_latency_seconds_count{class=\"online\"}") == 399);
  CHECK(metric("tandem_inter_token_latency_seconds_sum{class=\"online\"}") ==
        Approx(399 * 0.00101));
  CHECK(metric("tandem_prediction_error_count") > 300);
  CHECK(metric("tandem_prediction_error_sum") < 0.01 * 300);
}

TEST_CASE_METHOD(EngineFixture, "a request's stages are told apart: waiting, prompt, answer") {
  submit(call(10, 400));
  virtual_time.advance(2s);
  const auto stage = [&](const std::string& name) {
    CHECK(metric("tandem_request_" + name + "_count{class=\"online\"}") == 1);
    CHECK(metric("tandem_request_" + name + "_count{class=\"offline\"}") == 0);
    return metric("tandem_request_" + name + "_sum{class=\"online\"}");
  };
  CHECK(stage("queue_time_seconds") == 0);
  CHECK(stage("prefill_time_seconds") == Approx(0.0011));
  CHECK(stage("decode_time_seconds") == Approx(399 * 0.00101));
  CHECK(stage("inference_time_seconds") == Approx(0.0011 + 399 * 0.00101));
  CHECK(stage("generation_tokens") == 400);
  CHECK(stage("time_per_output_token_seconds") == Approx(0.00101));
  // One that is cancelled before its answer begins has waited, and has no other stage.
  const auto second = submit(call(10, 400));
  virtual_time.advance(500us);
  caf::anon_send(runtime->intake(), msg::Cancel{{second->value->value->choices.at(0).id}});
  virtual_time.advance(1s);
  CHECK(metric("tandem_request_queue_time_seconds_count{class=\"online\"}") == 2);
  CHECK(metric("tandem_request_generation_tokens_count{class=\"online\"}") == 1);
}

namespace {

RuntimeOptions with_objective(bool profiled) {
  RuntimeOptions options;
  options.scheduling_policy = "hygen";
  options.slo.objectives = {{policy::Quantity::tbt, policy::Statistic::p99, false, 4.0}};
  options.slo.control = false;
  policy::LatencyCoefficients k;  // of the simulated device
  k.fixed = 1, k.row = 0.01;
  if (profiled) options.learner.initial = {policy::LatencyForm::context, k, {1000, 0, 0}};
  return options;
}

/// The most rows of an iteration that carries both classes.
std::uint32_t most_mixed_rows(const std::vector<PlanPtr>& plans) {
  std::uint32_t most = 0;
  for (const auto& plan : plans) {
    bool online = false, offline = false;
    for (const auto& slice : plan->slices)
      (slice.request_class == RequestClass::online ? online : offline) = true;
    if (online && offline) most = std::max(most, plan->num_rows());
  }
  return most;
}

}  // namespace

TEST_CASE("with a profile, an objective bounds iterations with offline work from the first on") {
  EngineFixture engine(with_objective(true));
  engine.submit(EngineFixture::call(10, 60));
  auto flex = EngineFixture::call(450, 5);
  flex.request_class = RequestClass::offline;
  engine.virtual_time.advance(5ms);
  engine.submit(flex);
  engine.virtual_time.advance(2s);
  CHECK(engine.events->size() == 65);
  // 4 ms are 300 rows, and the model has no margin.
  CHECK(most_mixed_rows(*engine.plans) == 300);
  CHECK(engine.metric("tandem_iteration_budget_seconds") == Approx(0.004));
  CHECK(engine.metric("tandem_prediction_error_count") > 50);
}

TEST_CASE("without a profile, offline work stays a small share until the model's error is known") {
  EngineFixture engine(with_objective(false));
  engine.submit(EngineFixture::call(10, 200));
  auto flex = EngineFixture::call(450, 5);
  flex.request_class = RequestClass::offline;
  engine.virtual_time.advance(5ms);
  engine.submit(flex);
  engine.virtual_time.advance(2s);
  CHECK(engine.events->size() == 205);
  CHECK(most_mixed_rows(*engine.plans) == 1 + 512 / 8);
}

TEST_CASE_METHOD(EngineFixture, "a dead observer is replaced, and service goes on") {
  const auto predictor = caf::actor_cast<caf::strong_actor_ptr>(runtime->observers().predictor);
  submit(call(10, 40));
  caf::anon_send_exit(predictor, caf::exit_reason::kill);
  virtual_time.advance(1s);
  CHECK(runtime->ready());
  CHECK(events->size() == 40);
  CHECK(metric("tandem_observer_restarts_total") == 1);
  submit(call(10, 40));
  const auto before = metric("tandem_prediction_error_count");
  virtual_time.advance(1s);
  CHECK(metric("tandem_prediction_error_count") > before);  // the successor learns
}

TEST_CASE_METHOD(EngineFixture,
                 "when the executor dies, running requests fail and the runtime ends") {
  std::vector<std::string> fatal;
  runtime->on_fatal([&fatal](const std::string& reason) { fatal.push_back(reason); });
  submit(call(10, 400));
  virtual_time.advance(10ms);
  caf::anon_send_exit(device, caf::exit_reason::kill);
  virtual_time.advance(10ms);
  CHECK(events->back().finish == FinishReason::failed);
  CHECK(events->back().error->code == Errc::device_failed);
  CHECK(sim::finish_order(*events).size() == 1);
  CHECK_FALSE(runtime->ready());
  REQUIRE(fatal.size() == 1);
  CHECK(fatal[0].find("died") != std::string::npos);
}

TEST_CASE_METHOD(EngineFixture, "the death of any actor that holds state is fatal and named") {
  const std::string role =
      GENERATE(as<std::string>{}, "request_intake", "offline_queue", "scheduler");
  std::vector<std::string> fatal;
  runtime->on_fatal([&fatal](const std::string& reason) { fatal.push_back(reason); });
  const auto victim =
      role == "request_intake"  ? caf::actor_cast<caf::strong_actor_ptr>(runtime->intake())
      : role == "offline_queue" ? caf::actor_cast<caf::strong_actor_ptr>(runtime->queue())
                                : caf::actor_cast<caf::strong_actor_ptr>(runtime->scheduler());
  caf::anon_send_exit(victim, caf::exit_reason::kill);
  virtual_time.run();
  REQUIRE(fatal.size() == 1);
  CHECK(fatal[0].find(role) != std::string::npos);
  CHECK(runtime->not_ready_reason() == role + " died");
}

namespace {

/// What the scheduler's core was asked and said, as letters; and that it was whole each time.
struct LetterWatch final : SchedulerWatch {
  std::string letters;
  void happens(const policy::Event& event, TimePoint) override {
    letters += "ASVCRMBW"[event.index()];
  }
  void decides(const policy::Action& action, TimePoint) override {
    letters += "lerw"[action.index()];
  }
  void settles(const policy::SchedulerCore& core, TimePoint) override {
    core.check();
    letters += '.';
  }
};

}  // namespace

TEST_CASE("a watch sees each event, then what it led to") {
  const auto watch = std::make_shared<LetterWatch>();
  EngineFixture engine({}, {}, watch);
  engine.virtual_time.run();
  watch->letters.clear();
  engine.submit(EngineFixture::call(10, 2));
  engine.virtual_time.advance(1s);
  // Two plans are launched by the arrival; each report yields a token.
  CHECK(watch->letters == "All.Re.Re.");
}
