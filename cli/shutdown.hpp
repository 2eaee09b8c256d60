// How the service ends: a signal, or the engine's death; and what ends it if it does not end.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

namespace tandem::cli {

/// Create it before any thread, so that all of them leave SIGTERM and SIGINT to it.
class StopRequest {
 public:
  StopRequest();
  ~StopRequest();
  StopRequest(const StopRequest&) = delete;
  StopRequest& operator=(const StopRequest&) = delete;

  /// The engine has died. Any thread; the first reason counts.
  void engine_died(const std::string& reason);

  /// Sleeps until something is to end the service. From the return on, a further signal ends the
  /// process at once with exit code 1.
  void wait();
  /// The signal that came, 0 if none.
  [[nodiscard]] int signal() const { return signal_; }
  /// Why the engine died; unset if it lives.
  [[nodiscard]] std::optional<std::string> death() const;

 private:
  int signal_fd_ = -1;
  int event_fd_ = -1;
  int signal_ = 0;
  mutable std::mutex mutex_;
  std::optional<std::string> death_;
};

/// Tells the service manager (sd_notify(3)) if there is one that listens: $NOTIFY_SOCKET names a
/// Unix datagram socket, '@' in front of it stands for the abstract namespace. Otherwise nothing.
void notify_manager(std::string_view state);

/// Ends the process with `exit_code` if it is not destroyed within `bound`.
class Watchdog {
 public:
  Watchdog(std::chrono::seconds bound, int exit_code);
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool over_ = false;
  std::thread thread_;
};

}  // namespace tandem::cli
