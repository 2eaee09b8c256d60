// One request and its reply, as a handler sees them. The reply's header is sent with its first
// bytes, so that whatever fails before still gets a status of its own.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/trace_context.hpp"
#include "core/result.hpp"
#include "net/awaitable.hpp"
#include "net/connection.hpp"
#include "net/request_parser.hpp"
#include "net/services.hpp"

namespace tandem::net {

using Fields = std::vector<std::pair<std::string, std::string>>;

class Exchange {
 public:
  Exchange(Services& shared, std::shared_ptr<Connection> peer, RequestParser& parser,
           std::string request_id);

  Services& services;
  const std::shared_ptr<Connection> connection;
  const RequestHead& head;
  const std::string request_id;                  ///< the caller's X-Request-Id, or minted
  const std::optional<api::TraceContext> trace;  ///< our span in the caller's trace, if it sent one
  std::vector<std::string> parameters;           ///< of the path
  std::string tenant;       ///< whose API key came with it; empty where none is asked
  bool authorized = false;  ///< false: an open route, without a key that is known

  // ---- the request's body ----
  /// The whole body, up to options.max_body_bytes. Nothing: too large, malformed or too slow, and
  /// answered so; or the connection broke.
  boost::asio::awaitable<std::optional<std::string>> read_body();
  /// The same in pieces. `sink` may answer the request; reading then stops and false is returned.
  boost::asio::awaitable<bool> read_body(std::uint64_t limit,
                                         std::function<void(std::string_view)> sink);
  [[nodiscard]] bool body_consumed() const { return !head.has_body() || parser_.done(); }

  // ---- the reply ----
  void reply(int status, std::string_view content_type, std::string_view body,
             const Fields& fields = {});
  void reply_json(std::string_view body, const Fields& fields = {}) {
    reply(200, "application/json", body, fields);
  }
  /// Status, body and retry headers as the error's code says.
  void fail(const Error& reason, Fields fields = {});
  /// For what only HTTP knows; `code` is for the body alone.
  void fail(int status, Errc code, std::string_view message, Fields fields = {});

  /// A body of which the length is known only to the content itself: chunked on HTTP/1.1, ended by
  /// closing on HTTP/1.0.
  void begin_stream(std::string_view content_type, const Fields& fields = {});
  void stream(std::string_view piece);
  void end_stream();
  /// A body of `length` bytes, which the handler sends on the connection itself.
  void begin_reply(int status, std::string_view content_type, std::uint64_t length,
                   const Fields& fields = {});

  [[nodiscard]] bool replied() const { return status_ != 0; }
  [[nodiscard]] int status() const { return status_; }
  [[nodiscard]] bool keep_alive() const;
  /// The connection ends with this reply.
  void close_after() { close_after_ = true; }

 private:
  std::string header(int status, std::string_view content_type, const Fields& fields,
                     std::optional<std::uint64_t> length);

  const ActiveCall active_{services};  ///< until the reply has left
  RequestParser& parser_;
  const SteadyTime started_ = std::chrono::steady_clock::now();
  int status_ = 0;
  bool chunked_ = false, close_after_ = false, continue_sent_ = false;
};

/// A few seconds for Retry-After: at least 1, spread so that a refused crowd does not come back
/// together.
int retry_after_seconds(Services& services);

/// A reply without an exchange: for requests that were refused before they were understood.
std::string refusal(Services& services, const Rejection& why, std::string_view request_id);

}  // namespace tandem::net
