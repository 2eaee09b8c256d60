// See shutdown.hpp.
#include "cli/shutdown.hpp"

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <poll.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/check.hpp"

namespace tandem::cli {
namespace {

sigset_t stop_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  return set;
}

void exit_at_once(int) {
  static constexpr char text[] = "second signal: exit without waiting\n";
  [[maybe_unused]] const auto ignored = ::write(STDERR_FILENO, text, sizeof text - 1);
  ::_exit(1);
}

}  // namespace

StopRequest::StopRequest() {
  const auto set = stop_signals();
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  signal_fd_ = ::signalfd(-1, &set, SFD_CLOEXEC);
  event_fd_ = ::eventfd(0, EFD_CLOEXEC);
  TANDEM_CHECK(signal_fd_ >= 0 && event_fd_ >= 0, "the process is out of file descriptors");
}

StopRequest::~StopRequest() {
  ::close(signal_fd_);
  ::close(event_fd_);
}

void StopRequest::engine_died(const std::string& reason) {
  {
    const std::lock_guard lock(mutex_);
    if (death_) return;
    death_ = reason;
  }
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto ignored = ::write(event_fd_, &one, sizeof one);
}

void StopRequest::wait() {
  std::array<pollfd, 2> fds{pollfd{signal_fd_, POLLIN, 0}, pollfd{event_fd_, POLLIN, 0}};
  while (::poll(fds.data(), fds.size(), -1) < 0) TANDEM_CHECK(errno == EINTR, "poll failed");
  if (fds[0].revents != 0) {
    signalfd_siginfo info{};
    if (::read(signal_fd_, &info, sizeof info) == sizeof info)
      signal_ = static_cast<int>(info.ssi_signo);
  }
  ::signal(SIGTERM, exit_at_once);
  ::signal(SIGINT, exit_at_once);
  const auto set = stop_signals();
  ::pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
}

std::optional<std::string> StopRequest::death() const {
  const std::lock_guard lock(mutex_);
  return death_;
}

void notify_manager(std::string_view state) {
  const char* name = std::getenv("NOTIFY_SOCKET");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const auto length = name ? std::strlen(name) : 0;
  if (length == 0 || length >= sizeof address.sun_path || (name[0] != '/' && name[0] != '@'))
    return;
  std::memcpy(address.sun_path, name, length);
  if (name[0] == '@') address.sun_path[0] = '\0';
  const int fd = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return;
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + length);
  if (::sendto(fd, state.data(), state.size(), MSG_NOSIGNAL,
               reinterpret_cast<const sockaddr*>(&address), size) < 0)
    spdlog::warn("manager_not_notified state={} reason=\"{}\"", state, std::strerror(errno));
  ::close(fd);
}

Watchdog::Watchdog(std::chrono::seconds bound, int exit_code)
    : thread_([this, bound, exit_code] {
        std::unique_lock lock(mutex_);
        if (changed_.wait_for(lock, bound, [this] { return over_; })) return;
        spdlog::critical("stop_hangs seconds={} exit_code={}", bound.count(), exit_code);
        std::_Exit(exit_code);
      }) {}

Watchdog::~Watchdog() {
  {
    const std::lock_guard lock(mutex_);
    over_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

}  // namespace tandem::cli
