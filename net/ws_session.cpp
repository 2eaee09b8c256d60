// The Responses protocol (net/lanes.hpp) over a WebSocket: one coroutine reads, one writes. The
// reader's end is the connection's end, and cancels its responses, except what may be resumed.
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/websocket/stream.hpp>
#include <deque>
#include <optional>
#include <spdlog/spdlog.h>

#include "net/lanes.hpp"
#include "net/sessions.hpp"

namespace tandem::net {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
namespace websocket = boost::beast::websocket;
using asio::ip::tcp;
using boost::system::error_code;
using std::chrono::steady_clock;

http::request<http::empty_body> upgrade_request(const RequestHead& head) {
  http::request<http::empty_body> request{http::verb::get, head.path, 11};
  for (const auto& [name, value] : head.fields) request.insert(name, value);
  return request;
}

class WsSession final : public Session, public std::enable_shared_from_this<WsSession> {
 public:
  WsSession(Services& services, tcp::socket socket, Caller caller)
      : services_(services),
        id_(caller.request_id),
        trace_(caller.trace),
        stream_(std::move(socket)),
        changed_(services.io),
        lanes_(std::in_place, services, std::move(caller), changed_) {
    services_.sessions.insert(this);
  }
  ~WsSession() { services_.sessions.erase(this); }
  WsSession(const WsSession&) = delete;
  WsSession& operator=(const WsSession&) = delete;

  asio::awaitable<void> run(const RequestHead& head);
  void drain() override {
    if (lanes_) lanes_->close();
    draining_ = true;
    changed_.raise();
  }
  void abort() override {
    error_code ignored;
    stream_.next_layer().close(ignored);
    changed_.raise();
  }

 private:
  asio::awaitable<bool> accept(const RequestHead& head);
  asio::awaitable<void> read_messages();
  asio::awaitable<void> write_messages();
  void start_writing();
  void close(websocket::close_code code, std::string_view reason);
  [[nodiscard]] bool over() const { return !lanes_ || closing_; }
  [[nodiscard]] bool too_slow() const;

  Services& services_;
  const std::string id_;
  const std::optional<api::TraceContext> trace_;
  websocket::stream<tcp::socket, false> stream_;  ///< without permessage-deflate
  Signal changed_;
  std::optional<Lanes> lanes_;        ///< none: the connection has ended
  std::deque<std::string> frames_;    ///< the first one is on its way if `writing_`
  std::optional<ActiveCall> active_;  ///< while `frames_` holds something
  SteadyTime last_progress_{};
  bool writing_ = false, draining_ = false, closing_ = false;
};

asio::awaitable<bool> WsSession::accept(const RequestHead& head) {
  const auto& options = services_.options;
  websocket::stream_base::timeout timeouts{};
  timeouts.handshake_timeout = options.read_timeout;
  timeouts.idle_timeout = 2 * options.websocket_ping;  // Beast pings at its half
  timeouts.keep_alive_pings = true;
  stream_.set_option(timeouts);
  stream_.set_option(websocket::stream_base::decorator(
      [id = id_, trace = trace_](websocket::response_type& response) {
        response.set("X-Request-Id", id);
        if (trace) response.set("Traceparent", trace->header());
      }));
  stream_.read_message_max(options.max_body_bytes);
  stream_.auto_fragment(false);
  stream_.write_buffer_bytes(1024);
  stream_.text(true);
  error_code failed;
  const auto request = upgrade_request(head);
  co_await stream_.async_accept(request, asio::redirect_error(asio::use_awaitable, failed));
  co_return !failed;
}

asio::awaitable<void> WsSession::run(const RequestHead& head) {
  const auto self = shared_from_this();
  if (!co_await accept(head)) co_return;
  spdlog::debug("websocket_opened request_id={} trace_id={}", id_, api::trace_id_of(trace_));
  asio::co_spawn(
      services_.io, [self] { return self->write_messages(); },
      [self](const std::exception_ptr& thrown) {
        if (thrown) self->abort();
      });
  co_await read_messages();
  lanes_.reset();  // cancels what still runs and is not resumable
  changed_.raise();
  spdlog::debug("websocket_closed request_id={}", id_);
}

asio::awaitable<void> WsSession::read_messages() {
  beast::flat_buffer message;
  for (;;) {
    error_code failed;
    co_await stream_.async_read(message, asio::redirect_error(asio::use_awaitable, failed));
    if (failed) co_return;
    if (closing_) {
      // What arrives after our close is not for us; Beast answers the close itself.
    } else if (!stream_.got_text()) {
      close(websocket::close_code::unknown_data, "only text messages are understood");
    } else {
      const auto data = message.cdata();
      lanes_->receive({static_cast<const char*>(data.data()), data.size()});
    }
    message.consume(message.size());
    if (message.capacity() > (64 << 10)) message.shrink_to_fit();
  }
}

/// What is in `frames_` is bounded by how they are filled; what waits behind them is not.
bool WsSession::too_slow() const {
  return lanes_->pending_bytes() > services_.options.max_unsent_bytes;
}

void WsSession::close(websocket::close_code code, std::string_view reason) {
  if (closing_) return;
  closing_ = true;
  lanes_->close();
  stream_.async_close({code, beast::string_view(reason.data(), reason.size())},
                      [self = shared_from_this()](error_code failed) {
                        if (failed) self->abort();
                      });
  changed_.raise();
}

asio::awaitable<void> WsSession::write_messages() {
  const auto end_of_life = steady_clock::now() + services_.options.websocket_lifetime;
  while (!over()) {
    if (steady_clock::now() >= end_of_life) drain();
    // Beyond this many bytes deltas wait and merge; what even that does not keep small is cut off.
    lanes_->write(frames_, services_.options.merge_above_bytes);
    if (writing_ && steady_clock::now() >= last_progress_ + services_.options.write_timeout)
      co_return abort();
    if (too_slow()) {
      if (writing_) co_return abort();
      close(lanes_->resumable() ? websocket::close_code::try_again_later
                                : websocket::close_code::policy_error,
            "too much is left unread");
      lanes_.reset();  // the engine does not wait for the closing handshake
    } else if (!writing_ && !frames_.empty()) {
      start_writing();
    } else if (!writing_ && draining_ && lanes_->idle()) {
      close(websocket::close_code::going_away, "the connection's time or the service ends");
    } else {
      auto deadline = std::min(lanes_->next_deadline(), draining_ ? never : end_of_life);
      if (writing_)
        deadline = std::min<SteadyTime>(deadline, last_progress_ + services_.options.write_timeout);
      co_await changed_.wait(deadline);
    }
  }
}

/// One message per frame of the queue; each end starts the next.
void WsSession::start_writing() {
  writing_ = true;
  if (!active_) active_.emplace(services_);
  last_progress_ = steady_clock::now();
  stream_.async_write(asio::buffer(frames_.front()),
                      [self = shared_from_this()](error_code failed, std::size_t) {
                        self->writing_ = false;
                        self->frames_.pop_front();
                        if (!failed && !self->over() && !self->frames_.empty())
                          self->start_writing();
                        else
                          self->active_.reset();
                        self->changed_.raise();
                      });
}

}  // namespace

asio::awaitable<void> serve_websocket(Services& services, tcp::socket socket, RequestHead head,
                                      Caller caller) {
  const auto session = std::make_shared<WsSession>(services, std::move(socket), std::move(caller));
  co_await session->run(head);
}

}  // namespace tandem::net
