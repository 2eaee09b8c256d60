// Request intake: the door. Admits or refuses calls, has them tokenized, gives them ids.
//   in   SubmitTo       answered by Accepted, or by the Error that the caller will see
//        Cancel         forwarded; ids that have ended are dropped here
//        Abandon        a call that was not answered yet: dropped
//        RequestsEnded  from the scheduler: room again
//        Drain          from now on every call is refused with shutting_down; those that were taken
//                       in before go on
//   out  Prepare -> encoder, of calls with much text, one per encoder at a time
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

namespace tandem {
namespace {

using AcceptedReply = msg::Reply<msg::Accepted>;

/// A call that was taken in and not answered yet.
struct OpenCall {
  msg::Submit submit;
  TokenSink sink;
  caf::typed_response_promise<AcceptedReply> promise;
  TimePoint arrival{};
  std::optional<std::size_t> encoder;  ///< that works on it
  bool abandoned = false;
};

void answer(OpenCall& call, Result<msg::Accepted> result) {
  call.promise.deliver(AcceptedReply{std::move(result)});
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
  std::unordered_map<EncodeQueue::Job, OpenCall> encoding;
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

/// Bounds are checked on counts before anything is tokenized: refusing must be cheap.
std::optional<Error> refuse(IntakeState& state, const GenerateCall& call) {
  if (state.draining) {
    state.metrics->shed(Shed::draining);
    return error(Errc::shutting_down,
                 "the service is shutting down; send the request to another instance");
  }
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

// ---- calls for the encoders ----

/// Takes a call out that was encoded, or need not be any more.
OpenCall take_encoding(IntakeState& state, EncodeQueue::Job job) {
  auto node = state.encoding.extract(job);
  const auto& call = *node.mapped().submit.call;
  count_of(state, call.request_class) -= num_requests(call);
  state.metrics->encoding(state.encoding.size());
  return std::move(node.mapped());
}

Error abandoned() { return error(Errc::cancelled, "the caller has left"); }

Error encoder_stopped() {
  return error(Errc::internal, "an encoder has stopped; see the service's log");
}

void start_encoders(Self self);

void encoded(Self self, EncodeQueue::Start job, Result<PreparedCall> prepared) {
  auto& state = self->state;
  if (!state.encoding.contains(job.job)) return;  // its encoder's death was heard of before
  state.queue.done(job.encoder);
  auto call = take_encoding(state, job.job);
  state.metrics->encoded(call.submit.call->request_class, now(self) - call.arrival);
  if (call.abandoned)
    answer(call, abandoned());
  else
    finish(self, std::move(call), std::move(prepared));
  start_encoders(self);
}

void start_encoders(Self self) {
  auto& state = self->state;
  while (const auto job = state.queue.next()) {
    auto& call = state.encoding.at(job->job);
    call.encoder = job->encoder;
    const auto& submit = call.submit;
    self->request(state.encoders[job->encoder], caf::infinite,
                  msg::Prepare{submit.call, submit.tenant, draw_seed(state)})
        .then([self, job = *job](
                  const msg::Reply<PreparedCall>& reply) { encoded(self, job, reply.value); },
              [self, job = *job](const caf::error&) { encoded(self, job, encoder_stopped()); });
  }
}

/// Ends the runtime, too; until then nobody waits for an answer that will not come.
void encoder_down(Self self, const caf::actor_addr& address) {
  auto& state = self->state;
  for (const auto& [job, call] : state.encoding)
    if (call.encoder && state.encoders[*call.encoder].address() == address)
      return encoded(self, {job, *call.encoder}, encoder_stopped());
}

void enqueue(Self self, OpenCall call) {
  auto& state = self->state;
  const auto& generate = *call.submit.call;
  const auto job = state.next_job++;
  if (!state.queue.add(job, generate.request_class)) {
    state.metrics->shed(Shed::overloaded);
    return answer(
        call, error(Errc::overloaded, std::to_string(state.queue.max_waiting()) +
                                          " calls with long prompts wait to be tokenized, the most "
                                          "that max_encode_queue allows; try again later"));
  }
  count_of(state, generate.request_class) += num_requests(generate);
  state.encoding.emplace(job, std::move(call));
  state.metrics->encoding(state.encoding.size());
  start_encoders(self);
}

void abandon(Self self, const msg::Abandon& abandon) {
  auto& state = self->state;
  const auto found =
      std::find_if(state.encoding.begin(), state.encoding.end(), [&](const auto& entry) {
        return entry.second.submit.ticket == abandon.ticket && entry.second.sink == abandon.sink;
      });
  if (abandon.ticket == 0 || found == state.encoding.end()) return;
  if (!state.queue.remove(found->first)) {
    found->second.abandoned = true;
    return;
  }
  auto call = take_encoding(state, found->first);
  answer(call, abandoned());
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
