// Shows a running service doing both of its jobs at once: a batch of 100 questions is finished in
// the background while five chats are streamed over one WebSocket. Exits with 0 only if every item
// came back exactly once and every chat was answered.
//
//   demo_client --url http://127.0.0.1:8000
#include <boost/json.hpp>
#include <chrono>
#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "cli/client/api_calls.hpp"
#include "cli/client/http_client.hpp"
#include "cli/client/progress.hpp"
#include "cli/client/responses.hpp"
#include "cli/client/statistics.hpp"

namespace {

namespace json = boost::json;
using namespace tandem;
using client::Clock;

constexpr std::size_t num_items = 100;
constexpr std::int64_t max_item_tokens = 64;
constexpr std::int64_t max_chat_tokens = 120;
constexpr auto poll_every = std::chrono::milliseconds(50);
constexpr auto give_up_after = std::chrono::minutes(10);

/// What the bundled demo model knows a little about.
constexpr const char* topics[] = {
    "the ocean", "a river",   "a mountain", "a forest",  "the moon", "the sun",   "a rainbow",
    "a garden",  "a fox",     "an owl",     "a horse",   "a whale",  "a dolphin", "a lion",
    "a penguin", "a rabbit",  "winter",     "summer",    "a bakery", "a library", "a museum",
    "a castle",  "a bicycle", "a train",    "chocolate",
};
constexpr const char* questions[] = {"Tell me about {}.", "What can you tell me about {}?",
                                     "Write a few sentences about {}.", "Describe {}."};
constexpr const char* chats[] = {"Tell me about bread.", "What is a bakery?",
                                 "Write a poem about the ocean.",
                                 "Write a short story about a fox.", "Tell me about the moon."};
constexpr std::size_t num_chats = std::size(chats);

std::string question(std::size_t index) {
  std::string text = questions[index / std::size(topics) % std::size(questions)];
  return text.replace(text.find("{}"), 2, topics[index % std::size(topics)]);
}

double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

std::string batch_lines(const std::string& model) {
  std::string lines;
  for (std::size_t i = 0; i < num_items; ++i) {
    const json::object message{{"role", "user"}, {"content", question(i)}};
    const json::object body{{"model", model},
                            {"messages", json::array{message}},
                            {"max_tokens", max_item_tokens},
                            {"temperature", 0}};
    lines += json::serialize(json::object{{"custom_id", "item-" + std::to_string(i)},
                                          {"method", "POST"},
                                          {"url", "/v1/chat/completions"},
                                          {"body", body}}) +
             "\n";
  }
  return lines;
}

/// One chat: the text that is not yet printed, and when its pieces came.
struct Chat {
  std::string unprinted;
  std::size_t bytes = 0;
  Clock::time_point sent, last;
  bool ended = false;
  bool answered = false;
  double ttft_ms = 0;
  std::vector<double> gaps_ms;
};

class Demo {
 public:
  explicit Demo(client::Url url) : url_(std::move(url)), http_(loop_, url_), chats_(num_chats) {}

  /// The exit code.
  int run();

 private:
  bool submit();
  void open_chats();
  void take(const std::string& text);
  void print_lines(std::size_t index, bool all);
  void poll();
  void take_batch(const Result<client::HttpResponse>& response);
  void maybe_stop();
  void fail(const std::string& reason);
  void check_output();
  void check_line(const std::string& line, std::map<std::string, int>& seen);
  void print_table() const;

  client::Url url_;
  client::EventLoop loop_;
  client::HttpClient http_;
  client::Progress progress_{"batch"};
  std::shared_ptr<client::WebSocket> socket_;
  std::vector<Chat> chats_;
  std::string model_;
  client::BatchState batch_;
  Clock::time_point created_;
  double batch_seconds_ = 0;
  std::int64_t item_tokens_ = 0;
  std::size_t items_ok_ = 0;
  std::vector<std::string> failures_;
};

void Demo::fail(const std::string& reason) { failures_.push_back(reason); }

bool Demo::submit() {
  const auto model = client::first_model(url_);
  if (!model) {
    fail(model.error().message);
    return false;
  }
  model_ = model->id;
  const auto file = client::upload_batch_file(url_, batch_lines(model_));
  if (!file) {
    fail(file.error().message);
    return false;
  }
  created_ = Clock::now();
  auto batch = client::create_batch(url_, *file, "/v1/chat/completions");
  if (!batch) {
    fail(batch.error().message);
    return false;
  }
  batch_ = std::move(*batch);
  std::printf("%s: batch %s of %zu questions; %zu chats meanwhile\n\n", model_.c_str(),
              batch_.id.c_str(), num_items, num_chats);
  return true;
}

void Demo::open_chats() {
  socket_ = client::WebSocket::open(
      loop_, url_, "/v1/responses",
      {.on_open =
           [this] {
             for (std::size_t i = 0; i < num_chats; ++i) {
               chats_[i].sent = Clock::now();
               socket_->send(client::create_event({.stream_id = "chat-" + std::to_string(i),
                                                   .model = model_,
                                                   .input = {{"user", chats[i]}},
                                                   .max_tokens = max_chat_tokens,
                                                   .temperature = 0}));
             }
           },
       .on_message = [this](const std::string& text) { take(text); },
       .on_close =
           [this](const std::string& reason) {
             if (!reason.empty()) fail("the WebSocket ended: " + reason);
             for (auto& chat : chats_) chat.ended = true;
             maybe_stop();
           }});
}

void Demo::take(const std::string& text) {
  const auto event = client::parse_response_event(text);
  if (!event) return fail(event.error().message);
  using Kind = client::ResponseEvent::Kind;
  for (std::size_t i = 0; i < num_chats; ++i) {
    if (event->stream_id != "chat-" + std::to_string(i)) continue;
    auto& chat = chats_[i];
    if (event->kind == Kind::delta) {
      if (chat.bytes == 0)
        chat.ttft_ms = ms_since(chat.sent);
      else
        chat.gaps_ms.push_back(ms_since(chat.last));
      chat.last = Clock::now();
      chat.bytes += event->text.size();
      chat.unprinted += client::printable(event->text);
      print_lines(i, false);
    } else if (event->kind == Kind::ended || event->kind == Kind::error) {
      print_lines(i, true);
      chat.ended = true;
      chat.answered = chat.bytes > 0 && event->status != "failed" && event->kind == Kind::ended;
      if (!chat.answered) fail("chat " + std::to_string(i + 1) + ": " + event->message);
      maybe_stop();
    }
    return;
  }
  if (event->kind == Kind::error) fail("the service reported: " + event->message);
}

/// Five streams on one screen: each prints whole sentences, marked with its number.
void Demo::print_lines(std::size_t index, bool all) {
  auto& text = chats_[index].unprinted;
  for (;;) {
    auto end = text.find_first_of(".!?\n");
    // A sentence is over once something follows it.
    if (end == std::string::npos || end + 1 == text.size()) {
      if (!all || text.empty()) return;
      end = text.size() - 1;
    }
    auto line = text.substr(0, end + 1);
    text.erase(0, text.find_first_not_of(" \n", end + 1));
    while (!line.empty() && line.back() == '\n') line.pop_back();
    if (line.empty()) continue;
    progress_.around([&] {
      std::printf("chat %zu | %s\n", index + 1, line.c_str());
      std::fflush(stdout);
    });
  }
}

void Demo::poll() {
  http_.send({.target = "/v1/batches/" + batch_.id, .timeout = std::chrono::seconds(30)}, {},
             [this](const Result<client::HttpResponse>& response) { take_batch(response); });
}

void Demo::take_batch(const Result<client::HttpResponse>& response) {
  const auto problem = !response                 ? response.error().message
                       : response->status != 200 ? client::error_message(*response)
                                                 : std::string();
  auto batch = problem.empty() ? client::parse_batch(response->body)
                               : Result<client::BatchState>(error(Errc::internal, problem));
  if (batch) {
    batch_ = std::move(*batch);
    batch_seconds_ = ms_since(created_) / 1000;
    progress_.update(batch_.completed + batch_.failed, static_cast<std::int64_t>(num_items),
                     batch_.status);
  } else {
    fail(batch.error().message);
    batch_.status = "failed";
  }
  if (batch_.ended()) return maybe_stop();
  loop_.after(poll_every, [this] { poll(); });
}

void Demo::maybe_stop() {
  for (const auto& chat : chats_)
    if (!chat.ended) return;
  if (batch_.ended()) loop_.stop();
}

void Demo::check_line(const std::string& line, std::map<std::string, int>& seen) {
  json::error_code failure;
  const auto value = json::parse(line, failure);
  const auto* object = failure ? nullptr : value.if_object();
  const auto* id = object ? object->if_contains("custom_id") : nullptr;
  if (!id || !id->is_string()) return fail("a line of the output is malformed");
  const std::string name(id->as_string());
  ++seen[name];
  try {
    const auto& reply = object->at("response").as_object();
    const auto& body = reply.at("body").as_object();
    const auto& choice = body.at("choices").as_array().at(0).as_object();
    const bool has_text = !choice.at("message").as_object().at("content").as_string().empty();
    item_tokens_ += body.at("usage").as_object().at("completion_tokens").as_int64();
    if (reply.at("status_code").as_int64() == 200 && has_text)
      ++items_ok_;
    else
      fail(name + " has no answer");
  } catch (const std::exception&) {
    fail(name + ": its result is not a chat completion");
  }
}

void Demo::check_output() {
  if (batch_.status != "completed") fail("the batch is " + batch_.status + " " + batch_.errors);
  if (!batch_.error_file_id.empty()) fail("the batch has an error file");
  if (batch_.output_file_id.empty()) return fail("the batch has no output file");
  const auto content = client::file_content(url_, batch_.output_file_id);
  if (!content) return fail(content.error().message);
  std::map<std::string, int> seen;
  for (std::size_t at = 0; at < content->size();) {
    const auto end = std::min(content->find('\n', at), content->size());
    if (end > at) check_line(content->substr(at, end - at), seen);
    at = end + 1;
  }
  for (std::size_t i = 0; i < num_items; ++i) {
    const auto count = seen["item-" + std::to_string(i)];
    if (count != 1)
      fail("item-" + std::to_string(i) + " came back " + std::to_string(count) + " times");
  }
  if (seen.size() != num_items) fail("the output has items that were not sent");
}

void Demo::print_table() const {
  std::vector<double> ttft, tbt;
  std::size_t answered = 0;
  for (const auto& chat : chats_) {
    if (chat.answered) ++answered;
    if (chat.bytes > 0) ttft.push_back(chat.ttft_ms);
    tbt.insert(tbt.end(), chat.gaps_ms.begin(), chat.gaps_ms.end());
  }
  const auto first = client::spread(ttft), gaps = client::spread(tbt);
  std::printf("\n%-26s%10s%10s\n", "chats (ms)", "p50", "p99");
  std::printf("%-26s%10.1f%10.1f\n", "TTFT, sent to first text", first.p50, first.p99);
  std::printf("%-26s%10.1f%10.1f\n", "TBT, all gaps pooled", gaps.p50, gaps.p99);
  std::printf("%-26s%10zu of %zu\n", "chats answered", answered, num_chats);
  std::printf("%-26s%10zu of %zu, each once\n", "batch items completed", items_ok_, num_items);
  std::printf("%-26s%10.1f s\n", "batch time", batch_seconds_);
  std::printf("%-26s%10.0f\n", "offline tokens/s",
              batch_seconds_ > 0 ? static_cast<double>(item_tokens_) / batch_seconds_ : 0);
}

int Demo::run() {
  if (submit()) {
    for (std::size_t i = 0; i < num_chats; ++i) std::printf("chat %zu ? %s\n", i + 1, chats[i]);
    open_chats();
    poll();
    loop_.after(give_up_after, [this] {
      fail("it took longer than ten minutes");
      loop_.stop();
    });
    loop_.run();
    check_output();
    print_table();
  }
  for (const auto& reason : failures_) std::fprintf(stderr, "demo_client: %s\n", reason.c_str());
  return failures_.empty() ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  std::string url = "http://127.0.0.1:8000";
  if (argc == 3 && std::string(argv[1]) == "--url") {
    url = argv[2];
  } else if (argc != 1) {
    std::fprintf(stderr, "usage: demo_client [--url http://127.0.0.1:8000]\n");
    return 2;
  }
  const auto parsed = client::parse_url(url);
  if (!parsed) {
    std::fprintf(stderr, "demo_client: %s\n", parsed.error().message.c_str());
    return 2;
  }
  return Demo(*parsed).run();
}
