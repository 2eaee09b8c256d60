// See http_client.hpp.
#include "cli/client/http_client.hpp"

#include <array>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/websocket.hpp>
#include <deque>
#include <optional>

namespace tandem::client {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;
using boost::system::error_code;

constexpr std::size_t max_idle_connections = 256;
constexpr std::uint64_t max_body_bytes = 2ULL << 30;
constexpr std::uint64_t max_message_bytes = 64ULL << 20;
constexpr auto connect_timeout = std::chrono::seconds(10);

auto into(error_code& failure) { return asio::redirect_error(asio::use_awaitable, failure); }

Error failed(const std::string& what, const Url& url, const error_code& reason) {
  return error(Errc::resource_unavailable, what + " " + url.authority() + ": " + reason.message(),
               "url");
}

asio::awaitable<void> connect(beast::tcp_stream& stream, const Url& url, error_code& failure) {
  tcp::resolver resolver(stream.get_executor());
  const auto found = co_await resolver.async_resolve(url.host, url.port, into(failure));
  if (failure) co_return;
  stream.expires_after(connect_timeout);
  co_await stream.async_connect(found, into(failure));
  if (failure) co_return;
  error_code ignored;
  stream.socket().set_option(tcp::no_delay(true), ignored);
}

}  // namespace

struct EventLoop::State {
  asio::io_context io{1};
  asio::executor_work_guard<asio::io_context::executor_type> work{io.get_executor()};
  asio::signal_set signals{io};
  std::function<void(int)> on_signal;

  void wait_for_signal() {
    signals.async_wait([this](error_code failure, int number) {
      if (failure) return;
      on_signal(number);
      wait_for_signal();
    });
  }
};

EventLoop::EventLoop() : state_(std::make_unique<State>()) {}
EventLoop::~EventLoop() = default;
void EventLoop::run() {
  state_->io.restart();
  state_->io.run();
}
void EventLoop::stop() { state_->io.stop(); }
void EventLoop::post(std::function<void()> what) { asio::post(state_->io, std::move(what)); }

void EventLoop::at(Clock::time_point when, std::function<void()> what) {
  auto timer = std::make_shared<asio::steady_timer>(state_->io, when);
  timer->async_wait([timer, what = std::move(what)](error_code failure) {
    if (!failure) what();
  });
}

void EventLoop::on_signals(std::initializer_list<int> signals, std::function<void(int)> what) {
  state_->on_signal = std::move(what);
  for (const int number : signals) {
    error_code ignored;
    state_->signals.add(number, ignored);
  }
  state_->wait_for_signal();
}

// ---- HTTP ----

struct HttpClient::State {
  asio::io_context& io;
  Url url;
  std::vector<std::unique_ptr<beast::tcp_stream>> idle;
};

namespace {

using StatePtr = std::shared_ptr<HttpClient::State>;

/// One request on one connection. `answered`: a byte of the response came, so it is not repeated.
struct Exchange {
  HttpClient::State& state;
  beast::tcp_stream& stream;
  const HttpRequest& request;
  const HttpClient::OnData& on_data;
  Clock::time_point deadline;
  HttpResponse response;
  error_code failure;
  bool answered = false;
  bool keep = false;

  asio::awaitable<void> run();
  asio::awaitable<void> write();
  asio::awaitable<void> read();
};

asio::awaitable<void> Exchange::write() {
  http::request<http::string_body> message;
  message.method_string(request.method);
  message.target(state.url.prefix + request.target);
  message.version(11);
  message.set(http::field::host, state.url.authority());
  message.set(http::field::user_agent, "tandem-client");
  if (!state.url.api_key.empty())
    message.set(http::field::authorization, "Bearer " + state.url.api_key);
  if (!request.body.empty()) message.set(http::field::content_type, request.content_type);
  message.body() = request.body;
  message.prepare_payload();
  co_await http::async_write(stream, message, into(failure));
}

asio::awaitable<void> Exchange::read() {
  beast::flat_buffer buffer;
  http::response_parser<http::buffer_body> parser;
  parser.body_limit(max_body_bytes);
  co_await http::async_read_header(stream, buffer, parser, into(failure));
  answered = parser.got_some();
  if (failure) co_return;
  response.status = parser.get().result_int();
  const bool streamed = on_data && response.status == 200;
  std::array<char, 16384> piece;
  while (!parser.is_done()) {
    parser.get().body().data = piece.data();
    parser.get().body().size = piece.size();
    co_await http::async_read_some(stream, buffer, parser, into(failure));
    if (failure == http::error::need_buffer) failure = {};
    const std::string_view data(piece.data(), piece.size() - parser.get().body().size);
    if (streamed && !data.empty())
      on_data(data);
    else
      response.body.append(data);
    if (failure) co_return;
  }
  keep = parser.keep_alive() && buffer.size() == 0;
}

asio::awaitable<void> Exchange::run() {
  stream.expires_at(deadline);
  co_await write();
  // A refusal may come before the whole body was taken; it is worth reading.
  const auto write_failure = failure;
  if (!failure || !request.body.empty()) {
    failure = {};
    co_await read();
  }
  if (failure && write_failure) failure = write_failure;
}

asio::awaitable<Result<HttpResponse>> exchange(StatePtr state, const HttpRequest& request,
                                               const HttpClient::OnData& on_data) {
  const auto deadline = Clock::now() + request.timeout;
  for (;;) {
    std::unique_ptr<beast::tcp_stream> stream;
    const bool reused = !state->idle.empty();
    if (reused) {
      stream = std::move(state->idle.back());
      state->idle.pop_back();
    } else {
      stream = std::make_unique<beast::tcp_stream>(state->io);
      error_code failure;
      co_await connect(*stream, state->url, failure);
      if (failure) co_return failed("cannot connect to", state->url, failure);
    }
    Exchange one{*state, *stream, request, on_data, deadline, {}, {}};
    co_await one.run();
    // The service may have closed an idle connection just now: once more on a fresh one.
    if (one.failure && reused && !one.answered && Clock::now() < deadline) continue;
    if (one.failure)
      co_return failed(request.method + " " + request.target + " at", state->url, one.failure);
    if (one.keep && state->idle.size() < max_idle_connections)
      state->idle.push_back(std::move(stream));
    co_return std::move(one.response);
  }
}

asio::awaitable<void> run_request(StatePtr state, HttpRequest request, HttpClient::OnData on_data,
                                  HttpClient::OnEnd on_end) {
  on_end(co_await exchange(state, request, on_data));
}

}  // namespace

HttpClient::HttpClient(EventLoop& loop, Url url)
    : state_(std::make_shared<State>(State{loop.state().io, std::move(url), {}})) {}
HttpClient::~HttpClient() = default;
const Url& HttpClient::url() const { return state_->url; }

void HttpClient::send(HttpRequest request, OnData on_data, OnEnd on_end) {
  asio::co_spawn(state_->io,
                 run_request(state_, std::move(request), std::move(on_data), std::move(on_end)),
                 asio::detached);
}

Result<HttpResponse> call(const Url& url, HttpRequest request) {
  EventLoop loop;
  HttpClient client(loop, url);
  Result<HttpResponse> result = error(Errc::internal, "no answer");
  client.send(std::move(request), {}, [&](Result<HttpResponse> answer) {
    result = std::move(answer);
    loop.stop();
  });
  loop.run();
  return result;
}

// ---- WebSocket ----

struct WebSocket::State {
  asio::io_context& io;
  Url url;
  std::string target;
  Handlers handlers;
  beast::websocket::stream<beast::tcp_stream> socket{io};
  std::deque<std::string> unsent;
  bool open = false;
  bool writing = false;
  bool closing = false;
  bool ended = false;

  void end(const std::string& reason) {
    if (std::exchange(ended, true)) return;
    if (handlers.on_close) handlers.on_close(closing ? std::string() : reason);
  }
};

namespace {

using SocketPtr = std::shared_ptr<WebSocket::State>;

asio::awaitable<void> write_all(SocketPtr state) {
  if (std::exchange(state->writing, true)) co_return;
  error_code failure;
  while (!state->unsent.empty() && !failure && !state->ended) {
    const auto text = std::move(state->unsent.front());
    state->unsent.pop_front();
    co_await state->socket.async_write(asio::buffer(text), into(failure));
  }
  state->writing = false;
  // A failed write shows in the reader as well, which reports it.
}

asio::awaitable<void> close_socket(SocketPtr state) {
  error_code failure;
  if (state->open)
    co_await state->socket.async_close(beast::websocket::close_code::normal, into(failure));
  else
    beast::get_lowest_layer(state->socket).close();
}

std::string close_text(const beast::websocket::stream<beast::tcp_stream>& socket,
                       const error_code& failure) {
  if (failure != beast::websocket::error::closed) return failure.message();
  const auto& reason = socket.reason();
  return "closed by the service with code " + std::to_string(reason.code) +
         (reason.reason.empty() ? "" : " (" + std::string(reason.reason.c_str()) + ")");
}

asio::awaitable<void> run_socket(SocketPtr state) {
  auto& socket = state->socket;
  error_code failure;
  co_await connect(beast::get_lowest_layer(socket), state->url, failure);
  if (failure) co_return state->end(failed("cannot connect to", state->url, failure).message);
  beast::get_lowest_layer(socket).expires_never();
  socket.set_option(beast::websocket::stream_base::timeout::suggested(beast::role_type::client));
  socket.read_message_max(max_message_bytes);
  if (!state->url.api_key.empty())
    socket.set_option(beast::websocket::stream_base::decorator(
        [key = state->url.api_key](beast::websocket::request_type& request) {
          request.set(http::field::authorization, "Bearer " + key);
        }));
  beast::websocket::response_type answer;
  co_await socket.async_handshake(answer, state->url.authority(), state->url.prefix + state->target,
                                  into(failure));
  if (failure)
    co_return state->end("the WebSocket upgrade at " + state->url.authority() + " failed: " +
                         (answer.result_int() != 0 && answer.result_int() != 101
                              ? "status " + std::to_string(answer.result_int())
                              : failure.message()));
  state->open = true;
  if (state->handlers.on_open) state->handlers.on_open();
  asio::co_spawn(state->io, write_all(state), asio::detached);
  for (;;) {
    beast::flat_buffer buffer;
    co_await socket.async_read(buffer, into(failure));
    if (failure) co_return state->end(close_text(socket, failure));
    state->handlers.on_message(beast::buffers_to_string(buffer.data()));
  }
}

}  // namespace

std::shared_ptr<WebSocket> WebSocket::open(EventLoop& loop, const Url& url,
                                           const std::string& target, Handlers handlers) {
  auto state = std::shared_ptr<State>(new State{loop.state().io, url, target, std::move(handlers)});
  asio::co_spawn(state->io, run_socket(state), asio::detached);
  return std::make_shared<WebSocket>(std::move(state));
}

void WebSocket::send(std::string text) {
  state_->unsent.push_back(std::move(text));
  if (state_->open && !state_->ended) asio::co_spawn(state_->io, write_all(state_), asio::detached);
}

void WebSocket::close() {
  if (std::exchange(state_->closing, true) || state_->ended) return;
  asio::co_spawn(state_->io, close_socket(state_), asio::detached);
}

}  // namespace tandem::client
