// The offline queue with a real store and a scheduler that the test plays: what its tests stand on.
#pragma once

#include <boost/json.hpp>
#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <catch2/catch.hpp>
#include <fstream>

#include "actors/spawn.hpp"
#include "sim/ask.hpp"
#include "sim/virtual_runtime.hpp"
#include "tests/support/failing_vfs.hpp"
#include "tests/support/temporary_folder.hpp"

namespace tandem::tests {

namespace json = boost::json;

/// What the queue told the scheduler.
struct SchedulerLog {
  std::vector<std::vector<RequestPtr>> refills;
  std::vector<RequestId> cancelled;
  int announcements = 0;
};
struct FakeState {
  static inline const char* name = "fake_scheduler";
};

inline Scheduler::behavior_type fake_scheduler(Scheduler::stateful_pointer<FakeState>,
                                               const std::shared_ptr<SchedulerLog>& log) {
  return {
      [](const msg::AdmitTo&) {},
      [log](const msg::Cancel& cancel) {
        log->cancelled.insert(log->cancelled.end(), cancel.ids.begin(), cancel.ids.end());
      },
      [log](const msg::OfflineItems& items) { log->refills.push_back(items.items); },
      [log](const msg::ItemsAvailable&) { ++log->announcements; },
      [](const msg::ModelUpdated&) {},
      [](const msg::BudgetUpdated&) {},
      [](const msg::AttachQueue&) {},
      [](const msg::AttachObservers&) {},
      [](const msg::Tick&) {},
  };
}

/// Token i is the character i.
class CharacterTokenizer final : public model::Tokenizer {
 public:
  [[nodiscard]] std::vector<TokenId> encode(std::string_view text, bool, bool) const override {
    return {text.begin(), text.end()};
  }
  [[nodiscard]] std::string_view token_bytes(TokenId id) const override {
    return {&characters_.at(static_cast<std::size_t>(id)), 1};
  }
  [[nodiscard]] bool is_special(TokenId id) const override { return id < 32; }
  [[nodiscard]] std::optional<TokenId> find(std::string_view) const override { return {}; }
  [[nodiscard]] std::size_t vocab_size() const override { return characters_.size(); }

 private:
  std::string characters_ = [] {
    std::string all;
    for (char c = 0; c < 100; ++c) all += c;
    return all;
  }();
};

inline ServedModelPtr tiny_model() {
  ServedModel model{.name = "tiny",
                    .tokenizer = std::make_shared<const CharacterTokenizer>(),
                    .max_context = Tokens(64)};
  model.config.vocab_size = 100;
  model.config.eos_tokens = {2};
  return std::make_shared<const ServedModel>(std::move(model));
}

/// A line whose body has `fields` beside the model.
inline std::string line(const std::string& custom_id, const std::string& fields) {
  return R"({"custom_id":")" + custom_id +
         R"(","method":"POST","url":"/v1/completions","body":{"model":"tiny",)" + fields + "}}\n";
}
/// `count` lines; line i's prompt is the one token i.
inline std::string simple_lines(int count) {
  std::string text;
  for (int i = 1; i <= count; ++i)
    text += line("c" + std::to_string(i), "\"prompt\":[" + std::to_string(i) + "]");
  return text;
}

struct QueueFixture {
  tests::TemporaryFolder folder;
  store::StoreOptions store_options;
  QueueOptions options;
  std::shared_ptr<SchedulerLog> log = std::make_shared<SchedulerLog>();
  std::shared_ptr<Metrics> metrics = std::make_shared<Metrics>();
  std::unique_ptr<sim::VirtualRuntime> virtual_time;
  std::int64_t unix_start = 1'000'000'000;  ///< at the start of virtual_time
  OfflineQueue queue;

  explicit QueueFixture(QueueOptions queue_options = {}) : options(queue_options) {
    store_options.data_dir = folder.path() / "store";
    options.unix_clock = [this] { return unix_start + (virtual_time ? seconds_passed() : 0); };
    start();
  }
  ~QueueFixture() { stop(); }

  void start() {
    virtual_time = std::make_unique<sim::VirtualRuntime>();
    auto store = store::Store::open(store_options);
    REQUIRE(store.has_value());
    auto scheduler = virtual_time->own(virtual_time->system().spawn(fake_scheduler, log));
    queue =
        virtual_time->own(spawn_offline_queue(virtual_time->system(), false, options,
                                              std::move(*store), tiny_model(), scheduler, metrics));
    virtual_time->run();
  }
  void stop() {
    queue = nullptr;
    if (virtual_time) unix_start += seconds_passed();
    virtual_time.reset();
  }
  [[nodiscard]] std::int64_t seconds_passed() const {
    return std::chrono::duration_cast<std::chrono::seconds>(virtual_time->now().time_since_epoch())
        .count();
  }
  void restart() {
    stop();
    start();
  }

  template <class T, class Message>
  Result<T> ask(Message message) {
    const auto answer = sim::ask<msg::Reply<T>>(*virtual_time, queue, std::move(message));
    virtual_time->run();
    REQUIRE(answer->value.has_value());
    return answer->value->value;
  }
  template <class Message>
  void tell(Message message) {
    caf::anon_send(queue, std::move(message));
    virtual_time->run();
  }

  std::string add_file(const std::string& contents, const std::string& purpose = "batch") {
    const auto path = ask<msg::UploadPath>(msg::NewUpload{})->path;
    std::ofstream(path, std::ios::binary) << contents;
    return ask<store::FileInfo>(msg::AddFile{path, "in.jsonl", purpose, std::nullopt})->id;
  }
  /// Creates a batch and lets its validation come to an end.
  std::string create(const std::string& contents, std::int64_t window_seconds = 3600) {
    auto batch = ask<store::BatchInfo>(msg::CreateBatch{.input_file_id = add_file(contents),
                                                        .endpoint = "/v1/completions",
                                                        .completion_window = "1h",
                                                        .window_seconds = window_seconds});
    REQUIRE(batch.has_value());
    return batch->id;
  }
  store::BatchInfo batch(const std::string& id) {
    return *ask<store::BatchInfo>(msg::GetBatch{id});
  }
  std::vector<RequestPtr> refill(std::uint32_t count) {
    tell(msg::RefillOffline{count});
    REQUIRE(!log->refills.empty());
    return log->refills.back();
  }

  static TokenEvent token(const RequestPtr& request, TokenId id) {
    return {.id = request->id, .token = id};
  }
  static TokenEvent ending(const RequestPtr& request, FinishReason reason) {
    TokenEvent event{.id = request->id, .finish = reason};
    if (reason == FinishReason::failed) event.error = error(Errc::device_failed, "broken");
    return event;
  }
  void emit(std::vector<TokenEvent> events) {
    tell(msg::TokensEmitted{std::make_shared<const std::vector<TokenEvent>>(std::move(events))});
  }
  /// The engine gives each request as many tokens as its first prompt token says.
  void generate(const std::vector<RequestPtr>& requests) {
    std::vector<TokenEvent> events;
    for (const auto& request : requests) {
      for (TokenId i = 0; i < request->prompt.at(0); ++i) events.push_back(token(request, 7));
      events.back().finish = FinishReason::stop;
    }
    emit(std::move(events));
  }

  std::vector<json::object> lines_of(const std::string& file_id) {
    std::vector<json::object> lines;
    std::ifstream in(ask<msg::FileOnDisk>(msg::GetFile{file_id})->path);
    for (std::string text; std::getline(in, text);) lines.push_back(json::parse(text).as_object());
    return lines;
  }
};

inline std::int64_t completion_tokens(const json::object& line) {
  return line.at("response").at("body").at("usage").at("completion_tokens").as_int64();
}
inline std::string error_code(const json::object& line) {
  return std::string(line.at("error").at("code").as_string());
}

}  // namespace tandem::tests
