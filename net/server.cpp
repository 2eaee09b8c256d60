#include "net/server.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <future>
#include <optional>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <thread>
#include <vector>

#include "api/ids.hpp"
#include "net/connection.hpp"
#include "net/exchange.hpp"
#include "net/services.hpp"
#include "net/sessions.hpp"

namespace tandem::net {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

struct Server::State {
  State(caf::actor_system& system, ServerOptions options, const ServerParts& parts)
      : io(std::make_shared<asio::io_context>(1)),
        services(std::in_place, system, io, std::move(options), parts) {}

  asio::awaitable<void> accept_connections();
  asio::awaitable<void> serve(tcp::socket socket);
  asio::awaitable<void> close_sessions();

  std::shared_ptr<asio::io_context> io;
  std::optional<Services> services;
  std::optional<tcp::acceptor> acceptor;
  tcp::endpoint endpoint;
  static constexpr std::uint32_t max_refused_at_once = 64;
  std::uint32_t connections = 0;
  std::uint32_t refused = 0;  ///< connections beyond the limit that are being told so
  std::thread thread;
  std::future<void> thread_ended;
  bool stopped = false;
};

namespace {

/// A session that throws has run into a bug or is out of memory; it ends, the others go on.
void log_thrown(const std::exception_ptr& thrown) {
  if (!thrown) return;
  try {
    std::rethrow_exception(thrown);
  } catch (const std::exception& e) {
    spdlog::error("session_threw what=\"{}\"", e.what());
  } catch (...) {
    spdlog::error("session_threw what=unknown");
  }
}

std::string printed(const tcp::endpoint& at) {
  const auto host = at.address().to_string();
  return (at.address().is_v6() ? '[' + host + ']' : host) + ':' + std::to_string(at.port());
}

Result<tcp::acceptor> listen(asio::io_context& io, const tcp::endpoint& at) {
  const auto failed = [&](const error_code& why) {
    auto text = "cannot listen on " + printed(at) + ": ";
    if (why == asio::error::address_in_use)
      text += "another process uses this port; stop it, or choose another port (0: any free one)";
    else if (why == asio::error::access_denied)
      text += "permission denied; ports below 1024 need privileges, choose a higher one";
    else if (why == boost::system::errc::address_not_available)
      text += "no interface of this machine has this address; choose one that it has";
    else
      text += why.message();
    return error(Errc::invalid_value, std::move(text), "port");
  };
  error_code why;
  tcp::acceptor acceptor(io);
  acceptor.open(at.protocol(), why);
  if (why) return failed(why);
  acceptor.set_option(tcp::acceptor::reuse_address(true), why);
  if (why) return failed(why);
  acceptor.bind(at, why);
  if (why) return failed(why);
  acceptor.listen(1024, why);
  if (why) return failed(why);
  return acceptor;
}

Result<tcp::endpoint> endpoint_of(const ServerOptions& options) {
  error_code failed;
  const auto name = options.host == "localhost" ? std::string("127.0.0.1") : options.host;
  const auto address = asio::ip::make_address(name, failed);
  if (failed)
    return error(Errc::invalid_value,
                 "'" + options.host + "' is not an IP address; use for example 127.0.0.1", "host");
  if (!address.is_loopback() && !options.insecure && options.api_key_file.empty())
    return error(Errc::invalid_value,
                 "listening on " + options.host +
                     " would offer the service to the network, and nobody is asked for a key; "
                     "give an api_key_file, use 127.0.0.1 behind a proxy that authenticates, or "
                     "set insecure",
                 "host");
  return tcp::endpoint(address, options.port);
}

Result<ApiKeys> load_keys(const ServerOptions& options) {
  if (options.api_key_file.empty()) return ApiKeys();
  auto keys = ApiKeys::load(options.api_key_file);
  struct stat facts {};
  if (keys && ::stat(options.api_key_file.c_str(), &facts) == 0 && (facts.st_mode & 077) != 0)
    spdlog::warn("api_key_file_open path=\"{}\" effect=\"other users of this machine may read it\"",
                 options.api_key_file.string());
  return keys;
}

}  // namespace

asio::awaitable<void> Server::State::accept_connections() {
  asio::steady_timer pause(*io);
  while (acceptor && acceptor->is_open()) {
    error_code failed;
    auto socket =
        co_await acceptor->async_accept(asio::redirect_error(asio::use_awaitable, failed));
    if (failed == asio::error::operation_aborted) break;
    if (failed) {
      // Out of descriptors, mostly: trying at once again would burn a core.
      spdlog::warn("accept_failed reason=\"{}\"", failed.message());
      error_code ignored;
      pause.expires_after(std::chrono::milliseconds(100));
      co_await pause.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
      continue;
    }
    asio::co_spawn(*io, serve(std::move(socket)), log_thrown);
  }
}

asio::awaitable<void> Server::State::serve(tcp::socket socket) {
  struct Count {
    explicit Count(std::uint32_t& counted) : count(counted) { ++count; }
    ~Count() { --count; }
    std::uint32_t& count;
  };
  if (connections < services->options.max_connections) {
    const Count one(connections);
    co_await serve_http(*services, std::move(socket));
    co_return;
  }
  if (refused >= max_refused_at_once) co_return;  // closed without a word
  const Count one(refused);
  const auto connection = std::make_shared<Connection>(*io, std::move(socket));
  const Rejection full{503, "the service has as many connections as it takes; try again later"};
  connection->send(refusal(*services, full, api::random_id("req_")));
  const bool sent = co_await connection->drain_to(0, std::chrono::seconds(1));
  if (sent) co_await connection->close_gently();
}

/// Politely first, for a moment; then at once.
asio::awaitable<void> Server::State::close_sessions() {
  const auto each = [this](auto act) {
    // Acting may end a session; the copy may hold ended ones.
    const std::vector<Session*> all(services->sessions.begin(), services->sessions.end());
    for (auto* session : all)
      if (services->sessions.contains(session)) act(*session);
  };
  services->draining = true;
  services->resumables.close();
  services->bridge.close();
  each([](Session& session) { session.drain(); });
  asio::steady_timer pause(*io);
  for (int i = 0; i < 20 && connections > 0; ++i) {
    error_code ignored;
    pause.expires_after(std::chrono::milliseconds(10));
    co_await pause.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
  each([](Session& session) { session.abort(); });
}

Server::Server(std::unique_ptr<State> state) : state_(std::move(state)) {}
Server::~Server() { stop(); }

Result<std::unique_ptr<Server>> Server::start(caf::actor_system& system, ServerOptions options,
                                              ServerParts parts) {
  const auto endpoint = endpoint_of(options);
  if (!endpoint) return endpoint.error();
  auto keys = load_keys(options);
  if (!keys) return keys.error();
  auto state = std::make_unique<State>(system, std::move(options), parts);
  state->services->keys = std::move(*keys);
  state->services->on_loopback = endpoint->address().is_loopback();
  auto acceptor = listen(*state->io, *endpoint);
  if (!acceptor) return acceptor.error();
  error_code failed;
  state->acceptor.emplace(std::move(*acceptor));
  state->endpoint = state->acceptor->local_endpoint(failed);
  asio::co_spawn(*state->io, state->accept_connections(), log_thrown);
  asio::co_spawn(*state->io, state->services->resumables.run(), log_thrown);
  std::packaged_task<void()> run([io = state->io] { io->run(); });
  state->thread_ended = run.get_future();
  state->thread = std::thread(std::move(run));
  spdlog::info("listening address={}", printed(state->endpoint));
  return std::unique_ptr<Server>(new Server(std::move(state)));
}

std::uint16_t Server::port() const { return state_->endpoint.port(); }

std::string Server::address() const { return printed(state_->endpoint); }

std::uint64_t Server::active_calls() const {
  return state_->services ? state_->services->active_calls.load() : 0;
}

void Server::announce_drain() {
  if (state_->stopped) return;
  asio::post(*state_->io, [state = state_.get()] { state->services->leaving = true; });
}

void Server::begin_drain() {
  if (state_->stopped) return;
  asio::post(*state_->io, [state = state_.get()] {
    state->services->draining = true;
    state->services->resumables.close();  // nobody can come back for them
    const std::vector<Session*> all(state->services->sessions.begin(),
                                    state->services->sessions.end());
    for (auto* session : all)
      if (state->services->sessions.contains(session)) session->drain();
  });
}

void Server::stop() {
  if (!state_ || std::exchange(state_->stopped, true)) return;
  asio::post(*state_->io, [state = state_.get()] {
    error_code ignored;
    state->acceptor->close(ignored);
    asio::co_spawn(*state->io, state->close_sessions(), log_thrown);
  });
  // The io thread ends by itself when the last session has.
  if (state_->thread_ended.wait_for(std::chrono::seconds(10)) != std::future_status::ready) {
    spdlog::error("io_thread_hangs: sessions left {}", state_->connections);
    state_->io->stop();
  }
  state_->thread.join();
  state_->services->bridge.stop();
  state_->acceptor.reset();
  if (state_->connections + state_->refused == 0)
    state_->services.reset();
  else
    (void)state_.release();  // suspended sessions still point to it
}

}  // namespace tandem::net
