// A small HTTP/1.1 and WebSocket client for the tools that ship with the service: one event loop on
// one thread, callbacks, no type of the network library in sight. http_client.cpp is the only
// place that is slow to compile.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cli/client/url.hpp"
#include "core/result.hpp"

namespace tandem::client {

using Clock = std::chrono::steady_clock;

/// Runs everything below. Not thread-safe but for stop() and post().
class EventLoop {
 public:
  EventLoop();
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  /// Until stop(), even if there is nothing to do.
  void run();
  void stop();
  void post(std::function<void()> what);
  void at(Clock::time_point when, std::function<void()> what);
  void after(Clock::duration delay, std::function<void()> what) { at(Clock::now() + delay, what); }
  /// These signals no longer end the process, but come here.
  void on_signals(std::initializer_list<int> signals, std::function<void(int)> what);

  struct State;
  [[nodiscard]] State& state() const { return *state_; }

 private:
  std::unique_ptr<State> state_;
};

struct HttpRequest {
  std::string method = "GET";
  std::string target;  ///< "/v1/models"
  std::string body;
  std::string content_type = "application/json";
  std::chrono::milliseconds timeout{600000};  ///< from send to the last byte
};

struct HttpResponse {
  unsigned status = 0;
  std::string body;  ///< empty if it went to on_data
};

/// Connections to one service, kept open between requests.
class HttpClient {
 public:
  using OnData = std::function<void(std::string_view)>;
  using OnEnd = std::function<void(Result<HttpResponse>)>;

  HttpClient(EventLoop& loop, Url url);
  ~HttpClient();

  /// Calls `on_end` once, on the loop; it fails if no whole response arrived. With `on_data`, the
  /// body of a response of status 200 goes there in pieces as they come.
  void send(HttpRequest request, OnData on_data, OnEnd on_end);
  [[nodiscard]] const Url& url() const;

  struct State;

 private:
  std::shared_ptr<State> state_;
};

/// One request with a loop of its own; blocks.
Result<HttpResponse> call(const Url& url, HttpRequest request);

class WebSocket {
 public:
  struct Handlers {
    std::function<void()> on_open;
    std::function<void(std::string)> on_message;
    /// Once, last. Empty: closed by close().
    std::function<void(std::string reason)> on_close;
  };
  /// Connects and upgrades; everything else is on the loop's thread.
  static std::shared_ptr<WebSocket> open(EventLoop& loop, const Url& url, const std::string& target,
                                         Handlers handlers);
  void send(std::string text);
  void close();

  struct State;
  explicit WebSocket(std::shared_ptr<State> state) : state_(std::move(state)) {}

 private:
  std::shared_ptr<State> state_;
};

}  // namespace tandem::client
