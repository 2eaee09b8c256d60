// POST /v1/completions, /v1/chat/completions and /v1/responses: one body parsed, one call
// submitted, its reply in one piece or as a stream.
#include <ctime>
#include <spdlog/spdlog.h>
#include <string>
#include <utility>
#include <vector>

#include "api/errors.hpp"
#include "api/format.hpp"
#include "api/responses_events.hpp"
#include "net/live_call.hpp"
#include "net/parse_limits.hpp"
#include "net/routes.hpp"
#include "net/sse.hpp"

namespace tandem::net {
namespace {

namespace asio = boost::asio;

void add_data(std::string& out, std::string_view json) {
  out.append("data: ").append(json).append("\n\n");
}

/// Chunks of completions and chat completions.
class ChunkWriter final : public SseWriter {
 public:
  ChunkWriter(const GenerateCall& call, const ServedModel& model)
      : call_(call), head_(api::new_reply_head(call, std::time(nullptr), model.fingerprint)) {}

  void add(const StreamedCall::Pending& pending, std::string& out) override {
    if (started_.size() <= pending.index) started_.resize(pending.index + 1, false);
    const bool first = !std::exchange(started_[pending.index], 1);
    const auto& delta = pending.delta;
    if (!first && delta.says_nothing()) return;
    add_data(out, api::stream_chunk(head_, call_, pending.index, delta, first));
  }
  void close(const StreamedCall& call, std::string& out) override {
    if (call_.include_usage) add_data(out, api::usage_chunk(head_, call_, call.usage()));
    add_data(out, "[DONE]");
  }
  void fail(const StreamedCall&, const Error& reason, std::string& out) override {
    add_data(out, api::error_body(reason));
  }

 private:
  const GenerateCall& call_;
  const api::ReplyHead head_;
  std::vector<char> started_;  ///< by choice
};

/// Events of the Responses API.
class EventWriter final : public SseWriter {
 public:
  EventWriter(const StreamedCall& call, const api::ResponseEcho& echo)
      : events_(call.call(), {}, std::time(nullptr), echo), only_message_(!call.is_taken_apart()) {}

  void add(const StreamedCall::Pending& pending, std::string& out) override {
    open(out);
    const auto& delta = pending.delta;
    for (const auto& event : events_.add(delta.parts, delta.logprobs)) add_event(out, event);
    if (delta.finish) finish_ = *delta.finish;
  }
  void close(const StreamedCall& call, std::string& out) override {
    open(out);
    for (const auto& event : events_.closing(finish_, call.usage(), nullptr)) add_event(out, event);
  }
  void fail(const StreamedCall& call, const Error& reason, std::string& out) override {
    open(out);
    const auto finish =
        reason.code == Errc::cancelled ? FinishReason::cancelled : FinishReason::failed;
    for (const auto& event : events_.closing(finish, call.usage(), &reason)) add_event(out, event);
  }
  [[nodiscard]] std::string final_object() const { return events_.final_object(); }

 private:
  void open(std::string& out) {
    if (std::exchange(opened_, true)) return;
    for (const auto& event : events_.opening(only_message_)) add_event(out, event);
  }
  static void add_event(std::string& out, std::string_view json) {
    // The event's own type is the last "type" of its text: what came from the client is before it.
    constexpr std::string_view key = "\"type\":\"";
    if (const auto at = json.rfind(std::string(key) + "response."); at != json.npos) {
      const auto type = json.substr(at + key.size());
      out.append("event: ").append(type.substr(0, type.find('"'))).append("\n");
    }
    add_data(out, json);
  }

  api::ResponseEvents events_;
  const bool only_message_;
  FinishReason finish_ = FinishReason::stop;
  bool opened_ = false;
};

/// The call in the body; answered already if there is none.
asio::awaitable<std::optional<api::ParsedCall>> read_call(Exchange& exchange, Endpoint endpoint) {
  const auto body = co_await exchange.read_body();
  if (!body) co_return std::nullopt;
  auto parsed = api::parse_call(endpoint, *body, parse_limits(exchange.services));
  if (!parsed) {
    exchange.fail(parsed.error());
    co_return std::nullopt;
  }
  for (const auto& name : parsed->ignored_fields)
    spdlog::debug("field_ignored request_id={} field={}", exchange.request_id, name);
  co_return std::move(*parsed);
}

/// Waits for the whole of `call`. False: answered already, or nobody is there to be answered.
asio::awaitable<bool> await_end(Exchange& exchange, const LiveCall& call) {
  const bool begun = co_await await_begin(exchange, call);
  if (!begun) co_return false;
  while (!call.done() && !call.error()) {
    if (exchange.connection->peer_gone()) co_return false;
    co_await exchange.connection->await_change(never);
  }
  if (call.error()) exchange.fail(*call.error());
  co_return !call.error();
}

asio::awaitable<void> reply_whole(Exchange& exchange, api::ParsedCall parsed) {
  CollectedCall call(exchange.services, std::move(parsed.call), exchange.connection->changed);
  call.submit(exchange.request_id, exchange.tenant, parsed.num_ignored);
  if (!co_await await_end(exchange, call)) co_return;
  const auto& collected = call.collected();
  if (collected.error()) co_return exchange.fail(*collected.error());
  if (collected.cancelled())
    co_return exchange.fail(error(Errc::cancelled, "the request was cancelled"));
  const auto& fingerprint = exchange.services.model->fingerprint;
  exchange.reply_json(api::reply_body(
      api::new_reply_head(call.call(), std::time(nullptr), fingerprint), collected));
}

asio::awaitable<void> reply_stream(Exchange& exchange, api::ParsedCall parsed) {
  StreamedCall call(exchange.services, std::move(parsed.call), exchange.connection->changed);
  ChunkWriter writer(call.call(), *exchange.services.model);
  call.submit(exchange.request_id, exchange.tenant, parsed.num_ignored);
  co_await stream_reply(exchange, call, writer);
}

asio::awaitable<void> answer(Exchange& exchange, Endpoint endpoint) {
  auto parsed = co_await read_call(exchange, endpoint);
  if (!parsed) co_return;
  if (parsed->call.stream)
    co_await reply_stream(exchange, std::move(*parsed));
  else
    co_await reply_whole(exchange, std::move(*parsed));
}

/// A response in one piece is its event stream with all but the final object left out.
asio::awaitable<void> reply_whole_response(Exchange& exchange, StreamedCall& call,
                                           EventWriter& writer) {
  call.merge(true);
  if (!co_await await_end(exchange, call)) co_return;
  std::string events;
  while (call.has_pending()) {
    const auto pending = call.take_pending();
    if (pending.delta.finish == FinishReason::failed)
      co_return exchange.fail(
          pending.delta.error.value_or(error(Errc::internal, "the engine failed")));
    writer.add(pending, events);
  }
  writer.close(call, events);
  exchange.reply_json(writer.final_object());
}

}  // namespace

asio::awaitable<void> post_completions(Exchange& exchange) {
  return answer(exchange, Endpoint::completions);
}

asio::awaitable<void> post_chat_completions(Exchange& exchange) {
  return answer(exchange, Endpoint::chat_completions);
}

asio::awaitable<void> post_responses(Exchange& exchange) {
  auto parsed = co_await read_call(exchange, Endpoint::responses);
  if (!parsed) co_return;
  if (parsed->resumable)
    co_return exchange.fail(
        error(Errc::unsupported, "'resumable' is for response.create on a WebSocket", "resumable"));
  const bool stream = parsed->call.stream;
  StreamedCall call(exchange.services, std::move(parsed->call), exchange.connection->changed);
  EventWriter writer(call, parsed->echo);
  call.submit(exchange.request_id, exchange.tenant, parsed->num_ignored);
  if (stream)
    co_await stream_reply(exchange, call, writer);
  else
    co_await reply_whole_response(exchange, call, writer);
}

asio::awaitable<void> get_responses(Exchange& exchange) {
  exchange.fail(426, Errc::invalid_value,
                "responses are not stored; GET here is for WebSocket upgrades",
                {{"Upgrade", "websocket"}});
  co_return;
}

}  // namespace tandem::net
