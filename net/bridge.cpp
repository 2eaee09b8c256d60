#include "net/bridge.hpp"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <caf/scoped_actor.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <functional>
#include <optional>
#include <unordered_map>

#include "actors/actor_support.hpp"
#include "net/server.hpp"
#include "net/signal.hpp"

namespace tandem::net {

struct BridgeContext;
/// Work for the bridge actor: what must be asked in its name.
struct BridgeJob {
  std::function<void(BridgeContext&)> run;
};

}  // namespace tandem::net

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(tandem::net::BridgeJob)

namespace tandem::net {
namespace {

namespace asio = boost::asio;
using BridgeActor = TokenSink::extend<caf::reacts_to<BridgeJob>>;

struct BridgeState {
  static inline const char* name = "bridge";
};
using Self = BridgeActor::stateful_pointer<BridgeState>;
using IoPtr = std::shared_ptr<asio::io_context>;

Error unreachable(std::string_view who) {
  return error(Errc::internal, "the " + std::string(who) + " has stopped; see the service's log");
}
Error closed() {
  return error(Errc::shutting_down,
               "the service is shutting down; send the request to another instance");
}

}  // namespace

struct BridgeContext {
  Self self;
};

/// Everything the io thread knows of who waits for what.
struct Bridge::Hub {
  struct Call {
    TokenListener* listener = nullptr;  ///< null: left before it was accepted
    bool accepted = false;
    std::vector<RequestId> live;
  };
  struct Waiting {
    virtual ~Waiting() = default;
    virtual void fail(const Error& reason) = 0;
  };
  template <class T>
  struct WaitingFor final : Waiting {
    explicit WaitingFor(asio::io_context& io) : done(io) {}
    void fail(const Error& reason) override { answer(reason); }
    void answer(Result<T> result) {
      if (!value) value.emplace(std::move(result));
      done.raise();
    }
    std::optional<Result<T>> value;
    Signal done;
  };

  caf::actor_system& system;
  IoPtr io;
  RequestIntake intake;
  OfflineQueue queue;
  BridgeActor actor;

  bool is_closed = false, intake_down = false, queue_down = false;
  std::uint64_t next_ticket = 1;
  std::unordered_map<std::uint64_t, Call> calls;
  std::unordered_map<RequestId, std::uint64_t> call_of;
  std::unordered_map<std::uint64_t, std::shared_ptr<Waiting>> waiting;
  std::unordered_map<std::uint64_t, TextQuestion*> questions;

  Hub(caf::actor_system& actor_system, IoPtr context, const ServerParts& parts)
      : system(actor_system), io(std::move(context)), intake(parts.intake), queue(parts.queue) {}

  void run_in_actor(std::function<void(BridgeContext&)> job) {
    caf::anon_send(actor, BridgeJob{std::move(job)});
  }

  void accepted(std::uint64_t ticket, const msg::Accepted& accepted);
  void refused(std::uint64_t ticket, const Error& reason);
  void deliver(const std::vector<TokenEvent>& events);
  void leave(std::uint64_t ticket);
  void abandon(std::uint64_t ticket);
  void answer_question(std::uint64_t ticket, Result<msg::TextBody> body);
  void cancel(std::vector<RequestId> ids);
  void fail_calls(const Error& reason);
  void fail_waiting(const Error& reason);
  void actor_down(bool is_intake);
  void bridge_down();
};

void Bridge::Hub::accepted(std::uint64_t ticket, const msg::Accepted& accepted) {
  const auto found = calls.find(ticket);
  if (found == calls.end()) return;
  auto& call = found->second;
  std::vector<RequestId> ids;
  for (const auto& choice : accepted.choices) ids.push_back(choice.id);
  if (call.listener == nullptr) {
    calls.erase(found);
    cancel(std::move(ids));
    return;
  }
  call.accepted = true;
  for (const auto id : ids) call_of.emplace(id, ticket);
  call.live = std::move(ids);
  call.listener->on_accepted(accepted);
}

void Bridge::Hub::refused(std::uint64_t ticket, const Error& reason) {
  const auto found = calls.find(ticket);
  if (found == calls.end()) return;
  auto* listener = found->second.listener;
  calls.erase(found);
  if (listener) listener->on_refused(reason);
}

void Bridge::Hub::deliver(const std::vector<TokenEvent>& events) {
  // A listener may leave while it is told something, so calls are looked up anew each time.
  std::vector<std::uint64_t> touched;
  for (const auto& event : events) {
    const auto at = call_of.find(event.id);
    if (at == call_of.end()) continue;  // its call has left
    const auto ticket = at->second;
    auto& call = calls.at(ticket);
    if (event.finish) {
      std::erase(call.live, event.id);
      call_of.erase(at);
    }
    if (touched.empty() || touched.back() != ticket) touched.push_back(ticket);
    call.listener->on_event(event);
  }
  std::sort(touched.begin(), touched.end());
  touched.erase(std::unique(touched.begin(), touched.end()), touched.end());
  for (const auto ticket : touched)
    if (const auto call = calls.find(ticket); call != calls.end())
      call->second.listener->on_delivered();
}

void Bridge::Hub::leave(std::uint64_t ticket) {
  const auto found = calls.find(ticket);
  if (found == calls.end()) return;
  auto& call = found->second;
  if (!call.accepted && !is_closed && !intake_down) {
    call.listener = nullptr;
    return abandon(ticket);
  }
  auto ids = std::move(call.live);
  for (const auto id : ids) call_of.erase(id);
  calls.erase(found);
  cancel(std::move(ids));
}

/// By the same road as the call, which it must not overtake.
void Bridge::Hub::abandon(std::uint64_t ticket) {
  run_in_actor([to = intake, ticket](BridgeContext& context) {
    context.self->send(to, msg::Abandon{ticket, TokenSink(context.self)});
  });
}

void Bridge::Hub::answer_question(std::uint64_t ticket, Result<msg::TextBody> body) {
  const auto question = questions.extract(ticket);
  if (question.empty()) return;  // has left
  question.mapped()->answer_ = std::move(body);
  question.mapped()->wake_.raise();
}

void Bridge::Hub::cancel(std::vector<RequestId> ids) {
  if (!ids.empty()) caf::anon_send(intake, msg::Cancel{std::move(ids)});
}

void Bridge::Hub::fail_calls(const Error& reason) {
  const auto failing = std::move(calls);
  calls.clear();
  call_of.clear();
  std::vector<RequestId> ids;
  for (const auto& [ticket, call] : failing) {
    ids.insert(ids.end(), call.live.begin(), call.live.end());
    if (call.listener) call.listener->on_failed(reason);
  }
  cancel(std::move(ids));
  while (!questions.empty()) answer_question(questions.begin()->first, reason);
}

void Bridge::Hub::fail_waiting(const Error& reason) {
  const auto failing = std::move(waiting);
  waiting.clear();
  for (const auto& [ticket, one] : failing) one->fail(reason);
}

void Bridge::Hub::actor_down(bool is_intake) {
  if (is_closed) return;
  spdlog::error("front_actor_down actor={}", is_intake ? "request_intake" : "offline_queue");
  (is_intake ? intake_down : queue_down) = true;
  if (is_intake)
    fail_calls(unreachable("request intake"));
  else
    fail_waiting(unreachable("offline queue"));
}

/// Only a bug, or memory running out, ends the bridge before stop().
void Bridge::Hub::bridge_down() {
  if (is_closed) return;
  spdlog::error("front_actor_down actor=bridge");
  intake_down = queue_down = true;
  fail_calls(unreachable("bridge"));
  fail_waiting(unreachable("bridge"));
}

namespace {

BridgeActor::behavior_type bridge_actor(Self self, Bridge::Hub* hub, IoPtr io,
                                        caf::actor_addr intake, caf::actor_addr queue) {
  install_handlers(self);
  // After stop() the io_context runs no more, and what is posted is never looked at.
  self->attach_functor([hub, io] { asio::post(*io, [hub] { hub->bridge_down(); }); });
  self->monitor(intake);
  self->monitor(queue);
  self->set_down_handler([hub, io, intake](const caf::down_msg& down) {
    asio::post(*io, [hub, is_intake = down.source == intake] { hub->actor_down(is_intake); });
  });
  return {
      [hub, io](const msg::TokensEmitted& emitted) {
        asio::post(*io, [hub, events = emitted.events] { hub->deliver(*events); });
      },
      [self](const BridgeJob& job) {
        BridgeContext context{self};
        job.run(context);
      },
  };
}

}  // namespace

Bridge::Bridge(caf::actor_system& system, IoPtr io, const ServerParts& parts)
    : hub_(std::make_unique<Hub>(system, std::move(io), parts)) {
  hub_->actor = system.spawn(bridge_actor, hub_.get(), hub_->io, hub_->intake.address(),
                             hub_->queue.address());
}

Bridge::~Bridge() { stop(); }

std::unique_ptr<Bridge::Subscription> Bridge::submit(msg::Submit call, TokenListener& listener) {
  const auto ticket = hub_->next_ticket++;
  call.ticket = ticket;
  hub_->calls.emplace(ticket, Hub::Call{.listener = &listener});
  auto subscription = std::make_unique<Subscription>(*hub_, ticket);
  if (hub_->is_closed || hub_->intake_down) {
    // Not before the caller has its subscription.
    asio::post(*hub_->io, [hub = hub_.get(), ticket] {
      hub->refused(ticket, hub->is_closed ? closed() : unreachable("request intake"));
    });
    return subscription;
  }
  hub_->run_in_actor([hub = hub_.get(), io = hub_->io, intake = hub_->intake, ticket,
                      call = std::move(call)](BridgeContext& context) {
    auto self = context.self;
    self->request(intake, caf::infinite, msg::SubmitTo{call, TokenSink(self)})
        .then(
            [=](const msg::Reply<msg::Accepted>& reply) {
              asio::post(*io, [hub, ticket, reply] {
                if (reply.value)
                  hub->accepted(ticket, *reply.value);
                else
                  hub->refused(ticket, reply.value.error());
              });
            },
            [=](const caf::error&) {
              asio::post(*io,
                         [hub, ticket] { hub->refused(ticket, unreachable("request intake")); });
            });
  });
  return subscription;
}

std::unique_ptr<Bridge::TextQuestion> Bridge::ask(TextCallPtr call, std::uint32_t ignored_fields,
                                                  Signal& wake) {
  const auto ticket = hub_->next_ticket++;
  auto question = std::make_unique<TextQuestion>(*hub_, ticket, wake);
  hub_->questions.emplace(ticket, question.get());
  if (hub_->is_closed || hub_->intake_down) {
    hub_->answer_question(ticket, hub_->is_closed ? closed() : unreachable("request intake"));
    return question;
  }
  const auto answer = [hub = hub_.get(), io = hub_->io, ticket](Result<msg::TextBody> body) {
    asio::post(*io, [hub, ticket, body = std::move(body)] { hub->answer_question(ticket, body); });
  };
  hub_->run_in_actor([=, intake = hub_->intake, call = std::move(call)](BridgeContext& context) {
    context.self
        ->request(intake, caf::infinite,
                  msg::AskText{call, ignored_fields, ticket, TokenSink(context.self)})
        .then([answer](const msg::Reply<msg::TextBody>& reply) { answer(reply.value); },
              [answer](const caf::error&) { answer(unreachable("request intake")); });
  });
  return question;
}

template <class T, class M>
Bridge::Answer<T> Bridge::ask_queue(M message, SteadyTime deadline) {
  auto* hub = hub_.get();
  if (hub->is_closed) co_return closed();
  if (hub->queue_down) co_return unreachable("offline queue");
  const auto ticket = hub->next_ticket++;
  auto waiting = std::make_shared<Hub::WaitingFor<T>>(*hub->io);
  hub->waiting.emplace(ticket, waiting);
  const auto answer = [hub, io = hub->io, ticket](Result<T> result) {
    asio::post(*io, [hub, ticket, result = std::move(result)]() mutable {
      const auto found = hub->waiting.find(ticket);
      if (found == hub->waiting.end()) return;
      static_cast<Hub::WaitingFor<T>&>(*found->second).answer(std::move(result));
      hub->waiting.erase(found);
    });
  };
  hub->run_in_actor([answer, queue = hub->queue, message](BridgeContext& context) {
    context.self->request(queue, caf::infinite, message)
        .then([answer](const msg::Reply<T>& reply) { answer(reply.value); },
              [answer](const caf::error&) { answer(unreachable("offline queue")); });
  });
  while (!waiting->value) {
    if (std::chrono::steady_clock::now() >= deadline) {
      hub->waiting.erase(ticket);
      co_return error(Errc::storage_failed, "the offline queue does not answer");
    }
    co_await waiting->done.wait(deadline);
  }
  co_return std::move(*waiting->value);
}

Bridge::Answer<msg::UploadPath> Bridge::ask(msg::NewUpload message) {
  return ask_queue<msg::UploadPath>(message);
}
Bridge::Answer<store::FileInfo> Bridge::ask(msg::AddFile message) {
  return ask_queue<store::FileInfo>(std::move(message));
}
Bridge::Answer<msg::FilePage> Bridge::ask(msg::ListFiles message) {
  return ask_queue<msg::FilePage>(std::move(message));
}
Bridge::Answer<msg::FileOnDisk> Bridge::ask(msg::GetFile message) {
  return ask_queue<msg::FileOnDisk>(std::move(message));
}
Bridge::Answer<msg::Nothing> Bridge::ask(msg::RemoveFile message) {
  return ask_queue<msg::Nothing>(std::move(message));
}
Bridge::Answer<store::BatchInfo> Bridge::ask(msg::CreateBatch message) {
  return ask_queue<store::BatchInfo>(std::move(message));
}
Bridge::Answer<store::BatchInfo> Bridge::ask(msg::GetBatch message) {
  return ask_queue<store::BatchInfo>(std::move(message));
}
Bridge::Answer<msg::BatchPage> Bridge::ask(msg::ListBatches message) {
  return ask_queue<msg::BatchPage>(std::move(message));
}
Bridge::Answer<store::BatchInfo> Bridge::ask(msg::CancelBatch message) {
  return ask_queue<store::BatchInfo>(std::move(message));
}
Bridge::Answer<msg::Nothing> Bridge::ask(msg::ProbeStore message,
                                         std::chrono::milliseconds patience) {
  return ask_queue<msg::Nothing>(message, std::chrono::steady_clock::now() + patience);
}

void Bridge::close() {
  hub_->is_closed = true;
  hub_->fail_calls(closed());
  hub_->fail_waiting(closed());
}

void Bridge::stop() {
  if (!hub_->actor) return;
  caf::anon_send_exit(hub_->actor, caf::exit_reason::user_shutdown);
  {
    caf::scoped_actor waiter{hub_->system};
    waiter->wait_for(hub_->actor);
  }
  hub_->actor = nullptr;
  hub_->intake = nullptr;
  hub_->queue = nullptr;
}

Bridge::Subscription::~Subscription() { hub_.leave(ticket_); }

Bridge::TextQuestion::~TextQuestion() {
  if (hub_.questions.erase(ticket_) > 0 && !hub_.is_closed && !hub_.intake_down)
    hub_.abandon(ticket_);
}

void Bridge::Subscription::cancel(std::vector<RequestId> ids) {
  const auto call = hub_.calls.find(ticket_);
  if (call == hub_.calls.end()) return;
  std::erase_if(ids, [&](RequestId id) {
    return std::find(call->second.live.begin(), call->second.live.end(), id) ==
           call->second.live.end();
  });
  hub_.cancel(std::move(ids));
}

}  // namespace tandem::net
