// The files of an ended batch: right, in order, and complete or absent whatever dies when.
#include <csignal>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/store/support.hpp"

namespace tandem::store::testing {

namespace {

/// A batch of `count` ended items: each third is an HTTP error, each fifth an error of ours.
std::string ended_batch(Store& store, std::int64_t count) {
  const auto id = running_batch(store, count);
  auto done = finished(value(store.claim(count, 1001)));
  for (auto& item : done) {
    if (item.ref.line_no % 3 == 0) item.status_code = 400;
    if (item.ref.line_no % 5 == 0) item.error_code = "engine_failed";
  }
  std::reverse(done.begin(), done.end());
  REQUIRE(value(store.finish(done, 1002)) == 0);
  return id;
}

std::size_t entries(const std::filesystem::path& folder) {
  return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(folder), {}));
}

/// Output and error lines of a batch that must be completed.
std::pair<std::vector<std::string>, std::vector<std::string>> outputs(Store& store,
                                                                      const std::string& id) {
  const auto batch = value(store.get_batch(id));
  REQUIRE(batch.state == BatchState::completed);
  return {lines_of(store, batch.output_file_id), lines_of(store, batch.error_file_id)};
}

const std::vector<std::string> all_steps = {
    "finalize.open",        "finalize.write",  "finalize.sync",     "finalize.rename",
    "finalize.sync_folder", "finalize.commit", "finalize.committed"};

}  // namespace

TEST_CASE("output lines have the shape of the API") {
  TemporaryFolder folder;
  auto store = open_store(folder);
  const auto input = make_input(3);
  auto items = input.items;
  items[0].custom_id = "quote \" back \\ line \n";
  const auto id =
      value(store->create_batch(batch_of_file(upload(*store, input.contents).id), 1000)).id;
  succeed(store->begin_validation(id));
  REQUIRE(!value(store->add_items(id, items)));
  value(store->finish_validation(id, "demo", {}, 1000));
  auto done = finished(value(store->claim(3, 1001)));
  done[0].body = "{\n \"a\": 1\r\n}";
  done[1].status_code = 404;
  done[2].error_code = "c";
  done[2].error_message = "say \"no\"";
  value(store->finish(done, 1002));
  finalize(*store, id, 1003);

  const auto unique = id.substr(6);
  const auto [out, errors] = outputs(*store, id);
  REQUIRE(out.size() == 1);
  CHECK(out[0] == R"({"id":"batch_req_)" + unique +
                      R"(00000001","custom_id":"quote \" back \\ line \u000a","response":)"
                      R"({"status_code":200,"request_id":"req-1","body":{  "a": 1  }},)"
                      R"("error":null})");
  REQUIRE(errors.size() == 2);
  CHECK(errors[0] == R"({"id":"batch_req_)" + unique +
                         R"(00000002","custom_id":"c1","response":{"status_code":404,)"
                         R"("request_id":"req-2","body":{"answer":2}},"error":null})");
  CHECK(errors[1] == R"({"id":"batch_req_)" + unique +
                         R"(00000003","custom_id":"c2","response":null,)"
                         R"("error":{"code":"c","message":"say \"no\""}})");

  const auto batch = value(store->get_batch(id));
  CHECK(batch.completed_at == 1003);
  const auto file = value(store->get_file(batch.output_file_id));
  CHECK(file.purpose == "batch_output");
  CHECK(file.filename == id + "_output.jsonl");
  CHECK(file.bytes == static_cast<std::int64_t>(out[0].size() + 1));
  CHECK(value(store->get_file(batch.error_file_id)).filename == id + "_error.jsonl");
  CHECK(value(store->unfinished_batches()).empty());
}

TEST_CASE("lines stand in the order of the input, however the items ended") {
  TemporaryFolder folder;
  auto store = open_store(folder);
  const auto id = ended_batch(*store, 50);
  finalize(*store, id);
  const auto [out, errors] = outputs(*store, id);
  CHECK(out.size() + errors.size() == 50);
  for (const auto* file : {&out, &errors}) CHECK(std::is_sorted(file->begin(), file->end()));
}

TEST_CASE("a file without lines does not exist") {
  TemporaryFolder folder;
  auto store = open_store(folder);
  const auto good = running_batch(*store, 1);
  value(store->finish(finished(value(store->claim(1, 1001))), 1002));
  finalize(*store, good);
  CHECK(value(store->get_batch(good)).error_file_id.empty());
  const auto bad = running_batch(*store, 1);
  value(store->finish(std::vector{finished(value(store->claim(1, 1001))[0].ref, 500)}, 1002));
  finalize(*store, bad);
  CHECK(value(store->get_batch(bad)).output_file_id.empty());
  CHECK(!value(store->get_batch(bad)).error_file_id.empty());
  CHECK(failure(store->finalize_some(bad, 1, 3000)).code == Errc::conflict);
  CHECK(failure(store->cancel_batch(bad, 3000)).code == Errc::conflict);
}

TEST_CASE("outputs expire as long after their creation as the batch says, and are swept then") {
  TemporaryFolder folder;
  auto store = open_store(folder);
  const auto input = make_input(2);
  auto request = batch_of_file(upload(*store, input.contents).id);
  request.output_expires_after_seconds = 3600;
  const auto id = value(store->create_batch(request, 1000)).id;
  succeed(store->begin_validation(id));
  REQUIRE(!value(store->add_items(id, input.items)));
  value(store->finish_validation(id, "demo", {}, 1000));
  store.reset();
  store = open_store(folder);  // it is kept with the batch, not in the process
  auto done = finished(value(store->claim(2, 1001)));
  done[1].status_code = 400;
  value(store->finish(done, 1002));
  finalize(*store, id, 2000);

  const auto batch = value(store->get_batch(id));
  const auto path = value(store->file_path(batch.output_file_id));
  for (const auto& file : {batch.output_file_id, batch.error_file_id})
    CHECK(value(store->get_file(file)).expires_at == 5600);
  while (value(store->sweep(5599))) {
  }
  CHECK(store->get_file(batch.output_file_id).has_value());
  value(store->sweep(5600));
  CHECK(failure(store->get_file(batch.output_file_id)).code == Errc::not_found);
  CHECK(failure(store->get_file(batch.error_file_id)).code == Errc::not_found);
  CHECK(!std::filesystem::exists(path));
  CHECK(value(store->get_batch(id)).state == BatchState::completed);
}

TEST_CASE("outputs of a batch that says nothing stay") {
  TemporaryFolder folder;
  auto store = open_store(folder);
  const auto id = ended_batch(*store, 3);
  finalize(*store, id, 2000);
  const auto output = value(store->get_batch(id)).output_file_id;
  CHECK(value(store->get_file(output)).expires_at == std::nullopt);
  while (value(store->sweep(1'000'000'000))) {
  }
  CHECK(store->get_file(output).has_value());
}

TEST_CASE("finalizing goes in portions, and another batch may come between") {
  TemporaryFolder folder;
  auto store = open_store(folder);
  const auto one = ended_batch(*store, 20);
  const auto two = ended_batch(*store, 10);
  CHECK(!value(store->finalize_some(one, 10, 2000)));
  CHECK(value(store->get_batch(one)).state == BatchState::finalizing);
  CHECK(failure(store->cancel_batch(one, 2000)).code == Errc::conflict);
  CHECK(value(store->finalize_some(two, 100, 2000)));
  finalize(*store, one);
  const auto [out, errors] = outputs(*store, one);
  CHECK(out.size() + errors.size() == 20);
  CHECK(entries(folder.path() / "store" / "incoming") == 0);
}

TEST_CASE("large bodies pass through whole") {
  TemporaryFolder folder;
  auto store = open_store(folder);
  const auto id = running_batch(*store, 3);
  auto done = finished(value(store->claim(3, 1001)));
  done[1].body = "\"" + std::string(5'000'000, 'x') + "\"";
  value(store->finish(done, 1002));
  finalize(*store, id);
  const auto out = lines_of(*store, value(store->get_batch(id)).output_file_id);
  REQUIRE(out.size() == 3);
  CHECK_THAT(out[1], Catch::Contains(done[1].body));
}

TEST_CASE("a failing disk at any step of finalizing leaves nothing, and the next try succeeds") {
  TemporaryFolder reference_folder;
  auto reference = open_store(reference_folder);
  const auto reference_id = ended_batch(*reference, 20);
  finalize(*reference, reference_id);
  const auto wanted = outputs(*reference, reference_id);

  for (const auto& failing : all_steps) {
    if (failing == "finalize.committed") continue;  // too late to fail
    for (int skip = 0; skip < 2; ++skip) {          // both files
      CAPTURE(failing, skip);
      TemporaryFolder folder;
      int countdown = -1;
      auto options = options_for(folder);
      options.fault_hook = [&](std::string_view step) {
        return step == failing && countdown-- == 0;
      };
      auto store = value(Store::open(options));
      const auto id = ended_batch(*store, 20);
      countdown = skip;
      auto done = store->finalize_some(id, 100, 2000);
      if (skip == 0) REQUIRE(!done.has_value());
      if (!done) {
        CHECK(done.error().code == Errc::storage_failed);
        CHECK(value(store->get_batch(id)).state == BatchState::finalizing);
        CHECK(value(store->list_files({.purpose = "batch_output"})).files.empty());
        finalize(*store, id);
      }
      const auto got = outputs(*store, id);
      CHECK(got.first.size() == wanted.first.size());
      CHECK(got.second.size() == wanted.second.size());
      value(store->sweep(2001));
      CHECK(entries(options.data_dir / "files") == 3);
      CHECK(entries(options.data_dir / "incoming") == 0);
    }
  }
}

TEST_CASE("a crash at any step of finalizing leaves the files absent or complete") {
  for (const auto& fatal : all_steps) {
    CAPTURE(fatal);
    TemporaryFolder folder;
    std::string id;
    {
      auto store = open_store(folder);
      id = ended_batch(*store, 20);
    }
    const auto child = ::fork();
    if (child == 0) {
      auto options = options_for(folder);
      int before = fatal == "finalize.write" ? 9 : 0;
      options.fault_hook = [&](std::string_view step) {
        if (step == fatal && before-- == 0) ::kill(::getpid(), SIGKILL);
        return false;
      };
      auto store = Store::open(options);
      if (store) (void)(*store)->finalize_some(id, 100, 2000);
      ::_exit(1);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    REQUIRE(WIFSIGNALED(status));

    auto store = open_store(folder);
    CHECK(store->report().previous_died);
    const bool ended = fatal == "finalize.committed";
    CHECK(value(store->finalizable_batches()).empty() == ended);
    CHECK(value(store->list_files({.purpose = "batch_output"})).files.size() == (ended ? 2U : 0U));
    CHECK(entries(folder.path() / "store" / "files") == (ended ? 3U : 1U));
    CHECK(entries(folder.path() / "store" / "incoming") == 0);
    if (!ended) finalize(*store, id);
    const auto [out, errors] = outputs(*store, id);
    CHECK(out.size() + errors.size() == 20);
  }
}

}  // namespace tandem::store::testing
