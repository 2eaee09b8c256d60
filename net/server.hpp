// The network front: HTTP/1.1 and WebSocket on one port. Owns one io_context, the thread that runs
// it, the bridge actor, and every session; sessions are plain objects that only the io thread
// touches. The engine never waits for a client: what a slow reader leaves unread is merged, then
// cut off.
#pragma once

#include <caf/actor_system.hpp>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "actors/protocols.hpp"
#include "actors/served_model.hpp"
#include "api/parse.hpp"
#include "core/result.hpp"

namespace tandem::net {

struct ServerOptions {
  std::string host = "127.0.0.1";  ///< an address, not a name
  std::uint16_t port = 8000;       ///< 0: any free one, see Server::port()
  /// Allows a host that is not loopback although nobody is asked for a key.
  bool insecure = false;
  std::filesystem::path api_key_file;  ///< see net/api_keys.hpp; empty: no key is asked for
  /// Besides addresses and localhost: names under which a loopback service without keys may be
  /// addressed.
  std::vector<std::string> allowed_hosts;
  /// Values of the Origin header that may open WebSockets and change things; no header is fine.
  std::vector<std::string> allowed_origins;

  std::uint32_t max_connections = 4096;             ///< more are answered 503
  std::uint64_t max_body_bytes = 4ULL << 20;        ///< JSON bodies and WebSocket messages
  std::uint64_t max_upload_bytes = 200ULL << 20;    ///< files
  api::ParseLimits call_limits;                     ///< without what only the model knows
  std::uint32_t max_responses_per_connection = 16;  ///< in flight on one WebSocket
  std::uint32_t max_lanes_per_connection = 32;      ///< named lanes of one WebSocket

  std::chrono::milliseconds read_timeout{
      30000};  ///< for one request's header, then its body's next piece
  std::chrono::milliseconds idle_timeout{75000};   ///< between requests of one connection
  std::chrono::milliseconds write_timeout{30000};  ///< without progress: cancelled and closed
  std::chrono::milliseconds flex_wait{60000};      ///< a flex call's wait for its first token
  std::chrono::milliseconds sse_ping{15000};
  std::chrono::milliseconds websocket_ping{20000};  ///< silent for twice as long: dead
  std::chrono::milliseconds websocket_lifetime{3600000};

  std::chrono::milliseconds resume_window{120000};  ///< 0: no response can be resumed
  std::uint64_t resume_buffer_bytes = 64ULL << 20;  ///< events of all resumable responses

  std::uint64_t merge_above_bytes = 256ULL << 10;  ///< unsent: adjacent deltas are merged
  std::uint64_t max_unsent_bytes = 4ULL << 20;     ///< unsent: the call is cancelled
};

/// What the server stands on. Tests put their own actors here.
struct ServerParts {
  RequestIntake intake;
  OfflineQueue queue;
  ServedModelPtr model;
  std::function<std::string()> metrics_text;      ///< Prometheus text; called on the io thread
  std::function<std::string()> not_ready_reason;  ///< empty: ready; called on the io thread
  std::string version = "unknown";                ///< for /version
};

class Server {
 public:
  /// Binds, listens and serves. Fails with the address and what to do about it if the address
  /// cannot be bound, or if it is not loopback and there are neither keys nor `insecure`; with the
  /// file and line if the keys cannot be read.
  static Result<std::unique_ptr<Server>> start(caf::actor_system& system, ServerOptions options,
                                               ServerParts parts);
  /// As stop().
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  [[nodiscard]] std::uint16_t port() const;
  /// "127.0.0.1:8000", "[::1]:8000"
  [[nodiscard]] std::string address() const;
  /// Calls (HTTP or WebSocket) that are being answered now, to the last byte. Any thread.
  [[nodiscard]] std::uint64_t active_calls() const;

  /// /readyz fails from now on and everything else goes on: for the balancer in front to notice
  /// before calls are refused. Any thread.
  void announce_drain();
  /// /readyz fails from now on, connections close after the reply they wait for, WebSockets close
  /// with 1001 when their responses are done. New calls are for intake to refuse. Any thread.
  void begin_drain();
  /// Cancels what is left, closes every session, ends the io thread, then the bridge actor; drops
  /// every handle. Idempotent. Not on the io thread.
  void stop();

 private:
  struct State;
  explicit Server(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace tandem::net
