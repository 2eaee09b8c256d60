// What all sessions of one server share. Io thread only, except `active_calls`.
#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "actors/served_model.hpp"
#include "net/api_keys.hpp"
#include "net/bridge.hpp"
#include "net/resumables.hpp"
#include "net/server.hpp"

namespace tandem::net {

/// A connection's life, as the server steers it.
class Session {
 public:
  /// Close when nothing is being answered any more.
  virtual void drain() = 0;
  /// Close now.
  virtual void abort() = 0;

 protected:
  ~Session() = default;
};

struct Services {
  Services(caf::actor_system& system, std::shared_ptr<boost::asio::io_context> context,
           ServerOptions server_options, const ServerParts& parts)
      : io(*context),
        options(std::move(server_options)),
        bridge(system, std::move(context), parts),
        model(parts.model),
        metrics_text(parts.metrics_text),
        not_ready_reason(parts.not_ready_reason),
        version(parts.version),
        resumables(io, options) {}

  boost::asio::io_context& io;
  const ServerOptions options;
  Bridge bridge;
  const ServedModelPtr model;
  const std::function<std::string()> metrics_text;
  const std::function<std::string()> not_ready_reason;
  const std::string version;
  Resumables resumables;
  ApiKeys keys;
  bool on_loopback = true;  ///< the address that is listened on

  bool leaving = false;  ///< not ready any more, though everything is still served
  bool draining = false;
  std::unordered_set<Session*> sessions;
  std::atomic<std::uint64_t> active_calls{0};
  std::minstd_rand random{std::random_device{}()};

  /// Why this origin may not open WebSockets or change things; empty if it may. No Origin header:
  /// not a browser, fine.
  [[nodiscard]] bool origin_allowed(const std::string* origin) const {
    if (origin == nullptr) return true;
    for (const auto& allowed : options.allowed_origins)
      if (*origin == allowed) return true;
    return false;
  }
};

/// Names a Host field may have where nobody is asked for a key and only this machine can call: a
/// web page that had its own name resolve to 127.0.0.1 (DNS rebinding) sends that name. Addresses
/// cannot be rebound. `host` as sent, with or without a port.
bool host_allowed(std::string_view host, const std::vector<std::string>& allowed);

/// Counts one call as active while it is answered.
class ActiveCall {
 public:
  explicit ActiveCall(Services& services) : count_(services.active_calls) { ++count_; }
  ~ActiveCall() { --count_; }
  ActiveCall(const ActiveCall&) = delete;
  ActiveCall& operator=(const ActiveCall&) = delete;

 private:
  std::atomic<std::uint64_t>& count_;
};

}  // namespace tandem::net
