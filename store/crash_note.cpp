#include "store/crash_note.hpp"

#include <array>
#include <atomic>
#include <csignal>
#include <fcntl.h>
#include <unistd.h>

#include "store/file_io.hpp"

namespace tandem::store {
namespace {

constexpr std::array fatal_signals = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};

// Written before the handlers are installed, read in them: only what is async-signal-safe.
std::atomic<int> note_fd{-1};
std::array<struct sigaction, fatal_signals.size()> former;
bool installed = false;

void write_note(int signal) {
  const int fd = note_fd.exchange(-1);
  if (fd >= 0) {
    const std::array<char, 3> text = {static_cast<char>('0' + signal / 10),
                                      static_cast<char>('0' + signal % 10), '\n'};
    [[maybe_unused]] const auto written = ::write(fd, text.data(), text.size());
  }
  for (std::size_t i = 0; i < fatal_signals.size(); ++i)
    if (fatal_signals[i] == signal) ::sigaction(signal, &former[i], nullptr);
  // The signal is blocked in here: it is delivered to the former handler once we return.
  ::raise(signal);
}

}  // namespace

Result<void> leave_note_on_crash(const std::filesystem::path& path) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return io_error("cannot create the crash note " + path.string());
  if (const int old = note_fd.exchange(fd); old >= 0) ::close(old);
  if (installed) return {};
  installed = true;
  struct sigaction action {};
  action.sa_handler = write_note;
  action.sa_flags = SA_ONSTACK;
  ::sigemptyset(&action.sa_mask);
  for (std::size_t i = 0; i < fatal_signals.size(); ++i)
    ::sigaction(fatal_signals[i], &action, &former[i]);
  return {};
}

void leave_no_note() {
  if (const int fd = note_fd.exchange(-1); fd >= 0) ::close(fd);
}

bool take_crash_note(const std::filesystem::path& path) {
  std::error_code ignored;
  const auto size = std::filesystem::file_size(path, ignored);
  const bool found = !ignored && size > 0;
  std::filesystem::remove(path, ignored);
  return found;
}

}  // namespace tandem::store
