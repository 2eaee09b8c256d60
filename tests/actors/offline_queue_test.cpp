// The offline queue between a real store and a scheduler that the test plays: what callers, the
// engine and the next process may rely on.
#include <boost/json.hpp>
#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <catch2/catch.hpp>
#include <fstream>
#include <thread>

#include "actors/spawn.hpp"
#include "sim/virtual_runtime.hpp"
#include "tests/actors/ask.hpp"
#include "tests/support/failing_vfs.hpp"
#include "tests/support/temporary_folder.hpp"

using namespace tandem;
using namespace std::chrono_literals;
namespace json = boost::json;

namespace {

/// What the queue told the scheduler.
struct SchedulerLog {
  std::vector<std::vector<RequestPtr>> refills;
  std::vector<RequestId> cancelled;
  int announcements = 0;
};
struct FakeState {
  static inline const char* name = "fake_scheduler";
};

Scheduler::behavior_type fake_scheduler(Scheduler::stateful_pointer<FakeState>,
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

ServedModelPtr tiny_model() {
  ServedModel model{.name = "tiny",
                    .tokenizer = std::make_shared<const CharacterTokenizer>(),
                    .max_context = Tokens(64)};
  model.config.vocab_size = 100;
  model.config.eos_tokens = {2};
  return std::make_shared<const ServedModel>(std::move(model));
}

/// A line whose body has `fields` beside the model.
std::string line(const std::string& custom_id, const std::string& fields) {
  return R"({"custom_id":")" + custom_id +
         R"(","method":"POST","url":"/v1/completions","body":{"model":"tiny",)" + fields + "}}\n";
}
/// `count` lines; line i's prompt is the one token i.
std::string simple_lines(int count) {
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
  OfflineQueue queue;

  explicit QueueFixture(QueueOptions queue_options = {}) : options(queue_options) {
    store_options.data_dir = folder.path() / "store";
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
    virtual_time.reset();
  }
  void restart() {
    stop();
    start();
  }

  template <class T, class Message>
  Result<T> ask(Message message) {
    const auto answer = tests::ask<msg::Reply<T>>(*virtual_time, queue, std::move(message));
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

std::int64_t completion_tokens(const json::object& line) {
  return line.at("response").at("body").at("usage").at("completion_tokens").as_int64();
}
std::string error_code(const json::object& line) {
  return std::string(line.at("error").at("code").as_string());
}

}  // namespace

TEST_CASE_METHOD(QueueFixture,
                 "a batch goes from upload to output, each item once, in line order") {
  const auto id = create(simple_lines(5));
  CHECK(batch(id).state == store::BatchState::in_progress);
  CHECK(batch(id).model == "tiny");
  const auto first = refill(3);
  const auto second = refill(3);
  REQUIRE(first.size() == 3);
  REQUIRE(second.size() == 2);
  CHECK(first[0]->prompt == std::vector<TokenId>{1});
  CHECK(first[0]->request_class == RequestClass::offline);
  generate(second);
  generate({first[2]});
  CHECK(batch(id).completed == 3);
  generate({first[0], first[1]});
  const auto ended = batch(id);
  CHECK(ended.state == store::BatchState::completed);
  CHECK(ended.completed == 5);
  CHECK(ended.completion_tokens == 15);
  CHECK(ended.prompt_tokens == 5);
  CHECK(ended.error_file_id.empty());
  const auto lines = lines_of(ended.output_file_id);
  REQUIRE(lines.size() == 5);
  for (std::int64_t i = 0; i < 5; ++i) {
    const auto& one = lines[static_cast<std::size_t>(i)];
    CHECK(one.at("custom_id").as_string() == "c" + std::to_string(i + 1));
    CHECK(one.at("response").at("status_code").as_int64() == 200);
    CHECK(completion_tokens(one) == i + 1);
    CHECK(one.at("error").is_null());
  }
  CHECK(log->cancelled.empty());
  CHECK(metrics->text().find("fenced_total 0") != std::string::npos);
}

TEST_CASE_METHOD(QueueFixture,
                 "an item that meets its stop string is kept, and its request stops") {
  const auto id = create(line("a", R"("prompt":[1],"stop":"XY")"));
  const auto requests = refill(1);
  emit({token(requests[0], 'A'), token(requests[0], 'X'), token(requests[0], 'Y')});
  CHECK(log->cancelled == std::vector{requests[0]->id});
  emit({token(requests[0], 'Z'), ending(requests[0], FinishReason::cancelled)});
  const auto lines = lines_of(batch(id).output_file_id);
  REQUIRE(lines.size() == 1);
  const auto& choice = lines[0].at("response").at("body").at("choices").at(0);
  CHECK(choice.at("text").as_string() == "A");
  CHECK(choice.at("finish_reason").as_string() == "stop");
}

TEST_CASE_METHOD(QueueFixture, "an item of several requests ends with its last one") {
  const auto id = create(line("a", R"("prompt":[[3],[4]],"n":2)") + simple_lines(2));
  const auto requests = refill(2);  // two were asked for; one item alone brings four
  REQUIRE(requests.size() == 4);
  CHECK(requests[0]->sampling.seed != requests[1]->sampling.seed);
  const auto others = refill(10);
  REQUIRE(others.size() == 2);  // the item that found no room was given back, and comes in order
  CHECK(others[0]->prompt == std::vector<TokenId>{1});
  generate({requests[3], requests[0], requests[2]});
  CHECK(batch(id).completed == 0);
  generate({requests[1]});
  CHECK(batch(id).completed == 1);
  generate(others);
  const auto lines = lines_of(batch(id).output_file_id);
  REQUIRE(lines.size() == 3);
  CHECK(completion_tokens(lines[0]) == 14);
  CHECK(lines[0].at("response").at("body").at("choices").as_array().size() == 4);
}

TEST_CASE_METHOD(QueueFixture, "one bad line fails the batch, and each is named with its line") {
  const auto id = create(line("a", R"("prompt":[1])") + "not json\n" +
                         line("b", R"("prompt":[1],"temperature":9)") +
                         line("c", R"("prompt":[1],"stream":true)"));
  const auto failed = batch(id);
  CHECK(failed.state == store::BatchState::failed);
  REQUIRE(failed.errors.size() == 3);
  CHECK(failed.errors[0].code == "invalid_json_line");
  CHECK(failed.errors[0].line == 2);
  CHECK(failed.errors[1].line == 3);
  CHECK(failed.errors[2].line == 4);
  CHECK(refill(4).empty());
}

TEST_CASE("a batch is refused as a whole for its size, a repeated custom_id, or nothing in it") {
  QueueFixture fixture(QueueOptions{.max_batch_items = 3});
  const auto first_error = [&](const std::string& contents) {
    const auto failed = fixture.batch(fixture.create(contents));
    CHECK(failed.state == store::BatchState::failed);
    REQUIRE(!failed.errors.empty());
    return failed.errors[0];
  };
  CHECK(first_error(simple_lines(4)).code == "too_many_requests");
  const auto repeated = first_error(simple_lines(2) + line("c1", R"("prompt":[1])"));
  CHECK(repeated.code == "duplicate_custom_id");
  CHECK(repeated.line == 3);
  CHECK(first_error("\n \n").code == "empty_file");
  CHECK(fixture.batch(fixture.create(simple_lines(3))).state == store::BatchState::in_progress);
}

TEST_CASE_METHOD(QueueFixture, "an item that the model cannot take is answered, not run") {
  const auto id = create(line("long", R"("prompt":[1],"max_tokens":64)") + simple_lines(1));
  const auto requests = refill(4);
  REQUIRE(requests.size() == 1);
  generate(requests);
  const auto ended = batch(id);
  CHECK(ended.state == store::BatchState::completed);
  CHECK(ended.completed == 1);
  CHECK(ended.failed == 1);
  const auto errors = lines_of(ended.error_file_id);
  REQUIRE(errors.size() == 1);
  CHECK(errors[0].at("custom_id").as_string() == "long");
  CHECK(errors[0].at("response").at("status_code").as_int64() == 400);
  CHECK(errors[0].at("response").at("body").at("error").at("code").as_string() ==
        "context_length_exceeded");
}

TEST_CASE("a batch of nothing but unservable items ends without the engine, in bounded turns") {
  QueueFixture fixture(QueueOptions{.max_prepared = 8});
  std::string contents;
  for (int i = 0; i < 40; ++i)
    contents += line("c" + std::to_string(i), R"("prompt":[1],"max_tokens":64)");
  const auto id = fixture.create(contents);
  int turns = 0;
  while (fixture.batch(id).state != store::BatchState::completed) {
    REQUIRE(++turns < 10);
    CHECK(fixture.refill(8).empty());
    CHECK(fixture.batch(id).failed <= 8 * turns);
    CHECK(fixture.log->announcements == std::min(turns, 4));  // it asks to be asked again
  }
  CHECK(turns == 5);
}

TEST_CASE_METHOD(QueueFixture, "the scheduler is told of items once, and only after it ran dry") {
  CHECK(log->announcements == 0);
  create(simple_lines(2));
  CHECK(log->announcements == 0);  // it has not asked yet
  CHECK(refill(2).size() == 2);
  create(simple_lines(3));
  virtual_time->advance(3s);
  CHECK(log->announcements == 0);  // it got all that it asked for, and will ask again
  CHECK(refill(8).size() == 3);
  virtual_time->advance(3s);
  CHECK(log->announcements == 0);
  create(simple_lines(1));
  CHECK(log->announcements == 1);
  create(simple_lines(1));
  virtual_time->advance(3s);
  CHECK(log->announcements == 1);
}

TEST_CASE_METHOD(QueueFixture, "cancelling stops the running items and drops the rest") {
  const auto id = create(simple_lines(5));
  const auto requests = refill(3);
  generate({requests[0]});
  const auto reply = ask<store::BatchInfo>(msg::CancelBatch{id});
  CHECK(reply->state == store::BatchState::cancelling);
  CHECK(log->cancelled == std::vector{requests[1]->id, requests[2]->id});
  // One ends by itself before the cancel reaches it: its batch is being cancelled all the same.
  generate({requests[1]});
  emit({token(requests[2], 5), ending(requests[2], FinishReason::cancelled)});
  const auto ended = batch(id);
  CHECK(ended.state == store::BatchState::cancelled);
  CHECK(ended.completed + ended.failed == 5);
  CHECK(lines_of(ended.output_file_id).size() == static_cast<std::size_t>(ended.completed));
  for (const auto& one : lines_of(ended.error_file_id)) CHECK(error_code(one) == "batch_cancelled");
  CHECK(refill(4).empty());
  CHECK(ask<store::BatchInfo>(msg::CancelBatch{id}).error().code == Errc::conflict);
}

TEST_CASE_METHOD(QueueFixture, "a batch whose deadline has passed expires, and only that one") {
  const auto other = create(simple_lines(1));
  refill(1);
  const auto id = create(simple_lines(3), -1);
  virtual_time->advance(2s);
  const auto ended = batch(id);
  CHECK(ended.state == store::BatchState::expired);
  const auto errors = lines_of(ended.error_file_id);
  REQUIRE(errors.size() == 3);
  CHECK(error_code(errors[0]) == "batch_expired");
  CHECK(log->cancelled.empty());
  CHECK(batch(other).state == store::BatchState::in_progress);
}

TEST_CASE_METHOD(QueueFixture, "items that run at the deadline are cancelled in the engine") {
  // Deadlines are wall-clock time, which no test can turn: this one waits for a few seconds.
  const auto id = create(simple_lines(3), 3);
  const auto requests = refill(2);
  REQUIRE(requests.size() == 2);
  for (int i = 0; i < 200 && batch(id).state == store::BatchState::in_progress; ++i) {
    std::this_thread::sleep_for(50ms);
    virtual_time->advance(1s);
  }
  CHECK(batch(id).state == store::BatchState::expired);
  CHECK(log->cancelled.size() == 2);
  generate({requests[0]});  // too late
  emit({ending(requests[1], FinishReason::cancelled)});
  CHECK(batch(id).failed == 3);
  CHECK(batch(id).completed == 0);
}

TEST_CASE_METHOD(QueueFixture, "an item that fails the engine again and again is given up alone") {
  const auto id = create(simple_lines(3));
  for (int i = 0; i < 3; ++i) {
    const auto requests = refill(2);
    REQUIRE(requests.size() == 2);
    emit({ending(requests[0], FinishReason::failed), ending(requests[1], FinishReason::failed)});
  }
  // Line 3 never failed and goes first; then line 1 runs alone, and is innocent.
  auto requests = refill(4);
  REQUIRE(requests.size() == 1);
  CHECK(requests[0]->prompt[0] == 3);
  generate(requests);
  requests = refill(4);
  REQUIRE(requests.size() == 1);
  CHECK(requests[0]->prompt[0] == 1);
  CHECK(refill(4).empty());
  generate(requests);
  CHECK(log->announcements >= 2);
  for (int i = 0; i < 3; ++i) {
    requests = refill(4);
    REQUIRE(requests.size() == 1);
    CHECK(requests[0]->prompt[0] == 2);
    emit({ending(requests[0], FinishReason::failed)});
  }
  const auto ended = batch(id);
  CHECK(ended.state == store::BatchState::completed);
  CHECK(ended.completed == 2);
  const auto errors = lines_of(ended.error_file_id);
  REQUIRE(errors.size() == 1);
  CHECK(error_code(errors[0]) == "poison_request");
}

TEST_CASE_METHOD(QueueFixture,
                 "draining hands out nothing and takes no batch, but records results") {
  const auto id = create(simple_lines(3));
  const auto requests = refill(1);
  tell(msg::Drain{});
  CHECK(refill(4).empty());
  generate(requests);
  CHECK(batch(id).completed == 1);
  CHECK(log->announcements == 0);
  const auto refused = ask<store::BatchInfo>(
      msg::CreateBatch{.input_file_id = batch(id).input_file_id, .endpoint = "/v1/completions"});
  CHECK(refused.error().code == Errc::shutting_down);
  restart();
  CHECK(refill(4).size() == 2);
}

TEST_CASE_METHOD(QueueFixture, "the next process takes up what the last one left") {
  const auto running = create(simple_lines(4));
  auto requests = refill(3);
  generate({requests[1]});
  emit({token(requests[0], 5)});
  restart();
  requests = refill(8);
  CHECK(requests.size() == 3);
  generate(requests);
  const auto ended = batch(running);
  CHECK(ended.state == store::BatchState::completed);
  const auto lines = lines_of(ended.output_file_id);
  REQUIRE(lines.size() == 4);
  for (std::size_t i = 0; i < 4; ++i)
    CHECK(completion_tokens(lines[i]) == static_cast<std::int64_t>(i) + 1);
}

TEST_CASE_METHOD(QueueFixture, "a validation that the last process began is begun again") {
  stop();
  std::string id;
  {
    auto store = std::move(*store::Store::open(store_options));
    const auto path = store->new_upload_path();
    std::ofstream(path) << simple_lines(2);
    const auto file = *store->add_file({path, "f", "batch", std::nullopt}, 1);
    id = store
             ->create_batch({.input_file_id = file.id,
                             .endpoint = "/v1/completions",
                             .completion_window = "24h",
                             .window_seconds = std::int64_t{1} << 40},
                            1)
             ->id;
    REQUIRE(store->begin_validation(id).has_value());
    REQUIRE(store->add_items(id, std::vector<store::NewItem>{{1, "c1", 0, 10}}).has_value());
  }
  start();
  CHECK(batch(id).state == store::BatchState::in_progress);
  CHECK(batch(id).total == 2);
}

TEST_CASE_METHOD(QueueFixture, "a request ends with the same seed in every process") {
  create(simple_lines(3));
  const auto before = refill(3);
  REQUIRE(before.size() == 3);
  generate({before[0]});
  restart();
  const auto after = refill(3);
  REQUIRE(after.size() == 2);  // they come first now, and draw the same tokens all the same
  CHECK(before[1]->sampling.seed == after[0]->sampling.seed);
  CHECK(before[2]->sampling.seed == after[1]->sampling.seed);
  CHECK(before[1]->sampling.seed != before[2]->sampling.seed);
}

TEST_CASE_METHOD(QueueFixture,
                 "on a full disk nothing is lost, and all goes on when space returns") {
  auto& disk = tests::failing_disk();
  disk = {};
  stop();
  store_options.sqlite_vfs = tests::failing_vfs_name;
  start();
  const auto id = create(simple_lines(6));
  const auto requests = refill(4);
  disk.countdown = 0;
  disk.keeps_failing = true;
  generate({requests[0], requests[1]});
  emit({ending(requests[2], FinishReason::failed)});
  CHECK(ask<msg::Nothing>(msg::ProbeStore{}).error().code == Errc::storage_failed);
  CHECK(ask<store::BatchInfo>(msg::CancelBatch{id}).error().code == Errc::storage_failed);
  CHECK(refill(2).empty());
  virtual_time->advance(5s);
  CHECK(batch(id).completed == 0);

  disk.heal();
  virtual_time->advance(2s);
  CHECK(ask<msg::Nothing>(msg::ProbeStore{}).has_value());
  CHECK(batch(id).completed == 2);
  CHECK(log->announcements == 1);
  generate({requests[3]});
  const auto rest = refill(8);
  REQUIRE(rest.size() == 3);  // lines 5 and 6, and line 3 again
  CHECK(rest[0]->prompt[0] == 3);
  generate(rest);
  CHECK(batch(id).state == store::BatchState::completed);
  CHECK(batch(id).completed == 6);
  stop();
  disk = {};
}

TEST_CASE_METHOD(QueueFixture,
                 "results that a full disk kept out are recorded when the queue ends") {
  auto& disk = tests::failing_disk();
  disk = {};
  stop();
  store_options.sqlite_vfs = tests::failing_vfs_name;
  start();
  const auto id = create(simple_lines(3));
  const auto requests = refill(3);
  disk.countdown = 0;
  disk.keeps_failing = true;
  generate({requests[0], requests[1]});
  disk.heal();
  restart();
  CHECK(batch(id).completed == 2);
  stop();
  disk = {};
}

TEST_CASE_METHOD(QueueFixture, "a validation meets a full disk and is done when space returns") {
  auto& disk = tests::failing_disk();
  disk = {};
  stop();
  store_options.sqlite_vfs = tests::failing_vfs_name;
  start();
  const auto file = add_file(simple_lines(3));
  for (long n = 0; n < 120; ++n) {
    CAPTURE(n);
    disk.countdown = n / 2;
    disk.keeps_failing = n % 2 == 0;
    auto created = ask<store::BatchInfo>(msg::CreateBatch{.input_file_id = file,
                                                          .endpoint = "/v1/completions",
                                                          .completion_window = "1h",
                                                          .window_seconds = 3600});
    disk.heal();
    virtual_time->advance(2s);
    if (!created) {
      CHECK(created.error().code == Errc::storage_failed);
      continue;
    }
    CHECK(batch(created->id).state == store::BatchState::in_progress);
    CHECK(batch(created->id).total == 3);
  }
  stop();
  disk = {};
}

TEST_CASE_METHOD(QueueFixture, "what callers ask for wrongly is refused with a reason") {
  CHECK(ask<store::BatchInfo>(msg::GetBatch{"batch_no"}).error().code == Errc::not_found);
  CHECK(ask<store::BatchInfo>(msg::CancelBatch{"batch_no"}).error().code == Errc::not_found);
  CHECK(ask<msg::FileOnDisk>(msg::GetFile{"file-no"}).error().code == Errc::not_found);
  CHECK(ask<msg::Nothing>(msg::RemoveFile{"file-no"}).error().code == Errc::not_found);
  CHECK(ask<msg::FilePage>(msg::ListFiles{.after = "file-no"}).error().param == "after");
  CHECK(ask<msg::BatchPage>(msg::ListBatches{.after = "batch_no"}).error().param == "after");
  CHECK(ask<store::BatchInfo>(
            msg::CreateBatch{.input_file_id = "file-no", .endpoint = "/v1/completions"})
            .error()
            .param == "input_file_id");
  const auto file = add_file("x");
  CHECK(ask<store::BatchInfo>(msg::CreateBatch{.input_file_id = file, .endpoint = "/v1/responses"})
            .error()
            .param == "endpoint");
  CHECK(ask<store::FileInfo>(msg::AddFile{"/etc/hostname", "f", "batch", std::nullopt})
            .error()
            .code == Errc::invalid_value);
  const auto id = create(simple_lines(1));
  CHECK(ask<msg::Nothing>(msg::RemoveFile{batch(id).input_file_id}).error().code == Errc::conflict);
  CHECK(ask<msg::Nothing>(msg::RemoveFile{file}).has_value());
  CHECK(ask<msg::FilePage>(msg::ListFiles{})->files.size() == 1);
}

TEST_CASE_METHOD(QueueFixture, "a repeated create with the same key gives the first batch") {
  const msg::CreateBatch create{.input_file_id = add_file(simple_lines(2)),
                                .endpoint = "/v1/completions",
                                .completion_window = "1h",
                                .window_seconds = 3600,
                                .metadata = {},
                                .idempotency_key = "k"};
  const auto first = ask<store::BatchInfo>(create);
  const auto second = ask<store::BatchInfo>(create);
  CHECK(first->id == second->id);
  CHECK(refill(8).size() == 2);
}

TEST_CASE_METHOD(QueueFixture, "events of requests that the queue does not know are passed over") {
  const auto id = create(simple_lines(1));
  const auto requests = refill(1);
  Request stranger = *requests[0];
  stranger.id = RequestId(12345);
  generate({std::make_shared<const Request>(stranger)});
  CHECK(batch(id).completed == 0);
  generate(requests);
  generate(requests);
  CHECK(batch(id).completed == 1);
}
