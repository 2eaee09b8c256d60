// `tandem chat`: lines in, streamed answers out, over the Responses WebSocket. The main thread
// reads standard input; everything else happens on the loop's thread, which alone touches the
// socket and the answer. Works in a pipe: no prompts then, and a failure ends it.
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <iostream>
#include <memory>
#include <string>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

#include "cli/client/api_calls.hpp"
#include "cli/client/http_client.hpp"
#include "cli/client/progress.hpp"
#include "cli/client/responses.hpp"
#include "cli/commands.hpp"

namespace tandem::cli {
namespace {

using client::Clock;
using client::ResponseEvent;

struct Answer {
  std::string text;
  std::string status;   ///< "completed", "incomplete", "cancelled"; empty: it failed
  std::string failure;  ///< for people
  std::int64_t tokens = 0;
  double ttft_ms = 0, seconds = 0;
};

/// One conversation's connection. ask() is for the main thread, one call at a time.
class Line {
 public:
  Line(client::Url url, bool terminal) : url_(std::move(url)), terminal_(terminal) {
    loop_.on_signals({SIGINT}, [this](int) { interrupted(); });
    thread_ = std::thread([this] { loop_.run(); });
    // From here on the signal is the loop thread's, and reading input is not broken off by it.
    sigset_t interrupt;
    sigemptyset(&interrupt);
    sigaddset(&interrupt, SIGINT);
    ::pthread_sigmask(SIG_BLOCK, &interrupt, nullptr);
  }
  ~Line() {
    loop_.post([this] {
      if (socket_) socket_->close();
      loop_.after(std::chrono::milliseconds(socket_ ? 200 : 0), [this] { loop_.stop(); });
    });
    thread_.join();
  }
  Line(const Line&) = delete;
  Line& operator=(const Line&) = delete;

  Answer ask(const client::ResponseCall& call) {
    done_ = std::promise<Answer>();
    auto result = done_.get_future();
    loop_.post([this, text = client::create_event(call)] { begin(text); });
    return result.get();
  }

 private:
  void begin(const std::string& event) {
    answer_ = {};
    response_id_.clear();
    asking_ = true;
    cancelled_ = false;
    sent_ = Clock::now();
    if (!socket_) connect();
    socket_->send(event);
  }

  void connect() {
    socket_ = client::WebSocket::open(
        loop_, url_, "/v1/responses",
        {.on_open = {},
         .on_message = [this](const std::string& text) { take(text); },
         .on_close =
             [this](const std::string& reason) {
               socket_.reset();
               finish({}, reason.empty() ? "the connection was closed" : reason);
             }});
  }

  void take(const std::string& text) {
    const auto event = client::parse_response_event(text);
    if (!event) return finish({}, event.error().message);
    switch (event->kind) {
      case ResponseEvent::Kind::created:
        response_id_ = event->response_id;
        if (cancelled_) socket_->send(client::cancel_event(response_id_));
        break;
      case ResponseEvent::Kind::delta: print(event->text); break;
      case ResponseEvent::Kind::ended:
        answer_.tokens = event->output_tokens;
        finish(event->status == "failed" ? "" : event->status, event->message);
        break;
      case ResponseEvent::Kind::error: finish({}, event->message); break;
      case ResponseEvent::Kind::other: break;
    }
  }

  void print(const std::string& text) {
    if (answer_.text.empty())
      answer_.ttft_ms = std::chrono::duration<double, std::milli>(Clock::now() - sent_).count();
    answer_.text += text;
    const auto shown = terminal_ ? client::printable(text) : text;
    std::fwrite(shown.data(), 1, shown.size(), stdout);
    std::fflush(stdout);
  }

  void finish(const std::string& status, const std::string& failure) {
    if (!std::exchange(asking_, false)) return;
    answer_.status = status;
    answer_.failure = failure;
    answer_.seconds = std::chrono::duration<double>(Clock::now() - sent_).count();
    done_.set_value(answer_);
  }

  /// Ctrl-C: cancels the answer; at the prompt, the second in a row ends the program.
  void interrupted() {
    if (asking_) {
      if (std::exchange(cancelled_, true)) std::_Exit(130);
      if (!response_id_.empty()) socket_->send(client::cancel_event(response_id_));
    } else if (std::exchange(cancelled_, true)) {
      std::_Exit(130);
    } else {
      std::fputs("\n(/quit ends, or Ctrl-C again)\n> ", stderr);
    }
  }

  client::EventLoop loop_;
  client::Url url_;
  const bool terminal_;
  std::thread thread_;
  std::promise<Answer> done_;
  // The loop thread's:
  std::shared_ptr<client::WebSocket> socket_;
  Answer answer_;
  std::string response_id_;
  Clock::time_point sent_;
  bool asking_ = false;
  bool cancelled_ = false;  ///< while asking: Ctrl-C came; else: it came at the prompt
};

bool read_line(bool interactive, std::string& line) {
  if (interactive) std::fputs("> ", stderr);
  return static_cast<bool>(std::getline(std::cin, line));
}

/// False: the question failed.
bool turn(Line& line, client::ResponseCall& call, const std::string& question, bool interactive) {
  call.input.emplace_back("user", question);
  const auto answer = line.ask(call);
  std::fputs("\n", stdout);
  std::fflush(stdout);
  if (answer.status.empty()) {
    print_error(answer.failure);
    call.input.pop_back();
    return false;
  }
  call.input.emplace_back("assistant", answer.text);
  if (answer.status != "completed")
    std::fprintf(stderr, "(%s%s%s)\n", answer.status.c_str(), answer.failure.empty() ? "" : ": ",
                 answer.failure.c_str());
  if (interactive)
    std::fprintf(stderr, "(%lld tokens, %.0f ms to the first, %.1f s)\n",
                 static_cast<long long>(answer.tokens), answer.ttft_ms, answer.seconds);
  return true;
}

}  // namespace

int chat(const ChatArguments& arguments) {
  auto url = client::parse_url(arguments.url);
  const auto key = client::read_api_key(arguments.api_key_file);
  if (!url || !key) {
    print_error((url ? key.error() : url.error()).message);
    return exit_usage;
  }
  url->api_key = *key;
  client::ResponseCall call;
  call.model = arguments.model;
  call.instructions = arguments.instructions;
  call.max_tokens = arguments.max_tokens;
  call.temperature = arguments.temperature;
  if (call.model.empty()) {
    const auto model = client::first_model(*url);
    if (!model) {
      print_error(model.error().message);
      return exit_failed;
    }
    call.model = model->id;
  }
  const bool interactive = ::isatty(STDIN_FILENO) == 1;
  if (interactive)
    std::fprintf(stderr, "%s at %s; /reset forgets, /quit ends, Ctrl-C stops an answer\n",
                 call.model.c_str(), url->authority().c_str());
  Line line(*url, ::isatty(STDOUT_FILENO) == 1);
  for (std::string question; read_line(interactive, question);) {
    if (question == "/quit" || question == "/exit") break;
    if (question == "/reset") call.input.clear();
    if (question.empty() || question == "/reset") continue;
    if (!turn(line, call, question, interactive) && !interactive) return exit_failed;
  }
  return exit_ok;
}

}  // namespace tandem::cli
