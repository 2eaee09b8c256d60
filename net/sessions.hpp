// The two kinds of sessions. Each runs until its connection ends, and ends on Session::abort().
#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <optional>
#include <string>

#include "api/trace_context.hpp"
#include "net/awaitable.hpp"
#include "net/request_head.hpp"
#include "net/services.hpp"

namespace tandem::net {

boost::asio::awaitable<void> serve_http(Services& services, boost::asio::ip::tcp::socket socket);

/// Who sent a request, and what it is called in logs.
struct Caller {
  std::string request_id, tenant;
  std::optional<api::TraceContext> trace;  ///< its answer's span, if it came with one
};

/// `head` asked for the upgrade and was let through.
boost::asio::awaitable<void> serve_websocket(Services& services,
                                             boost::asio::ip::tcp::socket socket, RequestHead head,
                                             Caller caller);

}  // namespace tandem::net
