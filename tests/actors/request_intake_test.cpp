// Long prompts at request intake, in virtual time: they wait for encoders that answer when the test
// says so, and everything else goes on.
#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <catch2/catch.hpp>
#include <deque>
#include <functional>

#include "actors/prepare.hpp"
#include "actors/runtime.hpp"
#include "actors/text_answer.hpp"
#include "sim/ask.hpp"
#include "sim/probe.hpp"
#include "sim/simple_device.hpp"
#include "sim/virtual_runtime.hpp"
#include "tests/support/temporary_folder.hpp"

using namespace tandem;
using namespace std::chrono_literals;
using AcceptedReply = msg::Reply<msg::Accepted>;
using Answer = std::shared_ptr<sim::Answer<AcceptedReply>>;
using TextReply = msg::Reply<msg::TextBody>;
using TextAnswer = std::shared_ptr<sim::Answer<TextReply>>;

namespace {

/// A token for each byte.
class ByteTokenizer final : public model::Tokenizer {
 public:
  std::vector<TokenId> encode(std::string_view text, bool, bool) const override {
    return {text.begin(), text.end()};
  }
  std::string_view token_bytes(TokenId) const override { return "x"; }
  bool is_special(TokenId) const override { return false; }
  std::optional<std::size_t> max_bytes_per_token() const override { return 4; }
  std::optional<TokenId> find(std::string_view) const override { return std::nullopt; }
  std::size_t vocab_size() const override { return 128; }
};

ServedModelPtr byte_model() {
  ServedModel model{.name = "bytes", .max_context = Tokens(200)};
  model.config.vocab_size = 128;
  model.tokenizer = std::make_shared<ByteTokenizer>();
  return std::make_shared<const ServedModel>(std::move(model));
}

// An encoder that holds what it is given until it is told to go on (Tick).
using HeldEncoder = Encoder::extend<caf::reacts_to<msg::Tick>>;
struct HeldState {
  static inline const char* name = "held_encoder";
  std::deque<std::function<void()>> jobs;
};

HeldEncoder::behavior_type held_encoder(HeldEncoder::stateful_pointer<HeldState> self,
                                        const ServedModelPtr& model) {
  return {
      [self, model](const msg::Prepare& prepare) {
        auto promise = self->make_response_promise<msg::Reply<PreparedCall>>();
        self->state.jobs.emplace_back([prepare, promise, model]() mutable {
          promise.deliver(msg::Reply<PreparedCall>{
              tandem::prepare(*prepare.call, *model, prepare.tenant, prepare.default_seed)});
        });
        return promise;
      },
      [self, model](const msg::AnswerText& order) {
        auto promise = self->make_response_promise<TextReply>();
        self->state.jobs.emplace_back([order, promise, model]() mutable {
          promise.deliver(TextReply{text_body(*order.call, *model)});
        });
        return promise;
      },
      [self](const msg::Tick&) {
        REQUIRE(self->state.jobs.size() == 1);  // intake never gives it more than one
        self->state.jobs.front()();
        self->state.jobs.pop_front();
      },
  };
}

struct IntakeFixture {
  tests::TemporaryFolder folder;
  sim::VirtualRuntime virtual_time;
  sim::PlanLog plans = std::make_shared<std::vector<PlanPtr>>();
  sim::EventLog events = std::make_shared<std::vector<TokenEvent>>();
  TokenSink sink = virtual_time.own(sim::spawn_probe(virtual_time.system(), events));
  std::vector<HeldEncoder> encoders;
  std::unique_ptr<Runtime> runtime;

  explicit IntakeFixture(RuntimeOptions options = {}, std::size_t num_encoders = 1) {
    options.store.data_dir = folder.path();
    options.detached = false;
    options.scheduler.kv_blocks = Blocks(256);
    options.inline_encode_bytes = 10;
    const auto model = byte_model();
    RuntimeParts parts;
    parts.executor = virtual_time.own(sim::spawn_simple_device(virtual_time.system(), {}, plans));
    for (std::size_t i = 0; i < num_encoders; ++i) {
      encoders.push_back(virtual_time.own(virtual_time.system().spawn(held_encoder, model)));
      parts.encoders.push_back(encoders.back());
    }
    runtime = std::move(*Runtime::start(virtual_time.system(), options, model, std::move(parts)));
  }
  ~IntakeFixture() {
    runtime->stop();
    virtual_time.run();
  }

  Answer submit(std::size_t bytes, std::uint64_t ticket = 0,
                RequestClass request_class = RequestClass::online, std::uint32_t n = 1) {
    GenerateCall call{.model = "bytes", .prompts = {std::string(bytes, 'a')}, .n = n};
    call.max_tokens = Tokens(2);
    call.request_class = request_class;
    auto answer = sim::ask<AcceptedReply>(
        virtual_time, runtime->intake(),
        msg::SubmitTo{
            {.call = std::make_shared<const GenerateCall>(std::move(call)), .ticket = ticket},
            sink});
    virtual_time.run();
    return answer;
  }
  TextAnswer ask(TextCall call, std::uint64_t ticket = 0) {
    auto answer = sim::ask<TextReply>(
        virtual_time, runtime->intake(),
        msg::AskText{std::make_shared<const TextCall>(std::move(call)), 0, ticket, sink});
    virtual_time.run();
    return answer;
  }
  TextAnswer ask_tokens(std::size_t bytes, std::uint64_t ticket = 0) {
    TokenizeCall asked;
    asked.call.prompts = {std::string(bytes, 'a')};
    return ask(std::move(asked), ticket);
  }
  void release(std::size_t encoder = 0) {
    caf::anon_send(encoders.at(encoder), msg::Tick{});
    virtual_time.run();
  }
  void abandon(std::uint64_t ticket) {
    caf::anon_send(runtime->intake(), msg::Abandon{ticket, sink});
    virtual_time.run();
  }
  [[nodiscard]] double metric(const std::string& line) const {
    const auto text = runtime->metrics().text();
    const auto at = text.find("\n" + line + " ");
    REQUIRE(at != std::string::npos);
    return std::stod(text.substr(at + line.size() + 2));
  }
};

template <class Any>
bool waits(const Any& answer) {
  return !answer->value && !answer->failure;
}
template <class Any>
bool accepted(const Any& answer) {
  return answer->value && answer->value->value.has_value();
}
template <class Any>
Error refusal(const Any& answer) {
  REQUIRE(answer->value);
  REQUIRE(answer->value->value.has_error());
  return answer->value->value.error();
}

}  // namespace

TEST_CASE_METHOD(IntakeFixture, "a short call passes a long one that is being tokenized") {
  const auto longer = submit(150);
  CHECK(waits(longer));
  const auto shorter = submit(10);
  REQUIRE(accepted(shorter));
  virtual_time.advance(1s);
  CHECK(events->size() == 2);
  CHECK(waits(longer));
  release();
  REQUIRE(accepted(longer));
  CHECK(longer->value->value->choices.at(0).prompt_tokens == Tokens(150));
  virtual_time.advance(1s);
  CHECK(events->size() == 4);
  CHECK(metric("tandem_request_encode_seconds_count{class=\"online\"}") == 1);
}

TEST_CASE_METHOD(IntakeFixture,
                 "a prompt of provably too many tokens is refused without an encoder") {
  const auto reason = refusal(submit(801));  // 201 tokens of 4 bytes
  CHECK(reason.code == Errc::context_length_exceeded);
  CHECK(reason.message.find("at least 201") != std::string::npos);
  CHECK(reason.param == "prompt");
  CHECK(metric("tandem_shed_total{reason=\"invalid\"}") == 1);
  const auto maybe = submit(796);  // it could be 199 tokens
  CHECK(waits(maybe));
  release();
  CHECK(refusal(maybe).message.find("796 in the prompt") != std::string::npos);
}

TEST_CASE_METHOD(IntakeFixture, "time with an encoder counts as waiting for the first token") {
  submit(150);
  virtual_time.advance(3s);
  release();
  virtual_time.advance(1s);
  CHECK(metric("tandem_request_encode_seconds_sum{class=\"online\"}") == Approx(3));
  CHECK(metric("tandem_time_to_first_token_seconds_sum{class=\"online\"}") > 3);
}

TEST_CASE("long calls of a class are admitted in the order in which they came") {
  IntakeFixture intake({}, 1);
  std::vector<Answer> answers;
  for (const std::size_t bytes : {100, 150, 20}) answers.push_back(intake.submit(bytes));
  for (std::size_t i = 0; i < answers.size(); ++i) {
    CHECK(waits(answers[i]));
    CHECK(intake.metric("tandem_num_calls_encoding") == static_cast<double>(3 - i));
    intake.release();
    REQUIRE(accepted(answers[i]));
    CHECK(answers[i]->value->value->choices.at(0).id == RequestId(i + 1));
  }
}

TEST_CASE("two encoders work side by side, and an online call goes before a flex one") {
  IntakeFixture intake({}, 2);
  const auto first = intake.submit(100), second = intake.submit(100);
  const auto flex = intake.submit(100, 0, RequestClass::offline);
  const auto online = intake.submit(100);
  intake.release(1);
  CHECK(accepted(second));
  CHECK(waits(first));
  intake.release(1);
  CHECK(accepted(online));
  CHECK(waits(flex));
  intake.release(1);
  CHECK(accepted(flex));
  intake.release(0);
  CHECK(accepted(first));
}

TEST_CASE("more long calls than max_encode_queue are overload, and short ones still come in") {
  RuntimeOptions options;
  options.max_encode_queue = 2;
  IntakeFixture intake(options);
  const auto running = intake.submit(100), waiting = intake.submit(100), last = intake.submit(100);
  const auto reason = refusal(intake.submit(100));
  CHECK(reason.code == Errc::overloaded);
  CHECK(reason.message.find("max_encode_queue") != std::string::npos);
  CHECK(intake.metric("tandem_shed_total{reason=\"overloaded\"}") == 1);
  CHECK(accepted(intake.submit(5)));
  intake.release();
  const auto next = intake.submit(100);
  CHECK(waits(next));
  for (int i = 0; i < 3; ++i) intake.release();
  for (const auto& one : {running, waiting, last, next}) CHECK(accepted(one));
}

TEST_CASE("a call that is being tokenized has its place in the engine already") {
  RuntimeOptions options;
  options.max_online_requests = 3;
  IntakeFixture intake(options);
  const auto longer = intake.submit(100, 0, RequestClass::online, 2);
  REQUIRE(accepted(intake.submit(5)));
  CHECK(refusal(intake.submit(5)).code == Errc::overloaded);
  intake.release();
  REQUIRE(accepted(longer));
  CHECK(refusal(intake.submit(5)).code == Errc::overloaded);
  intake.virtual_time.advance(1s);
  const auto too_long = intake.submit(199, 0, RequestClass::online, 3);
  CHECK(refusal(intake.submit(5)).code == Errc::overloaded);
  intake.release();
  CHECK(refusal(too_long).code == Errc::context_length_exceeded);
  CHECK(accepted(intake.submit(5)));
}

TEST_CASE_METHOD(IntakeFixture, "an abandoned call is dropped if it waits, else not admitted") {
  const auto running = submit(100, 1), waiting = submit(100, 2), other = submit(100, 3);
  abandon(2);
  CHECK(refusal(waiting).code == Errc::cancelled);
  CHECK(metric("tandem_num_calls_encoding") == 2);
  abandon(1);
  CHECK(waits(running));  // its encoder cannot be stopped
  abandon(99);
  abandon(0);
  release();
  CHECK(refusal(running).code == Errc::cancelled);
  release();
  CHECK(accepted(other));
  abandon(3);  // has been answered: that is for Cancel
  virtual_time.advance(1s);
  CHECK(sim::finish_order(*events) == std::vector{other->value->value->choices.at(0).id});
  CHECK(runtime->in_flight() == 0);
}

TEST_CASE_METHOD(IntakeFixture, "a ticket is its sink's own") {
  const auto other_sink = virtual_time.own(
      sim::spawn_probe(virtual_time.system(), std::make_shared<std::vector<TokenEvent>>()));
  const auto call = submit(100, 1);
  caf::anon_send(runtime->intake(), msg::Abandon{1, other_sink});
  virtual_time.run();
  release();
  CHECK(accepted(call));
}

TEST_CASE_METHOD(IntakeFixture, "draining lets calls that are being tokenized go on") {
  const auto running = submit(100), waiting = submit(100);
  runtime->drain();
  virtual_time.run();
  CHECK(refusal(submit(100)).code == Errc::shutting_down);
  release();
  release();
  CHECK(accepted(running));
  CHECK(accepted(waiting));
  virtual_time.advance(1s);
  CHECK(sim::finish_order(*events).size() == 2);
}

TEST_CASE_METHOD(IntakeFixture, "an encoder's death is fatal and named, and its call is told") {
  std::vector<std::string> fatal;
  runtime->on_fatal([&fatal](const std::string& reason) { fatal.push_back(reason); });
  const auto running = submit(100), waiting = submit(100);
  caf::anon_send_exit(encoders[0], caf::exit_reason::kill);
  virtual_time.run();
  CHECK(refusal(running).code == Errc::internal);
  CHECK(refusal(waiting).code == Errc::internal);
  REQUIRE(fatal.size() == 1);
  CHECK(fatal[0].find("encoder") != std::string::npos);
  CHECK(runtime->not_ready_reason() == "encoder died");
}

// ---- calls about text ----

TEST_CASE_METHOD(IntakeFixture, "little text is answered at once, much of it by an encoder") {
  const auto little = ask_tokens(10);
  REQUIRE(accepted(little));
  CHECK(little->value->value->json->starts_with(R"({"count":10,"max_model_len":200,)"));
  const auto much = ask_tokens(11), tokens = ask(DetokenizeCall{{1, 2, 3}, 10});
  CHECK(waits(much));
  CHECK(waits(tokens));  // as much as 12 bytes
  CHECK(*ask(DetokenizeCall{{1, 2}, 10})->value->value->json == R"({"prompt":"xx"})");
  CHECK(accepted(submit(5)));
  CHECK(metric("tandem_num_calls_encoding") == 2);
  release();
  CHECK(accepted(much));
  release();
  CHECK(*tokens->value->value->json == R"({"prompt":"xxx"})");
  CHECK(metric("tandem_num_calls_encoding") == 0);
}

TEST_CASE_METHOD(IntakeFixture, "a text longer than the context is counted, and takes no place") {
  const auto counted = ask_tokens(801);
  CHECK(waits(counted));
  CHECK(runtime->in_flight() == 0);
  release();
  REQUIRE(accepted(counted));
  CHECK(counted->value->value->json->starts_with(R"({"count":801,)"));
  CHECK(refusal(ask(DetokenizeCall{{1, 2}, 1})).code == Errc::too_large);
  CHECK(metric("tandem_shed_total{reason=\"invalid\"}") == 1);
}

TEST_CASE("calls about text stand in the queue of long prompts, within its bound") {
  RuntimeOptions options;
  options.max_encode_queue = 1;
  IntakeFixture intake(options);
  const auto running = intake.ask_tokens(100);
  const auto waiting = intake.submit(100);
  const auto reason = refusal(intake.ask_tokens(100));
  CHECK(reason.code == Errc::overloaded);
  CHECK(reason.message.find("max_encode_queue") != std::string::npos);
  CHECK(refusal(intake.submit(100)).code == Errc::overloaded);
  intake.release();
  CHECK(accepted(running));
  intake.release();
  CHECK(accepted(waiting));
}

TEST_CASE_METHOD(IntakeFixture,
                 "an abandoned call about text is dropped, and none is taken in drain") {
  const auto running = ask_tokens(100, 1), waiting = ask_tokens(100, 2);
  abandon(2);
  CHECK(refusal(waiting).code == Errc::cancelled);
  abandon(1);
  CHECK(waits(running));
  runtime->drain();
  virtual_time.run();
  CHECK(refusal(ask_tokens(3)).code == Errc::shutting_down);
  release();
  CHECK(refusal(running).code == Errc::cancelled);
}

TEST_CASE_METHOD(IntakeFixture, "a call about text is told of its encoder's death") {
  runtime->on_fatal([](const std::string&) {});
  const auto running = ask_tokens(100);
  caf::anon_send_exit(encoders[0], caf::exit_reason::kill);
  virtual_time.run();
  CHECK(refusal(running).code == Errc::internal);
}

TEST_CASE("real encoders give what intake would, and equal runs are equal") {
  const auto run = [](std::uint64_t inline_bytes) {
    tests::TemporaryFolder folder;
    sim::VirtualRuntime virtual_time;
    const auto events = std::make_shared<std::vector<TokenEvent>>();
    const auto sink = virtual_time.own(sim::spawn_probe(virtual_time.system(), events));
    RuntimeOptions options{.store = {.data_dir = folder.path()}, .detached = false};
    options.scheduler.kv_blocks = Blocks(256);
    options.inline_encode_bytes = inline_bytes;
    RuntimeParts parts;
    parts.executor = virtual_time.own(sim::spawn_simple_device(
        virtual_time.system(), {}, std::make_shared<std::vector<PlanPtr>>()));
    auto runtime = Runtime::start(virtual_time.system(), options, byte_model(), std::move(parts));
    REQUIRE(runtime.has_value());
    for (const std::size_t bytes : {100, 3, 150, 20, 180}) {
      GenerateCall call{.model = "bytes", .prompts = {std::string(bytes, 'a')}};
      call.max_tokens = Tokens(3);
      caf::anon_send((*runtime)->intake(),
                     msg::SubmitTo{{.call = std::make_shared<const GenerateCall>(call)}, sink});
    }
    virtual_time.advance(1s);
    (*runtime)->stop();
    virtual_time.run();
    std::vector<std::pair<RequestId, std::optional<TokenId>>> seen;
    for (const auto& event : *events) seen.emplace_back(event.id, event.token);
    return seen;
  };
  const auto inlined = run(1000), handed_over = run(0), mixed = run(50);
  CHECK(inlined.size() == 15);
  CHECK(handed_over == inlined);
  CHECK(mixed.size() == 15);
  CHECK(mixed == run(50));
}
