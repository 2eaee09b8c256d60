// Every path that is served, in one table.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "net/awaitable.hpp"

namespace tandem::net {

class Exchange;

struct Route {
  std::string_view method;  ///< GET also answers HEAD where `head` is set
  /// Segments are literal, or "{}" for one that is not empty, or, last, "{*}" for all that is left.
  std::string_view pattern;
  boost::asio::awaitable<void> (*handle)(Exchange&);
  bool head = false;
  bool open = false;  ///< answered without an API key; every other route asks for one
};

std::span<const Route> all_routes();

struct RouteMatch {
  const Route* route = nullptr;
  std::vector<std::string> parameters;  ///< what "{}" stood for, percent-decoded
  std::string allowed_methods;          ///< of this path, for Allow; empty: no such path
};
RouteMatch find_route(std::string_view method, std::string_view path);

// status_handlers.cpp
boost::asio::awaitable<void> get_livez(Exchange& exchange);
boost::asio::awaitable<void> get_readyz(Exchange& exchange);
boost::asio::awaitable<void> get_ping(Exchange& exchange);
boost::asio::awaitable<void> get_version(Exchange& exchange);
boost::asio::awaitable<void> get_metrics(Exchange& exchange);
boost::asio::awaitable<void> list_models(Exchange& exchange);
boost::asio::awaitable<void> get_model(Exchange& exchange);
// generate_handlers.cpp
boost::asio::awaitable<void> post_completions(Exchange& exchange);
boost::asio::awaitable<void> post_chat_completions(Exchange& exchange);
boost::asio::awaitable<void> post_responses(Exchange& exchange);
boost::asio::awaitable<void> get_responses(Exchange& exchange);
// text_handlers.cpp
boost::asio::awaitable<void> post_tokenize(Exchange& exchange);
boost::asio::awaitable<void> post_detokenize(Exchange& exchange);
// file_handlers.cpp
boost::asio::awaitable<void> post_files(Exchange& exchange);
boost::asio::awaitable<void> list_files(Exchange& exchange);
boost::asio::awaitable<void> get_file(Exchange& exchange);
boost::asio::awaitable<void> get_file_content(Exchange& exchange);
boost::asio::awaitable<void> delete_file(Exchange& exchange);
// batch_handlers.cpp
boost::asio::awaitable<void> post_batches(Exchange& exchange);
boost::asio::awaitable<void> list_batches(Exchange& exchange);
boost::asio::awaitable<void> get_batch(Exchange& exchange);
boost::asio::awaitable<void> cancel_batch(Exchange& exchange);

}  // namespace tandem::net
