// A condition variable for one coroutine on the io thread: whoever changed something raises it, the
// waiter looks at the facts again. A raise before the wait is not lost.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>

#include "net/awaitable.hpp"

namespace tandem::net {

using SteadyTime = std::chrono::steady_clock::time_point;
inline constexpr SteadyTime never = SteadyTime::max();

class Signal {
 public:
  explicit Signal(boost::asio::io_context& io) : timer_(io) {}

  void raise() {
    if (raised_) return;
    raised_ = true;
    timer_.cancel();
  }
  /// Until raised or `deadline`. At most one coroutine waits at a time, and the Signal outlives it.
  boost::asio::awaitable<void> wait(SteadyTime deadline = never);

 private:
  boost::asio::steady_timer timer_;
  bool raised_ = false;
};

}  // namespace tandem::net
