// One TCP connection as bytes in and bytes out. Two pumps run by callbacks: what arrives is
// appended to a bounded input, what is sent is queued and written when the socket takes it. One
// coroutine (http_session.cpp) waits on `changed` and looks at the facts. Io thread only.
#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "net/awaitable.hpp"
#include "net/signal.hpp"

namespace tandem::net {

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  using Socket = boost::asio::ip::tcp::socket;
  static constexpr std::size_t max_input_bytes = 64 << 10;

  Connection(boost::asio::io_context& io, Socket socket);

  /// Raised when input, output, the peer or a call (net/call.hpp) made progress.
  Signal changed;

  /// What has arrived and is not consumed. Views die with consume() and await_change().
  [[nodiscard]] std::string_view input() const { return input_; }
  void consume(std::size_t bytes) { input_.erase(0, bytes); }

  void send(std::string_view bytes);
  [[nodiscard]] std::size_t unsent_bytes() const {
    return queued_.size() + writing_.size() - written_;
  }
  /// When the writer began or last got bytes out; meaningful while unsent_bytes() > 0.
  [[nodiscard]] SteadyTime last_progress() const { return last_progress_; }

  /// The peer closed its side or the connection broke; nothing more will arrive.
  [[nodiscard]] bool peer_gone() const { return peer_gone_; }
  [[nodiscard]] bool broken() const { return broken_; }

  /// Keeps reading if there is room, then waits for any change, until `deadline`.
  boost::asio::awaitable<void> await_change(SteadyTime deadline);
  /// Until at most `bytes` are unsent. False: broken, or no progress for `stall`, then aborted.
  boost::asio::awaitable<bool> drain_to(std::size_t bytes, SteadyTime::duration stall);

  /// Sends the end of stream, then discards input for a moment, so that what was sent is read
  /// before the kernel answers unread input with a reset.
  boost::asio::awaitable<void> close_gently();
  /// At once; pending operations end.
  void abort();

  /// For the WebSocket: hands the socket over. Nothing else may be called afterwards but abort().
  Socket release();

 private:
  void start_reading();
  void on_readable();
  void start_writing();

  Socket socket_;
  std::string input_;
  std::string queued_, writing_;
  std::size_t written_ = 0;  ///< of `writing_`
  SteadyTime last_progress_{};
  bool reading_ = false, peer_gone_ = false, broken_ = false;
};

}  // namespace tandem::net
