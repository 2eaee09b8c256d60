// The offline queue when things go wrong: engines that fail, processes that die, full disks,
// callers that ask for the impossible.
#include "tests/actors/offline_queue_fixture.hpp"

using namespace tandem;
using namespace tandem::tests;
using namespace std::chrono_literals;

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
  CHECK(rest[0]->prompt[0] + rest[1]->prompt[0] + rest[2]->prompt[0] == 5 + 6 + 3);
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
