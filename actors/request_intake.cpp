// Request intake: the door. Admits or refuses calls, has them tokenized, gives them ids.
//   in   SubmitTo       answered by Accepted, or by the Error that the caller will see
//        AskText        tokens of a text or text of tokens, for the caller alone
//        Cancel         forwarded; ids that have ended are dropped here
//        Abandon        a call that was not answered yet: dropped
//        RequestsEnded  from the scheduler: room again
//        Drain          from now on every call is refused with shutting_down; those that were taken
//                       in before go on
//   out  Prepare, AnswerText -> encoder, of calls with much text, one per encoder at a time
//        AdmitTo -> scheduler, after Accepted has been delivered: no token can overtake it
//   A call with little text is tokenized here and passes those that wait for an encoder. While a
//   call is encoded it counts as in the engine, so that its place is there when it is ready.
//   Detached in service.
#include <algorithm>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <unordered_map>

#include "actors/actor_support.hpp"
#include "actors/encode_queue.hpp"
#include "actors/prepare.hpp"
#include "actors/spawn.hpp"
#include "actors/text_answer.hpp"

namespace tandem {
namespace {

using AcceptedReply = msg::Reply<msg::Accepted>;
using TextReply = msg::Reply<msg::TextBody>;

/// A call that was taken in and not answered yet.
struct OpenCall {
  using Outcome = PreparedCall;  ///< of its encoding
  msg::Submit submit;
  TokenSink sink;
  caf::typed_response_promise<AcceptedReply> promise;
  TimePoint arrival{};
};
/// The same of a call that the engine has nothing to do with.
struct OpenText {
  using Outcome = msg::TextBody;
  msg::AskText ask;
  caf::typed_response_promise<TextReply> promise;
  TimePoint arrival{};
};
/// What waits for an encoder or is worked on by one.
struct Encoding {
  std::variant<OpenCall, OpenText> open;
  std::optional<std::size_t> encoder;
  bool abandoned = false;
};

void answer(OpenCall& call, Result<msg::Accepted> result) {
  call.promise.deliver(AcceptedReply{std::move(result)});
}
void answer(OpenText& text, Result<msg::TextBody> result) {
  text.promise.deliver(TextReply{std::move(result)});
}

struct IntakeState {
  static inline const char* name = "request_intake";
  IntakeOptions options;
  ServedModelPtr model;
  Scheduler scheduler;
  std::vector<Encoder> encoders;
  MetricsPtr metrics;
  std::unordered_map<RequestId, RequestClass> in_engine;
  std::uint64_t online = 0, flex = 0;  ///< in the engine, and of calls that are encoded
  EncodeQueue queue{0, 0};
  std::unordered_map<EncodeQueue::Job, Encoding> encoding;
  EncodeQueue::Job next_job = 1;
  std::uint64_t next_id = 1;
  std::uint64_t next_seed = 0;
  bool draining = false;
};
using Self = RequestIntake::stateful_pointer<IntakeState>;

std::uint64_t& count_of(IntakeState& state, RequestClass request_class) {
  return request_class == RequestClass::online ? state.online : state.flex;
}

/// splitmix64: a stream of seeds for calls that name none.
std::uint64_t draw_seed(IntakeState& state) {
  auto z = state.next_seed += 0x9e3779b97f4a7c15ULL;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

std::uint64_t num_requests(const GenerateCall& call) { return call.prompts.size() * call.n; }

RequestClass class_of(const OpenCall& call) { return call.submit.call->request_class; }
RequestClass class_of(const OpenText&) { return RequestClass::online; }
/// In the engine, if it is let in.
std::uint64_t places_of(const OpenCall& call) { return num_requests(*call.submit.call); }
std::uint64_t places_of(const OpenText&) { return 0; }
bool is_of(const msg::Abandon& abandon, const OpenCall& call) {
  return call.submit.ticket == abandon.ticket && call.sink == abandon.sink;
}
bool is_of(const msg::Abandon& abandon, const OpenText& text) {
  return text.ask.ticket == abandon.ticket && text.ask.sink == abandon.sink;
}

/// What rendering and tokenizing a prompt costs grows with this.
struct TextBytes {
  static constexpr std::size_t of_object = 16;  ///< that a template loops over
  std::size_t operator()(const std::string& text) const { return text.size(); }
  std::size_t operator()(const std::vector<TokenId>&) const { return 0; }
  std::size_t operator()(const std::vector<ChatMessage>& messages) const {
    std::size_t bytes = 0;
    for (const auto& message : messages) {
      bytes += of_object + message.content.size() + message.reasoning.size() + message.name.size();
      for (const auto& call : message.tool_calls)
        bytes += of_object + call.name.size() + call.arguments.size();
    }
    return bytes;
  }
};

std::size_t text_bytes(const GenerateCall& call) {
  std::size_t bytes = call.template_arguments.size();
  for (const auto& prompt : call.prompts) bytes += std::visit(TextBytes{}, prompt);
  for (const auto& tool : call.tools)
    bytes += TextBytes::of_object + tool.description.value_or("").size() + tool.parameters.size();
  return bytes;
}
std::size_t text_bytes(const TokenizeCall& asked) { return text_bytes(asked.call); }
std::size_t text_bytes(const DetokenizeCall& asked) {
  constexpr std::size_t of_token = 4;
  return of_token * asked.tokens.size();
}

std::optional<Error> refuse_draining(IntakeState& state) {
  if (!state.draining) return std::nullopt;
  state.metrics->shed(Shed::draining);
  return error(Errc::shutting_down,
               "the service is shutting down; send the request to another instance");
}

/// Bounds are checked on counts before anything is tokenized: refusing must be cheap.
std::optional<Error> refuse(IntakeState& state, const GenerateCall& call) {
  if (auto refusal = refuse_draining(state)) return refusal;
  const bool online = call.request_class == RequestClass::online;
  const auto now_in = count_of(state, call.request_class);
  const auto bound = online ? state.options.max_online_requests : state.options.max_flex_requests;
  if (now_in + num_requests(call) <= bound) return std::nullopt;
  state.metrics->shed(Shed::overloaded);
  return error(online ? Errc::overloaded : Errc::resource_unavailable,
               "the engine has " + std::to_string(now_in) + " of at most " + std::to_string(bound) +
                   " " + std::string(online ? "online" : "flex") + " requests; try again later");
}

/// Answers a call, and admits its requests if there are any.
void finish(Self self, OpenCall call, Result<PreparedCall> prepared) {
  auto& state = self->state;
  if (!prepared) {
    state.metrics->shed(Shed::invalid);
    return answer(call, prepared.error());
  }
  msg::Accepted accepted;
  std::vector<RequestPtr> admitted;
  for (auto& request : prepared->requests) {
    request.id = RequestId(state.next_id++);
    request.arrival = call.arrival;
    accepted.choices.push_back({request.id,
                                Tokens(static_cast<std::int64_t>(request.prompt.size())),
                                prepared->prompt_end});
    state.in_engine.emplace(request.id, request.request_class);
    ++count_of(state, request.request_class);
    admitted.push_back(std::make_shared<const Request>(std::move(request)));
  }
  const auto& generate = *call.submit.call;
  state.metrics->call_accepted(generate.n, generate.max_tokens.value_or(Tokens(0)));
  spdlog::debug("call_accepted request_id={} class={} choices={} prompt_tokens={}",
                call.submit.request_id, to_string(generate.request_class), admitted.size(),
                accepted.choices.front().prompt_tokens.value());
  answer(call, std::move(accepted));
  for (auto& request : admitted)
    self->send(state.scheduler, msg::AdmitTo{std::move(request), call.sink});
}

void finish(Self self, OpenText text, Result<msg::TextBody> body) {
  if (!body) self->state.metrics->shed(Shed::invalid);
  answer(text, std::move(body));
}

// ---- calls for the encoders ----

/// Takes a call out that was encoded, or need not be any more.
Encoding take_encoding(IntakeState& state, EncodeQueue::Job job) {
  auto encoding = std::move(state.encoding.extract(job).mapped());
  std::visit([&](const auto& open) { count_of(state, class_of(open)) -= places_of(open); },
             encoding.open);
  state.metrics->encoding(state.encoding.size());
  return encoding;
}

Error abandoned() { return error(Errc::cancelled, "the caller has left"); }

Error encoder_stopped() {
  return error(Errc::internal, "an encoder has stopped; see the service's log");
}

void start_encoders(Self self);

template <class Open>
void encoded(Self self, EncodeQueue::Start job, Result<typename Open::Outcome> outcome) {
  auto& state = self->state;
  if (!state.encoding.contains(job.job)) return;  // its encoder's death was heard of before
  state.queue.done(job.encoder);
  auto encoding = take_encoding(state, job.job);
  auto& open = std::get<Open>(encoding.open);
  state.metrics->encoded(class_of(open), now(self) - open.arrival);
  if (encoding.abandoned)
    answer(open, abandoned());
  else
    finish(self, std::move(open), std::move(outcome));
  start_encoders(self);
}

/// Has `job` done by its encoder, which `order` tells what to do.
template <class Open, class Order>
void start_encoder(Self self, EncodeQueue::Start job, Order order) {
  self->request(self->state.encoders[job.encoder], caf::infinite, std::move(order))
      .then(
          [self, job](const msg::Reply<typename Open::Outcome>& reply) {
            encoded<Open>(self, job, reply.value);
          },
          [self, job](const caf::error&) { encoded<Open>(self, job, encoder_stopped()); });
}

void start_encoders(Self self) {
  auto& state = self->state;
  while (const auto job = state.queue.next()) {
    auto& encoding = state.encoding.at(job->job);
    encoding.encoder = job->encoder;
    if (const auto* text = std::get_if<OpenText>(&encoding.open)) {
      start_encoder<OpenText>(self, *job, msg::AnswerText{text->ask.call});
      continue;
    }
    const auto& submit = std::get<OpenCall>(encoding.open).submit;
    start_encoder<OpenCall>(self, *job, msg::Prepare{submit.call, submit.tenant, draw_seed(state)});
  }
}

/// Ends the runtime, too; until then nobody waits for an answer that will not come.
void encoder_down(Self self, const caf::actor_addr& address) {
  auto& state = self->state;
  for (const auto& [job, encoding] : state.encoding) {
    if (!encoding.encoder || state.encoders[*encoding.encoder].address() != address) continue;
    const EncodeQueue::Start start{job, *encoding.encoder};
    return std::holds_alternative<OpenText>(encoding.open)
               ? encoded<OpenText>(self, start, encoder_stopped())
               : encoded<OpenCall>(self, start, encoder_stopped());
  }
}

template <class Open>
void enqueue(Self self, Open open) {
  auto& state = self->state;
  const auto job = state.next_job++;
  if (!state.queue.add(job, class_of(open))) {
    state.metrics->shed(Shed::overloaded);
    return answer(
        open, error(Errc::overloaded, std::to_string(state.queue.max_waiting()) +
                                          " calls with long prompts wait to be tokenized, the most "
                                          "that max_encode_queue allows; try again later"));
  }
  count_of(state, class_of(open)) += places_of(open);
  state.encoding.emplace(job, Encoding{std::move(open), std::nullopt});
  state.metrics->encoding(state.encoding.size());
  start_encoders(self);
}

void abandon(Self self, const msg::Abandon& abandon) {
  auto& state = self->state;
  const auto found =
      std::find_if(state.encoding.begin(), state.encoding.end(), [&](const auto& entry) {
        return std::visit([&](const auto& open) { return is_of(abandon, open); },
                          entry.second.open);
      });
  if (abandon.ticket == 0 || found == state.encoding.end()) return;
  if (!state.queue.remove(found->first)) {
    found->second.abandoned = true;
    return;
  }
  auto encoding = take_encoding(state, found->first);
  std::visit([](auto& open) { answer(open, abandoned()); }, encoding.open);
}

// ---- every call ----

void submit(Self self, OpenCall call) {
  auto& state = self->state;
  const auto& generate = *call.submit.call;
  state.metrics->fields_ignored(call.submit.ignored_fields);
  if (auto refusal = refuse(state, generate)) return answer(call, *std::move(refusal));
  if (auto refusal = refuse_unread(generate, *state.model))
    return finish(self, std::move(call), *std::move(refusal));
  if (!state.encoders.empty() && text_bytes(generate) > state.options.inline_encode_bytes)
    return enqueue(self, std::move(call));
  auto prepared = prepare(generate, *state.model, call.submit.tenant, draw_seed(state));
  finish(self, std::move(call), std::move(prepared));
}

void answer_question(Self self, OpenText text) {
  auto& state = self->state;
  state.metrics->fields_ignored(text.ask.ignored_fields);
  if (auto refusal = refuse_draining(state)) return answer(text, *std::move(refusal));
  const auto bytes =
      std::visit([](const auto& asked) { return text_bytes(asked); }, *text.ask.call);
  if (!state.encoders.empty() && bytes > state.options.inline_encode_bytes)
    return enqueue(self, std::move(text));
  auto body = text_body(*text.ask.call, *state.model);
  finish(self, std::move(text), std::move(body));
}

void forget(IntakeState& state, RequestId id) {
  const auto found = state.in_engine.find(id);
  if (found == state.in_engine.end()) return;
  --count_of(state, found->second);
  state.in_engine.erase(found);
}

RequestIntake::behavior_type request_intake(Self self, const IntakeOptions& options,
                                            ServedModelPtr model, Scheduler scheduler,
                                            std::vector<Encoder> encoders, MetricsPtr metrics) {
  install_handlers(self);
  auto& state = self->state;
  state.options = options;
  state.model = std::move(model);
  state.scheduler = std::move(scheduler);
  state.queue = EncodeQueue(encoders.size(), options.max_encode_queue);
  state.encoders = std::move(encoders);
  state.metrics = std::move(metrics);
  state.next_seed = options.seed;
  for (const auto& encoder : state.encoders) self->monitor(encoder);
  self->set_down_handler([self](const caf::down_msg& down) { encoder_down(self, down.source); });
  return {
      [self](const msg::SubmitTo& submit_to) {
        auto promise = self->make_response_promise<AcceptedReply>();
        submit(self, {submit_to.submit, submit_to.sink, promise, now(self)});
        return promise;
      },
      [self](const msg::AskText& ask) {
        auto promise = self->make_response_promise<TextReply>();
        answer_question(self, {ask, promise, now(self)});
        return promise;
      },
      [self](const msg::Cancel& cancel) {
        msg::Cancel live;
        for (const auto id : cancel.ids)
          if (self->state.in_engine.contains(id)) live.ids.push_back(id);
        if (!live.ids.empty()) self->send(self->state.scheduler, std::move(live));
      },
      [self](const msg::Abandon& left) { abandon(self, left); },
      [self](const msg::RequestsEnded& ended) {
        for (const auto id : ended.ids) forget(self->state, id);
      },
      [self](const msg::Drain&) { self->state.draining = true; },
  };
}

}  // namespace

RequestIntake spawn_request_intake(caf::actor_system& system, bool detached,
                                   const IntakeOptions& options, ServedModelPtr model,
                                   Scheduler scheduler, std::vector<Encoder> encoders,
                                   MetricsPtr metrics) {
  return spawn_actor(system, detached, request_intake, options, std::move(model),
                     std::move(scheduler), std::move(encoders), std::move(metrics));
}

}  // namespace tandem
