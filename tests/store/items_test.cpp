// Items: claimed in order under a token, finished once, expired, cancelled.
#include "tests/store/support.hpp"

namespace tandem::store::testing {

namespace {
std::vector<std::int64_t> lines(const std::vector<ClaimedItem>& items) {
  std::vector<std::int64_t> out;
  for (const auto& item : items) out.push_back(item.ref.line_no);
  return out;
}
std::vector<ItemRef> refs(const std::vector<ClaimedItem>& items) {
  std::vector<ItemRef> out;
  for (const auto& item : items) out.push_back(item.ref);
  return out;
}
using Lines = std::vector<std::int64_t>;
}  // namespace

TEST_CASE("items are claimed by deadline, then batch, then line, with their text") {
  TemporaryFolder folder;
  auto store = open_store(folder);
  const auto late = running_batch(*store, 2, 1000, 900);
  const auto early = running_batch(*store, 2, 1000, 600);
  const auto early_too = running_batch(*store, 1, 1000, 600);
  const auto items = value(store->claim(4, 1001));
  REQUIRE(items.size() == 4);
  CHECK(lines(items) == Lines{1, 2, 1, 1});
  CHECK(items[0].ref.batch_id == early);
  CHECK(items[2].ref.batch_id == early_too);
  CHECK(items[3].ref.batch_id == late);
  CHECK(items[1].text == "body 1");
  CHECK(items[1].custom_id == "c1");
  CHECK(items[1].endpoint == "/v1/completions");
  CHECK(items[1].deadline == 1600);
  CHECK(items[1].attempt == 1);
  CHECK(!items[1].alone);
  CHECK(lines(value(store->claim(4, 1001))) == Lines{2});
  CHECK(!value(store->has_claimable(1001)));
  CHECK(value(store->claim(4, 1001)).empty());
  CHECK(value(store->item_counts()).claimed == 5);
}

TEST_CASE("a claim of nothing claims nothing") {
  TemporaryFolder folder;
  auto store = open_store(folder);
  CHECK(!value(store->has_claimable(1)));
  running_batch(*store, 1);
  CHECK(value(store->claim(0, 1001)).empty());
  CHECK(value(store->claim(-1, 1001)).empty());
  CHECK(value(store->has_claimable(1001)));
}

TEST_CASE("finishing counts each item once and ends the batch with its last") {
  TemporaryFolder folder;
  auto store = open_store(folder);
  const auto id = running_batch(*store, 3);
  const auto items = value(store->claim(3, 1001));
  auto done = finished(items);
  done[1].status_code = 400;
  done[2].error_code = "engine_failed";
  CHECK(value(store->finish(std::span(done).first(2), 1002)) == 0);
  auto batch = value(store->get_batch(id));
  CHECK(batch.state == BatchState::in_progress);
  CHECK(batch.completed == 1);
  CHECK(batch.failed == 1);
  CHECK(value(store->finalizable_batches()).empty());
  CHECK(value(store->finish(done, 1003)) == 2);
  batch = value(store->get_batch(id));
  CHECK(batch.completed == 1);
  CHECK(batch.failed == 2);
  CHECK(batch.prompt_tokens == 9);
  CHECK(batch.cached_tokens == 3);
  CHECK(batch.completion_tokens == 6);
  CHECK(batch.reasoning_tokens == 3);
  CHECK(batch.state == BatchState::finalizing);
  CHECK(batch.finalizing_at == 1003);
  CHECK(value(store->finalizable_batches()) == std::vector{id});
}

TEST_CASE("a stale hold cannot finish an item, before or after the newer one did") {
  for (const bool newer_first : {true, false}) {
    CAPTURE(newer_first);
    TemporaryFolder folder;
    auto store = open_store(folder);
    const auto id = running_batch(*store, 1);
    const auto old = value(store->claim(1, 1001));
    CHECK(value(store->return_items(refs(old), ReturnReason::drained, 1002)) == 1);
    const auto current = value(store->claim(1, 1003));
    REQUIRE(current.size() == 1);
    CHECK(current[0].ref.token > old[0].ref.token);

    auto stale = finished(old);
    stale[0].body = "\"stale\"";
    const auto fresh = finished(current);
    if (newer_first) CHECK(value(store->finish(fresh, 1004)) == 0);
    CHECK(value(store->finish(stale, 1005)) == 1);
    CHECK(value(store->return_items(refs(old), ReturnReason::drained, 1005)) == 0);
    if (!newer_first) CHECK(value(store->finish(fresh, 1006)) == 0);
    CHECK(value(store->get_batch(id)).completed == 1);
    finalize(*store, id);
    const auto lines = lines_of(*store, value(store->get_batch(id)).output_file_id);
    REQUIRE(lines.size() == 1);
    CHECK_THAT(lines[0], Catch::Contains("{\"answer\":1}"));
  }
}

TEST_CASE("an item that is not claimed cannot be finished, nor one that never was") {
  TemporaryFolder folder;
  auto store = open_store(folder);
  const auto id = running_batch(*store, 1);
  CHECK(value(store->finish(std::vector{finished({id, 1, 0})}, 1001)) == 1);
  CHECK(value(store->finish(std::vector{finished({id, 99, 1})}, 1001)) == 1);
  CHECK(value(store->finish(std::vector{finished({"batch_no", 1, 1})}, 1001)) == 1);
  CHECK(value(store->get_batch(id)).completed == 0);
  const auto items = value(store->claim(1, 1001));
  store->return_items(refs(items), ReturnReason::drained, 1001);
  CHECK(value(store->finish(finished(items), 1002)) == 1);
}

TEST_CASE("returned items are ready again, and only a retry counts as an attempt") {
  TemporaryFolder folder;
  auto store = open_store(folder);
  running_batch(*store, 1);
  auto items = value(store->claim(1, 1001));
  value(store->return_items(refs(items), ReturnReason::drained, 1001));
  items = value(store->claim(1, 1001));
  REQUIRE(items.size() == 1);
  CHECK(items[0].attempt == 1);
  value(store->return_items(refs(items), ReturnReason::retry, 1001));
  items = value(store->claim(1, 1001));
  CHECK(items[0].attempt == 2);
  CHECK(items[0].crashes == 0);
}

TEST_CASE("an orderly end returns what is claimed, and says nothing against it") {
  TemporaryFolder folder;
  for (int i = 0; i < 30; ++i) {
    auto store = open_store(folder);
    if (i == 0) running_batch(*store, 2);
    CHECK(!store->report().previous_died);
    const auto items = value(store->claim(2, 1001));
    REQUIRE(items.size() == 2);
    CHECK(items[0].crashes == 0);
  }
}

TEST_CASE("cancelling ends ready items at once and lets claimed ones finish or be dropped") {
  TemporaryFolder folder;
  auto store = open_store(folder);
  const auto id = running_batch(*store, 5);
  const auto items = value(store->claim(3, 1001));
  value(store->finish(finished({items[0]}), 1002));
  auto batch = value(store->cancel_batch(id, 1003));
  CHECK(batch.state == BatchState::cancelling);
  CHECK(batch.cancelling_at == 1003);
  CHECK(batch.failed == 2);
  CHECK(value(store->cancel_batch(id, 1004)).cancelling_at == 1003);
  CHECK(value(store->claim(5, 1004)).empty());
  CHECK(value(store->finalizable_batches()).empty());
  CHECK(failure(store->finalize_some(id, 10, 1004)).code == Errc::conflict);
  CHECK(value(store->finish(finished({items[1]}), 1005)) == 0);
  CHECK(value(store->return_items(refs({items[2]}), ReturnReason::drained, 1006)) == 1);
  CHECK(value(store->finalizable_batches()) == std::vector{id});
  finalize(*store, id, 1007);
  batch = value(store->get_batch(id));
  CHECK(batch.state == BatchState::cancelled);
  CHECK(batch.cancelled_at == 1007);
  CHECK(!batch.completed_at);
  CHECK(batch.completed == 2);
  CHECK(batch.failed == 3);
  CHECK(lines_of(*store, batch.output_file_id).size() == 2);
  const auto errors = lines_of(*store, batch.error_file_id);
  REQUIRE(errors.size() == 3);
  CHECK_THAT(errors[0], Catch::Contains("\"custom_id\":\"c2\",\"response\":null,\"error\":{"
                                        "\"code\":\"batch_cancelled\""));
}

TEST_CASE("claimed items of a batch being cancelled end with the process") {
  TemporaryFolder folder;
  std::string id;
  {
    auto store = open_store(folder);
    id = running_batch(*store, 2);
    value(store->claim(2, 1001));
    value(store->cancel_batch(id, 1002));
  }
  auto store = open_store(folder);
  CHECK(value(store->finalizable_batches()) == std::vector{id});
  CHECK(value(store->get_batch(id)).failed == 2);
}

TEST_CASE("at the deadline what is left expires, claimed or not") {
  TemporaryFolder folder;
  auto store = open_store(folder);
  const auto id = running_batch(*store, 4, 1000, 60);
  const auto other = running_batch(*store, 1, 1000, 61);
  const auto items = value(store->claim(2, 1001));
  value(store->finish(finished({items[0]}), 1002));
  CHECK(value(store->expire_batches(1059)).empty());
  CHECK(value(store->claim(1, 1059)).size() == 1);
  const auto after_deadline = value(store->claim(5, 1060));
  REQUIRE(after_deadline.size() == 1);
  CHECK(after_deadline[0].ref.batch_id == other);
  CHECK(value(store->expire_batches(1060)) == std::vector{id});
  CHECK(value(store->expire_batches(1060)).empty());
  CHECK(value(store->finish(finished({items[1]}), 1061)) == 1);
  CHECK(value(store->get_batch(id)).state == BatchState::finalizing);
  finalize(*store, id, 1062);
  const auto batch = value(store->get_batch(id));
  CHECK(batch.state == BatchState::expired);
  CHECK(batch.expired_at == 1062);
  CHECK(batch.completed == 1);
  CHECK(batch.failed == 3);
  CHECK(lines_of(*store, batch.output_file_id).size() == 1);
  const auto errors = lines_of(*store, batch.error_file_id);
  REQUIRE(errors.size() == 3);
  CHECK_THAT(errors[0],
             Catch::Contains("\"response\":null,\"error\":{\"code\":\"batch_expired\",\"message\":"
                             "\"This request could not be executed before the completion window "
                             "expired.\"}}"));
}

TEST_CASE("an item whose text is lost ends with an error instead of blocking the queue") {
  TemporaryFolder folder;
  auto store = open_store(folder);
  const auto id = running_batch(*store, 3);
  const auto path = value(store->file_path(value(store->get_batch(id)).input_file_id));
  std::filesystem::resize_file(path, make_input(2).contents.size() + 2);
  const auto items = value(store->claim(3, 1001));
  CHECK(lines(items) == Lines{1, 2});
  CHECK(value(store->get_batch(id)).failed == 1);
  value(store->finish(finished(items), 1002));
  finalize(*store, id);
  const auto errors = lines_of(*store, value(store->get_batch(id)).error_file_id);
  REQUIRE(errors.size() == 1);
  CHECK_THAT(errors[0], Catch::Contains("input_file_lost"));

  const auto gone = running_batch(*store, 2);
  std::filesystem::remove(value(store->file_path(value(store->get_batch(gone)).input_file_id)));
  CHECK(value(store->claim(3, 1001)).empty());
  CHECK(value(store->finalizable_batches()) == std::vector{gone});
}

TEST_CASE("item rows of an ended batch are removed in portions; the batch and its files stay") {
  TemporaryFolder folder;
  auto store = open_store(folder);
  const auto id = running_batch(*store, 9000);
  for (;;) {
    const auto items = value(store->claim(1000, 1001));
    if (items.empty()) break;
    value(store->finish(finished(items), 1002));
  }
  while (!value(store->finalize_some(id, 1000, 1003))) {
  }
  int sweeps = 1;
  while (value(store->sweep(1004))) ++sweeps;
  CHECK(sweeps == 4);
  const auto batch = value(store->get_batch(id));
  CHECK(batch.completed == 9000);
  CHECK(lines_of(*store, batch.output_file_id).size() == 9000);
  const auto database = folder.path() / "store" / "tandem.sqlite";
  const auto size = std::filesystem::file_size(database);
  // The room that they took is used again.
  running_batch(*store, 9000);
  value(store->sweep(1005));
  CHECK(std::filesystem::file_size(database) <= size);
}

}  // namespace tandem::store::testing
