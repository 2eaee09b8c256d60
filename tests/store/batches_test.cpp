// Batches: their states, their validation, and asking for the same one twice.
#include "tests/store/support.hpp"

namespace tandem::store::testing {

TEST_CASE("a batch begins in validation, with all that its caller said") {
  TemporaryFolder folder;
  std::string id;
  FileInfo file;
  {
    auto store = open_store(folder);
    file = upload(*store, "x");
    auto request = batch_of_file(file.id, 600);
    request.completion_window = "10m";
    request.metadata = {{"b", "two"}, {"a", "one"}, {"", ""}};
    id = value(store->create_batch(request, 5000)).id;
  }
  auto store = open_store(folder);
  const auto batch = value(store->get_batch(id));
  CHECK(batch.state == BatchState::validating);
  CHECK(batch.endpoint == "/v1/completions");
  CHECK(batch.completion_window == "10m");
  CHECK(batch.input_file_id == file.id);
  CHECK(batch.created_at == 5000);
  CHECK(batch.expires_at == 5600);
  CHECK(batch.metadata == std::map<std::string, std::string>{{"a", "one"}, {"b", "two"}, {"", ""}});
  CHECK(batch.total + batch.completed + batch.failed == 0);
  CHECK(!batch.in_progress_at);
  const auto unfinished = value(store->unfinished_batches());
  REQUIRE(unfinished.size() == 1);
  CHECK(unfinished[0].id == id);
}

TEST_CASE("a batch needs an existing input file of purpose batch") {
  TemporaryFolder folder;
  auto store = open_store(folder);
  for (const auto& file_id :
       {std::string("file-unknown"), upload(*store, "x", 1, "user_data").id}) {
    const auto error = failure(store->create_batch(batch_of_file(file_id), 1));
    CHECK(error.code == Errc::invalid_value);
    CHECK(error.param == "input_file_id");
  }
  CHECK(failure(store->get_batch("batch_unknown")).code == Errc::not_found);
  CHECK(failure(store->cancel_batch("batch_unknown", 1)).code == Errc::not_found);
  CHECK(failure(store->begin_validation("batch_unknown")).code == Errc::not_found);
  CHECK(failure(store->finalize_some("batch_unknown", 1, 1)).code == Errc::not_found);
}

TEST_CASE("the same key and request within ten minutes give the first batch") {
  TemporaryFolder folder;
  auto store = open_store(folder);
  auto request = batch_of_file(upload(*store, "x").id);
  request.metadata = {{"a", "1"}};
  const auto plain = value(store->create_batch(request, 1000)).id;
  CHECK(value(store->create_batch(request, 1000)).id != plain);

  request.idempotency_key = "key";
  const auto first = value(store->create_batch(request, 1000)).id;
  CHECK(value(store->create_batch(request, 1599)).id == first);
  auto other = request;
  other.idempotency_key = "other";
  CHECK(value(store->create_batch(other, 1599)).id != first);
  other = request;
  other.metadata = {{"a", "2"}};
  CHECK(value(store->create_batch(other, 1599)).id != first);
  other = request;
  other.output_expires_after_seconds = 3600;
  CHECK(value(store->create_batch(other, 1599)).id != first);
  store.reset();
  store = open_store(folder);
  CHECK(value(store->create_batch(request, 1599)).id == first);
  const auto second = value(store->create_batch(request, 1600)).id;
  CHECK(second != first);
  CHECK(value(store->create_batch(request, 1601)).id == second);
  value(store->sweep(5000));
  CHECK(value(store->create_batch(request, 1601)).id != second);
}

TEST_CASE("a batch that takes a key over is new, and the key stands for it") {
  TemporaryFolder folder;
  auto store = open_store(folder);
  auto request = batch_of_file(upload(*store, "x").id);
  request.idempotency_key = "key";
  const auto first = value(store->create_batch(request, 1000)).id;
  request.takes_over_key = true;
  const auto second = value(store->create_batch(request, 1500)).id;
  CHECK(second != first);
  request.takes_over_key = false;
  store.reset();
  store = open_store(folder);
  CHECK(value(store->create_batch(request, 2000)).id == second);  // ten minutes from the second one
}

TEST_CASE("batches are listed newest first, page by page") {
  TemporaryFolder folder;
  auto store = open_store(folder);
  const auto file = upload(*store, "x");
  std::vector<std::string> ids;
  for (int i = 0; i < 3; ++i)
    ids.push_back(value(store->create_batch(batch_of_file(file.id), 1000)).id);
  auto page = value(store->list_batches(2, ""));
  REQUIRE(page.batches.size() == 2);
  CHECK(page.batches[0].id == ids[2]);
  CHECK(page.has_more);
  page = value(store->list_batches(2, page.batches[1].id));
  REQUIRE(page.batches.size() == 1);
  CHECK(page.batches[0].id == ids[0]);
  CHECK(!page.has_more);
  CHECK(failure(store->list_batches(2, "batch_unknown")).param == "after");
}

TEST_CASE("a valid input puts the batch in progress, with its total") {
  TemporaryFolder folder;
  auto store = open_store(folder);
  const auto id = running_batch(*store, 300, 1234);
  const auto batch = value(store->get_batch(id));
  CHECK(batch.state == BatchState::in_progress);
  CHECK(batch.total == 300);
  CHECK(batch.model == "demo");
  CHECK(batch.in_progress_at == 1234);
  CHECK(failure(store->begin_validation(id)).code == Errc::conflict);
  CHECK(failure(store->add_items(id, {})).code == Errc::conflict);
  CHECK(failure(store->finish_validation(id, "m", {}, 1)).code == Errc::conflict);
}

TEST_CASE("any error fails the whole batch and drops its items") {
  TemporaryFolder folder;
  auto store = open_store(folder);
  const auto input = make_input(3);
  const auto batch =
      value(store->create_batch(batch_of_file(upload(*store, input.contents).id), 1000));
  succeed(store->begin_validation(batch.id));
  REQUIRE(!value(store->add_items(batch.id, input.items)));
  const std::vector<BatchError> errors = {
      {.code = "invalid_json_line", .message = "not \"JSON\"", .param = "", .line = 7},
      {.code = "too_many", .message = "m", .param = "input_file_id", .line = std::nullopt}};
  value(store->finish_validation(batch.id, "demo", errors, 1001));
  store.reset();
  store = open_store(folder);
  const auto failed = value(store->get_batch(batch.id));
  CHECK(failed.state == BatchState::failed);
  CHECK(failed.failed_at == 1001);
  CHECK(failed.total == 0);
  REQUIRE(failed.errors.size() == 2);
  CHECK(failed.errors[0].message == "not \"JSON\"");
  CHECK(failed.errors[0].line == 7);
  CHECK(failed.errors[1].param == "input_file_id");
  CHECK(!failed.errors[1].line);
  CHECK(value(store->item_counts()).ready == 0);
  CHECK(value(store->claim(10, 1002)).empty());
  CHECK(failure(store->cancel_batch(batch.id, 1003)).code == Errc::conflict);
}

TEST_CASE("an input without requests fails the batch") {
  TemporaryFolder folder;
  auto store = open_store(folder);
  const auto batch = value(store->create_batch(batch_of_file(upload(*store, "").id), 1000));
  succeed(store->begin_validation(batch.id));
  const auto failed = value(store->finish_validation(batch.id, "demo", {}, 1001));
  CHECK(failed.state == BatchState::failed);
  REQUIRE(failed.errors.size() == 1);
  CHECK(failed.errors[0].code == "empty_file");
}

TEST_CASE("a repeated custom_id is reported with its line, and its chunk is not added") {
  TemporaryFolder folder;
  auto store = open_store(folder);
  auto input = make_input(6);
  const auto batch =
      value(store->create_batch(batch_of_file(upload(*store, input.contents).id), 1000));
  succeed(store->begin_validation(batch.id));
  input.items[4].custom_id = "c1";
  REQUIRE(!value(store->add_items(batch.id, std::span(input.items).first(3))));
  const auto error = value(store->add_items(batch.id, std::span(input.items).last(3)));
  REQUIRE(error);
  CHECK(error->code == "duplicate_custom_id");
  CHECK(error->line == 5);
  CHECK_THAT(error->message, Catch::Contains("c1"));
  CHECK(value(store->item_counts()).ready == 3);
  // The same custom_id in another batch is another matter.
  CHECK(value(store->get_batch(running_batch(*store, 2))).total == 2);
}

TEST_CASE("an interrupted validation starts afresh") {
  TemporaryFolder folder;
  const auto input = make_input(10);
  std::string id;
  {
    auto store = open_store(folder);
    id = value(store->create_batch(batch_of_file(upload(*store, input.contents).id), 1000)).id;
    succeed(store->begin_validation(id));
    REQUIRE(!value(store->add_items(id, std::span(input.items).first(6))));
  }
  auto store = open_store(folder);
  REQUIRE(value(store->unfinished_batches()).size() == 1);
  CHECK(value(store->claim(10, 1001)).empty());
  succeed(store->begin_validation(id));
  REQUIRE(!value(store->add_items(id, input.items)));
  CHECK(value(store->finish_validation(id, "demo", {}, 1002)).total == 10);
}

TEST_CASE("a batch is cancelled at once while it is validated") {
  TemporaryFolder folder;
  auto store = open_store(folder);
  const auto input = make_input(3);
  const auto id =
      value(store->create_batch(batch_of_file(upload(*store, input.contents).id), 1000)).id;
  succeed(store->begin_validation(id));
  REQUIRE(!value(store->add_items(id, input.items)));
  const auto batch = value(store->cancel_batch(id, 1001));
  CHECK(batch.state == BatchState::cancelled);
  CHECK(batch.cancelling_at == 1001);
  CHECK(batch.cancelled_at == 1001);
  CHECK(value(store->item_counts()).ready == 0);
  CHECK(failure(store->add_items(id, {})).code == Errc::conflict);
  CHECK(value(store->unfinished_batches()).empty());
}

TEST_CASE("states have the names of the API") {
  CHECK(to_string(BatchState::in_progress) == "in_progress");
  CHECK(to_string(BatchState::cancelling) == "cancelling");
  CHECK(to_string(BatchState::finalizing) == "finalizing");
}

}  // namespace tandem::store::testing
