// Request intake: the door. Admits or refuses calls, tokenizes them, gives them ids.
//   in   SubmitTo       answered by Accepted, or by the Error that the caller will see
//        Cancel         forwarded; ids that have ended are dropped here
//        RequestsEnded  from the scheduler: room again
//        Drain          from now on every call is refused with shutting_down
//   out  AdmitTo -> scheduler, after Accepted has been delivered: no token can overtake it
//   Detached in service: a long prompt keeps its thread busy for milliseconds.
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <unordered_map>

#include "actors/actor_support.hpp"
#include "actors/prepare.hpp"
#include "actors/spawn.hpp"

namespace tandem {
namespace {

struct IntakeState {
  static inline const char* name = "request_intake";
  IntakeOptions options;
  ServedModelPtr model;
  Scheduler scheduler;
  MetricsPtr metrics;
  std::unordered_map<RequestId, RequestClass> in_engine;
  std::uint64_t online = 0, flex = 0;
  std::uint64_t next_id = 1;
  std::uint64_t next_seed = 0;
  bool draining = false;
};
using Self = RequestIntake::stateful_pointer<IntakeState>;
using AcceptedReply = msg::Reply<msg::Accepted>;

/// splitmix64: a stream of seeds for calls that name none.
std::uint64_t draw_seed(IntakeState& state) {
  auto z = state.next_seed += 0x9e3779b97f4a7c15ULL;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

/// Bounds are checked on counts before anything is tokenized: refusing must be cheap.
std::optional<Error> refuse(IntakeState& state, const GenerateCall& call) {
  if (state.draining) {
    state.metrics->shed(Shed::draining);
    return error(Errc::shutting_down,
                 "the service is shutting down; send the request to another instance");
  }
  const bool online = call.request_class == RequestClass::online;
  const auto now_in = online ? state.online : state.flex;
  const auto bound = online ? state.options.max_online_requests : state.options.max_flex_requests;
  if (now_in + call.prompts.size() * call.n <= bound) return std::nullopt;
  state.metrics->shed(Shed::overloaded);
  return error(online ? Errc::overloaded : Errc::resource_unavailable,
               "the engine has " + std::to_string(now_in) + " of at most " + std::to_string(bound) +
                   " " + std::string(online ? "online" : "flex") + " requests; try again later");
}

AcceptedReply accept(Self self, const msg::SubmitTo& submit_to, std::vector<RequestPtr>& admitted) {
  auto& state = self->state;
  const auto& call = submit_to.submit.call;
  state.metrics->fields_ignored(submit_to.submit.ignored_fields);
  if (auto refusal = refuse(state, call)) return {*std::move(refusal)};
  auto prepared = prepare(call, *state.model, submit_to.submit.tenant, draw_seed(state));
  if (!prepared) {
    state.metrics->shed(Shed::invalid);
    return {prepared.error()};
  }
  msg::Accepted accepted;
  for (auto& request : prepared->requests) {
    request.id = RequestId(state.next_id++);
    request.arrival = now(self);
    accepted.choices.push_back({request.id,
                                Tokens(static_cast<std::int64_t>(request.prompt.size())),
                                prepared->prompt_end});
    state.in_engine.emplace(request.id, request.request_class);
    ++(request.request_class == RequestClass::online ? state.online : state.flex);
    admitted.push_back(std::make_shared<const Request>(std::move(request)));
  }
  state.metrics->call_accepted(call.n, call.max_tokens.value_or(Tokens(0)));
  spdlog::debug("call_accepted request_id={} class={} choices={} prompt_tokens={}",
                submit_to.submit.request_id, to_string(call.request_class), admitted.size(),
                accepted.choices.front().prompt_tokens.value());
  return {std::move(accepted)};
}

void forget(IntakeState& state, RequestId id) {
  const auto found = state.in_engine.find(id);
  if (found == state.in_engine.end()) return;
  --(found->second == RequestClass::online ? state.online : state.flex);
  state.in_engine.erase(found);
}

RequestIntake::behavior_type request_intake(Self self, const IntakeOptions& options,
                                            ServedModelPtr model, Scheduler scheduler,
                                            MetricsPtr metrics) {
  install_handlers(self);
  auto& state = self->state;
  state.options = options;
  state.model = std::move(model);
  state.scheduler = std::move(scheduler);
  state.metrics = std::move(metrics);
  state.next_seed = options.seed;
  return {
      [self](const msg::SubmitTo& submit_to) -> caf::typed_response_promise<AcceptedReply> {
        auto promise = self->make_response_promise<AcceptedReply>();
        std::vector<RequestPtr> admitted;
        promise.deliver(accept(self, submit_to, admitted));
        for (auto& request : admitted)
          self->send(self->state.scheduler, msg::AdmitTo{std::move(request), submit_to.sink});
        return promise;
      },
      [self](const msg::Cancel& cancel) {
        msg::Cancel live;
        for (const auto id : cancel.ids)
          if (self->state.in_engine.contains(id)) live.ids.push_back(id);
        if (!live.ids.empty()) self->send(self->state.scheduler, std::move(live));
      },
      [self](const msg::RequestsEnded& ended) {
        for (const auto id : ended.ids) forget(self->state, id);
      },
      [self](const msg::Drain&) { self->state.draining = true; },
  };
}

}  // namespace

RequestIntake spawn_request_intake(caf::actor_system& system, bool detached,
                                   const IntakeOptions& options, ServedModelPtr model,
                                   Scheduler scheduler, MetricsPtr metrics) {
  return spawn_actor(system, detached, request_intake, options, std::move(model),
                     std::move(scheduler), std::move(metrics));
}

}  // namespace tandem
