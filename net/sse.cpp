#include "net/sse.hpp"

#include <algorithm>
#include <optional>

namespace tandem::net {
namespace {

namespace asio = boost::asio;
using std::chrono::steady_clock;

/// A delta that ended its choice badly: the error that the client is to see.
std::optional<Error> failure_of(const api::Delta& delta) {
  if (delta.finish == FinishReason::failed)
    return delta.error.value_or(error(Errc::internal, "the engine failed"));
  if (delta.finish == FinishReason::cancelled)
    return error(Errc::cancelled, "the request was cancelled");
  return std::nullopt;
}

class SseStream {
 public:
  SseStream(Exchange& exchange, StreamedCall& call, SseWriter& writer)
      : exchange_(exchange),
        connection_(*exchange.connection),
        options_(exchange.services.options),
        call_(call),
        writer_(writer) {}

  asio::awaitable<void> run();

 private:
  void write_pending();
  void end_with(const Error& reason);
  void ping_if_due();
  [[nodiscard]] bool too_slow() const;
  [[nodiscard]] SteadyTime next_deadline() const;

  Exchange& exchange_;
  Connection& connection_;
  const ServerOptions& options_;
  StreamedCall& call_;
  SseWriter& writer_;
  SteadyTime last_event_ = steady_clock::now();
  bool ended_ = false;
};

/// Writes deltas out while the connection takes them; what stays is merged from now on.
void SseStream::write_pending() {
  std::string events;
  while (call_.has_pending() && !ended_ &&
         connection_.unsent_bytes() + events.size() <= options_.merge_above_bytes) {
    const auto next = call_.take_pending();
    if (const auto failed = failure_of(next.delta)) {
      exchange_.stream(events);
      events.clear();
      end_with(*failed);
    } else {
      writer_.add(next, events);
    }
  }
  if (!events.empty()) last_event_ = steady_clock::now();
  exchange_.stream(events);
  call_.merge(call_.has_pending());
}

/// The stream is left without its end: nobody can take it for complete.
void SseStream::end_with(const Error& reason) {
  std::string event;
  writer_.fail(call_, reason, event);
  exchange_.stream(event);
  exchange_.close_after();
  ended_ = true;
}

bool SseStream::too_slow() const {
  const auto unsent = connection_.unsent_bytes();
  if (unsent + call_.pending_bytes() > options_.max_unsent_bytes) return true;
  return unsent > 0 && steady_clock::now() >= connection_.last_progress() + options_.write_timeout;
}

void SseStream::ping_if_due() {
  if (connection_.unsent_bytes() > 0 || steady_clock::now() < last_event_ + options_.sse_ping)
    return;
  exchange_.stream(": ping\n\n");
  last_event_ = steady_clock::now();
}

SteadyTime SseStream::next_deadline() const {
  if (connection_.unsent_bytes() > 0) return connection_.last_progress() + options_.write_timeout;
  return last_event_ + options_.sse_ping;
}

asio::awaitable<void> SseStream::run() {
  exchange_.begin_stream("text/event-stream",
                         {{"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}});
  for (;;) {
    write_pending();
    if (ended_) co_return;
    if (call_.error()) co_return end_with(*call_.error());
    if (call_.done() && !call_.has_pending()) break;
    ping_if_due();
    if (too_slow()) connection_.abort();
    if (connection_.peer_gone()) co_return;
    co_await connection_.await_change(next_deadline());
  }
  std::string events;
  writer_.close(call_, events);
  exchange_.stream(events);
  exchange_.end_stream();
}

}  // namespace

asio::awaitable<bool> await_begin(Exchange& exchange, const LiveCall& call) {
  const bool flex = call.call().request_class == RequestClass::offline;
  const auto& options = exchange.services.options;
  const auto deadline = flex ? steady_clock::now() + options.flex_wait : never;
  while (!call.begun() && !call.error()) {
    if (exchange.connection->peer_gone()) co_return false;
    if (steady_clock::now() >= deadline) {
      exchange.fail(error(Errc::resource_unavailable,
                          "no capacity for a flex request within its wait; try again later, or "
                          "with service_tier 'default'"));
      co_return false;
    }
    co_await exchange.connection->await_change(deadline);
  }
  if (!call.error()) co_return true;
  exchange.fail(*call.error());
  co_return false;
}

asio::awaitable<void> stream_reply(Exchange& exchange, StreamedCall& call, SseWriter& writer) {
  if (!co_await await_begin(exchange, call)) co_return;
  // What fails before the first byte gets a status of its own.
  if (call.has_pending())
    if (const auto failed = failure_of(call.front_pending().delta)) {
      exchange.fail(*failed);
      co_return;
    }
  SseStream stream(exchange, call, writer);
  co_await stream.run();
}

}  // namespace tandem::net
