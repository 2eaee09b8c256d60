// HTTP/1.1 on one connection: header, guard, route, reply, and again. The header is judged before
// anything of it is believed; a request whose body was not read to its end closes the connection,
// so that no byte of it can pass for the next request.
#include <algorithm>
#include <optional>
#include <spdlog/spdlog.h>

#include "api/ids.hpp"
#include "net/exchange.hpp"
#include "net/header_guard.hpp"
#include "net/query.hpp"
#include "net/routes.hpp"
#include "net/sessions.hpp"

namespace tandem::net {
namespace {

namespace asio = boost::asio;
using std::chrono::steady_clock;

bool names_token(std::string_view list, std::string_view lower_token) {
  std::string lower(list);
  for (auto& c : lower)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  for (std::size_t at = 0; at <= lower.size();) {
    const auto end = std::min(lower.find(',', at), lower.size());
    auto item = std::string_view(lower).substr(at, end - at);
    while (!item.empty() && (item.front() == ' ' || item.front() == '\t')) item.remove_prefix(1);
    while (!item.empty() && (item.back() == ' ' || item.back() == '\t')) item.remove_suffix(1);
    if (item == lower_token) return true;
    at = end + 1;
  }
  return false;
}

bool is_websocket_upgrade(const RequestHead& head) {
  return head.method == "GET" && head.http_1_1 && names_token(head.value("upgrade"), "websocket") &&
         names_token(head.value("connection"), "upgrade");
}

class HttpSession final : public Session {
 public:
  HttpSession(Services& services, asio::ip::tcp::socket socket)
      : services_(services),
        connection_(std::make_shared<Connection>(services.io, std::move(socket))) {
    services_.sessions.insert(this);
  }
  ~HttpSession() {
    services_.sessions.erase(this);
    connection_->abort();
  }
  HttpSession(const HttpSession&) = delete;
  HttpSession& operator=(const HttpSession&) = delete;

  asio::awaitable<void> run();
  void drain() override { connection_->changed.raise(); }
  void abort() override { connection_->abort(); }

 private:
  /// The bytes of the next header, still in the input. 0: the connection is to end, quietly.
  asio::awaitable<std::size_t> await_header(bool first);
  asio::awaitable<bool> serve_one(std::size_t header_bytes);
  asio::awaitable<void> route(Exchange& exchange);
  bool admit(Exchange& exchange, const Route* route) const;
  bool begin_upgrade(Exchange& exchange);
  asio::awaitable<bool> finish(Exchange& exchange);
  asio::awaitable<void> refuse(Rejection why);

  Services& services_;
  const std::shared_ptr<Connection> connection_;
  std::optional<RequestHead> upgrade_;
  Caller caller_;  ///< of the upgrade
};

asio::awaitable<void> HttpSession::run() {
  for (bool first = true;; first = false) {
    const auto header_bytes = co_await await_header(first);
    if (header_bytes == 0) break;
    if (!co_await serve_one(header_bytes)) break;
  }
  if (upgrade_) {
    // The session's place in the server passes to the WebSocket's.
    auto socket = connection_->release();
    services_.sessions.erase(this);
    co_await serve_websocket(services_, std::move(socket), std::move(*upgrade_),
                             std::move(caller_));
  } else if (!connection_->broken()) {
    co_await connection_->close_gently();
  }
}

asio::awaitable<std::size_t> HttpSession::await_header(bool first) {
  const HeaderLimits limits;
  const auto& options = services_.options;
  auto deadline = steady_clock::now() + (first ? options.read_timeout : options.idle_timeout);
  bool begun = false;
  for (;;) {
    const auto input = connection_->input();
    if (!input.empty() && !begun) {
      begun = true;
      deadline = steady_clock::now() + options.read_timeout;
    }
    const auto end = input.find("\r\n\r\n");
    if (end != input.npos) co_return end + 4;
    if (input.size() > limits.max_bytes) {
      Rejection large{431,
                      "the header is larger than " + std::to_string(limits.max_bytes) + " bytes"};
      co_await refuse(std::move(large));
      co_return 0;
    }
    // While draining a new connection may still ask, for example whether the service is ready.
    if (connection_->peer_gone() || (services_.draining && !begun && !first)) co_return 0;
    if (steady_clock::now() >= deadline) {
      Rejection slow{408, "the header did not arrive in time"};
      if (begun) co_await refuse(std::move(slow));
      co_return 0;
    }
    co_await connection_->await_change(deadline);
  }
}

asio::awaitable<void> HttpSession::refuse(Rejection why) {
  connection_->send(refusal(services_, why, api::random_id("req_")));
  co_await connection_->drain_to(0, services_.options.write_timeout);
}

asio::awaitable<bool> HttpSession::serve_one(std::size_t header_bytes) {
  RequestParser parser;
  std::optional<Rejection> no;
  {
    const auto header = connection_->input().substr(0, header_bytes);
    no = guard_header(header);
    if (!no) no = parser.parse_header(header);
    connection_->consume(header_bytes);
  }
  if (no) {
    co_await refuse(*no);
    co_return false;
  }
  const auto given = parser.head().value("x-request-id");
  Exchange exchange(services_, connection_, parser,
                    api::is_valid_request_id(given) ? std::string(given) : api::random_id("req_"));
  co_await route(exchange);
  if (upgrade_) co_return false;
  co_return co_await finish(exchange);
}

/// Whether the caller may ask at all, before anything is said about what there is. False: answered.
bool HttpSession::admit(Exchange& exchange, const Route* route) const {
  const auto& head = exchange.head;
  const auto& keys = services_.keys;
  if (keys.empty()) {
    exchange.authorized = true;
    if (!services_.on_loopback || host_allowed(head.value("host"), services_.options.allowed_hosts))
      return true;
    exchange.fail(error(Errc::permission_denied,
                        "this Host is none that the service is known by; use an address or "
                        "localhost, or name the host in allowed_hosts"));
    return false;
  }
  if (auto tenant = keys.tenant_of(head.value("authorization"))) {
    exchange.tenant = std::move(*tenant);
    exchange.authorized = true;
  }
  if (exchange.authorized || (route != nullptr && route->open)) return true;
  exchange.fail(error(Errc::invalid_api_key,
                      head.find("authorization") == nullptr
                          ? "this service asks for an API key: send Authorization: Bearer KEY"
                          : "this API key is not known; send Authorization: Bearer KEY"),
                {{"WWW-Authenticate", "Bearer"}});
  return false;
}

bool HttpSession::begin_upgrade(Exchange& exchange) {
  if (exchange.head.has_body() || !connection_->input().empty()) {
    exchange.fail(400, Errc::invalid_value, "an upgrade takes no body and waits for its reply");
    exchange.close_after();
    return false;
  }
  if (services_.draining) {
    exchange.fail(
        error(Errc::shutting_down, "the service is shutting down; connect to another instance"));
    return false;
  }
  return true;
}

asio::awaitable<void> HttpSession::route(Exchange& exchange) {
  const auto& head = exchange.head;
  auto found = find_route(head.method, head.path);
  if (!admit(exchange, found.route)) co_return;
  if (found.allowed_methods.empty()) {
    exchange.fail(404, Errc::not_found, "nothing is served at " + head.path.substr(0, 256));
    co_return;
  }
  if (found.route == nullptr) {
    exchange.fail(405, Errc::invalid_value,
                  "this path takes " + found.allowed_methods + ", not " + head.method,
                  {{"Allow", found.allowed_methods}});
    co_return;
  }
  if (!percent_decode(head.query)) {
    exchange.fail(400, Errc::invalid_value,
                  "the query behind '?' holds a '%' without two hexadecimal digits, or a control "
                  "character");
    co_return;
  }
  const bool upgrade = is_websocket_upgrade(head) && found.route->pattern == "/v1/responses";
  const bool reads_only = head.method == "GET" || head.method == "HEAD";
  if ((upgrade || !reads_only) && !services_.origin_allowed(head.find("origin"))) {
    exchange.fail(
        error(Errc::permission_denied,
              "this Origin may not do that; the service's allowed origins name those that may"));
    co_return;
  }
  if (upgrade) {
    if (!begin_upgrade(exchange)) co_return;
    upgrade_ = head;
    caller_ = {exchange.request_id, exchange.tenant, exchange.trace};
    co_return;
  }
  exchange.parameters = std::move(found.parameters);
  co_await found.route->handle(exchange);
}

asio::awaitable<bool> HttpSession::finish(Exchange& exchange) {
  if (!exchange.replied()) {
    // The connection broke under the handler; whatever else it is, no reply is never right.
    if (connection_->broken()) co_return false;
    exchange.fail(error(Errc::internal, "the request got no answer"));
    exchange.close_after();
  }
  spdlog::debug("http_done request_id={} trace_id={} method={} status={}", exchange.request_id,
                api::trace_id_of(exchange.trace), exchange.head.method, exchange.status());
  const bool sent = co_await connection_->drain_to(0, services_.options.write_timeout);
  if (!sent) co_return false;
  co_return exchange.keep_alive() && !connection_->peer_gone();
}

}  // namespace

asio::awaitable<void> serve_http(Services& services, asio::ip::tcp::socket socket) {
  HttpSession session(services, std::move(socket));
  co_await session.run();
}

}  // namespace tandem::net
