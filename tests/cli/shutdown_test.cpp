// What ends the service, and what ends it if it does not end. Each case runs in a process of its
// own, since it is about signals and exit codes. And the JSON form of log lines.
#include "cli/shutdown.hpp"

#include <array>
#include <catch2/catch.hpp>
#include <csignal>
#include <cstdlib>
#include <functional>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/logging.hpp"
#include "tests/support/temporary_folder.hpp"

using namespace tandem::cli;

namespace {

/// The exit code of a child that runs `body`, or minus the signal that killed it.
int exit_code_of(const std::function<int()>& body) {
  const auto child = ::fork();
  if (child == 0) ::_exit(body());
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

}  // namespace

TEST_CASE("a signal wakes the service and is told apart from the engine's death") {
  for (const int number : {SIGTERM, SIGINT}) {
    CHECK(exit_code_of([number] {
            StopRequest stop;
            ::kill(::getpid(), number);
            stop.wait();
            return stop.signal() == number && !stop.death() ? 0 : 1;
          }) == 0);
  }
}

TEST_CASE("the engine's death wakes it from another thread, and the first reason counts") {
  CHECK(exit_code_of([] {
          StopRequest stop;
          std::thread actor([&stop] {
            stop.engine_died("first");
            stop.engine_died("second");
          });
          stop.wait();
          actor.join();
          return stop.signal() == 0 && stop.death() == "first" ? 0 : 1;
        }) == 0);
}

TEST_CASE("the service manager is told over its socket, if there is one") {
  tandem::tests::TemporaryFolder folder;
  const auto path = (folder.path() / "notify").string();
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  REQUIRE(path.size() < sizeof address.sun_path);
  path.copy(address.sun_path, path.size());
  const int fd = ::socket(AF_UNIX, SOCK_DGRAM, 0);
  REQUIRE(::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  ::unsetenv("NOTIFY_SOCKET");
  notify_manager("nobody hears this");
  ::setenv("NOTIFY_SOCKET", path.c_str(), 1);
  notify_manager("READY=1");
  ::unsetenv("NOTIFY_SOCKET");
  std::array<char, 64> text{};
  const auto size = ::recv(fd, text.data(), text.size(), MSG_DONTWAIT);
  CHECK(std::string(text.data(), size > 0 ? static_cast<std::size_t>(size) : 0) == "READY=1");
  ::close(fd);
}

TEST_CASE("a second signal ends the process at once with 1") {
  CHECK(exit_code_of([] {
          StopRequest stop;
          ::kill(::getpid(), SIGTERM);
          stop.wait();
          ::kill(::getpid(), SIGINT);
          return 0;
        }) == 1);
}

TEST_CASE("a broken pipe does not end the process") {
  CHECK(exit_code_of([] {
          const StopRequest stop;
          ::raise(SIGPIPE);
          return 0;
        }) == 0);
}

TEST_CASE("the watchdog ends a process that hangs, with the code it was given") {
  CHECK(exit_code_of([] {
          const Watchdog watchdog(std::chrono::seconds(0), 70);
          for (;;) ::pause();
          return 0;
        }) == 70);
}

TEST_CASE("a watchdog that is not needed any more does nothing") {
  CHECK(exit_code_of([] {
          { const Watchdog watchdog(std::chrono::seconds(3600), 70); }
          return 0;
        }) == 0);
}

TEST_CASE("the pairs of a log line become members of a JSON object") {
  CHECK(json_members("started port=8000 model=\"a b\"") ==
        R"("msg":"started port=8000 model=\"a b\"","event":"started","port":"8000","model":"a b")");
  CHECK(json_members("plain words") == R"("msg":"plain words","event":"plain")");
  CHECK(json_members("Not an event x=1") == R"("msg":"Not an event x=1","x":"1")");
  // Neither a repeated name nor one of ours makes a second member.
  CHECK(json_members("e msg=1 a=2 a=3 ts=4") ==
        R"("msg":"e msg=1 a=2 a=3 ts=4","event":"e","a":"2")");
  CHECK(json_members("e a=\"open b=1") ==
        R"("msg":"e a=\"open b=1","event":"e","a":"\"open","b":"1")");
  CHECK(json_members("e \n\x01\\") == R"("msg":"e \n\u0001\\","event":"e")");
  CHECK(json_members("") == R"("msg":"")");
}
