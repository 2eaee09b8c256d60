// A call of an online load in flight, over either transport. Inside load_online.cpp and
// load_websocket.cpp only.
#pragma once

#include "cli/load.hpp"

namespace tandem::cli {

/// One request in flight.
struct OnlineLoad::Call {
  client::Measured* measured = nullptr;
  client::SseParser events;
  client::Clock::time_point sent, last;
  bool begun = false;  ///< a chunk came
  bool done = false;   ///< [DONE] came
  std::string failure;

  /// A chunk with tokens came at `now`.
  void chunk(client::Clock::time_point now);
};

/// A WebSocket of the load and the call that it carries; it carries one at a time, so that a
/// response never waits for the events of another.
struct OnlineLoad::Socket {
  std::shared_ptr<client::WebSocket> socket;
  std::shared_ptr<Call> call;  ///< empty: idle
};

}  // namespace tandem::cli
