// The offline queue between a real store and a scheduler that the test plays: what callers, the
// engine and the next process may rely on.
#include "tests/actors/offline_queue_fixture.hpp"

using namespace tandem;
using namespace tandem::tests;
using namespace std::chrono_literals;

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

TEST_CASE_METHOD(QueueFixture, "fields of batch lines that nobody knows are counted") {
  const auto id = create(line("a", R"("prompt":[1],"zebra":1,"yak":2)") +
                         line("b", R"("prompt":[1],"zebra":1)"));
  CHECK(batch(id).state == store::BatchState::in_progress);
  CHECK(metrics->text().find("\ntandem_ignored_fields_total 3\n") != std::string::npos);
  generate(refill(2));
  CHECK(batch(id).completed == 2);
  CHECK(metrics->text().find("\ntandem_ignored_fields_total 3\n") != std::string::npos);
}

TEST_CASE_METHOD(QueueFixture, "so are those of the call that makes a batch") {
  const auto created =
      ask<store::BatchInfo>(msg::CreateBatch{.input_file_id = add_file(simple_lines(1)),
                                             .endpoint = "/v1/completions",
                                             .completion_window = "1h",
                                             .window_seconds = 3600,
                                             .ignored_fields = 2});
  CHECK(created.has_value());
  CHECK(metrics->text().find("\ntandem_ignored_fields_total 2\n") != std::string::npos);
}

TEST_CASE("with strict_fields a batch line with an unknown field is an error") {
  QueueOptions options;
  options.line_limits.strict_fields = true;
  QueueFixture fixture(options);
  const auto failed =
      fixture.batch(fixture.create(simple_lines(1) + line("b", R"("prompt":[1],"zebra":1)")));
  CHECK(failed.state == store::BatchState::failed);
  REQUIRE(failed.errors.size() == 1);
  CHECK(failed.errors[0].code == "unsupported_parameter");
  CHECK(failed.errors[0].param == "zebra");
  CHECK(failed.errors[0].line == 2);
}

TEST_CASE("batch lines have the limits that the configuration sets, once accepted for good") {
  QueueOptions options;
  options.line_limits.max_choices = 3;
  QueueFixture fixture(options);
  const auto refused = fixture.batch(fixture.create(line("a", R"("prompt":[1],"n":4)")));
  REQUIRE(refused.errors.size() == 1);
  CHECK(refused.errors[0].param == "n");
  const auto id = fixture.create(line("a", R"("prompt":[1],"n":3,"zebra":1)"));
  CHECK(fixture.batch(id).state == store::BatchState::in_progress);
  fixture.options.line_limits.max_choices = 1;
  fixture.options.line_limits.strict_fields = true;
  fixture.restart();
  const auto requests = fixture.refill(3);
  REQUIRE(requests.size() == 3);
  fixture.generate(requests);
  CHECK(fixture.batch(id).completed == 1);
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

TEST_CASE_METHOD(QueueFixture, "deadlines are those of the clock that the queue was given") {
  const auto id = create(simple_lines(2), 3600);
  CHECK(batch(id).created_at == 1'000'000'000);
  virtual_time->advance(3599s);
  CHECK(batch(id).state == store::BatchState::in_progress);
  virtual_time->advance(2s);
  CHECK(batch(id).state == store::BatchState::expired);
}

TEST_CASE_METHOD(QueueFixture, "items that run at the deadline are cancelled in the engine") {
  const auto id = create(simple_lines(3), 3);
  const auto requests = refill(2);
  REQUIRE(requests.size() == 2);
  virtual_time->advance(4s);
  CHECK(batch(id).state == store::BatchState::expired);
  CHECK(log->cancelled.size() == 2);
  generate({requests[0]});  // too late
  emit({ending(requests[1], FinishReason::cancelled)});
  CHECK(batch(id).failed == 3);
  CHECK(batch(id).completed == 0);
}
