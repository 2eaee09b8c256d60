// Items that the caller chooses: read without a hold, claimed by name under the same fence.
#include "tests/store/support.hpp"

namespace tandem::store::testing {

namespace {

std::vector<std::int64_t> lines(const std::vector<ReadyItem>& items) {
  std::vector<std::int64_t> out;
  for (const auto& item : items) out.push_back(item.line_no);
  return out;
}
std::vector<ItemKey> keys(const std::string& batch, std::initializer_list<std::int64_t> lines) {
  std::vector<ItemKey> out;
  for (const auto line : lines) out.push_back({batch, line});
  return out;
}
using Lines = std::vector<std::int64_t>;

/// Crashes under a line until it is a suspect.
void make_suspect(Store& store, const std::string& batch, std::int64_t line) {
  for (int i = 0; i < 3; ++i) {
    const auto items = value(store.claim_items(keys(batch, {line}), 1001));
    REQUIRE(items.size() == 1);
    REQUIRE(value(store.return_items(std::vector{items[0].ref}, ReturnReason::engine_failed,
                                     1001)) == 1);
  }
}

}  // namespace

TEST_CASE("ready items are read by line, in portions by count and by bytes, without a hold") {
  TemporaryFolder folder;
  auto store = open_store(folder);
  const auto id = running_batch(*store, 6);
  CHECK(lines(value(store->ready_items(id, 0, 3, 1000))) == Lines{1, 2, 3});
  const auto rest = value(store->ready_items(id, 4, 100, 1000));
  CHECK(lines(rest) == Lines{4, 5, 6});
  CHECK(rest[0].text == "body 3");
  CHECK(lines(value(store->ready_items(id, 0, 100, 13))) == Lines{1, 2});  // of 6 bytes each
  CHECK(lines(value(store->ready_items(id, 0, 100, 1))) == Lines{1});
  CHECK(value(store->ready_items("batch_none", 0, 100, 1000)).empty());
  CHECK(value(store->item_counts()).claimed == 0);
  value(store->claim(2, 1001));
  CHECK(lines(value(store->ready_items(id, 0, 2, 1000))) == Lines{3, 4});
  value(store->cancel_batch(id, 1002));
  CHECK(value(store->ready_items(id, 0, 100, 1000)).empty());
}

TEST_CASE("chosen items are claimed in the order named, with their text and a token") {
  TemporaryFolder folder;
  auto store = open_store(folder);
  const auto id = running_batch(*store, 5);
  const auto other = running_batch(*store, 2);
  auto chosen = keys(id, {4, 2});
  chosen.push_back({other, 1});
  const auto items = value(store->claim_items(chosen, 1001));
  REQUIRE(items.size() == 3);
  CHECK(items[0].ref == ItemRef{id, 4, 1});
  CHECK(items[0].text == "body 3");
  CHECK(items[0].endpoint == "/v1/completions");
  CHECK(items[1].ref.line_no == 2);
  CHECK(items[2].ref.batch_id == other);
  CHECK(value(store->item_counts()).claimed == 3);
  const auto left = value(store->claim(10, 1001));
  CHECK(left.size() == 4);  // neither way claims what the other has
}

TEST_CASE(
    "what is not ready is left out: claimed, finished, unknown, cancelled, past its deadline") {
  TemporaryFolder folder;
  auto store = open_store(folder);
  const auto id = running_batch(*store, 4, 1000, 600);
  const auto held = value(store->claim_items(keys(id, {1, 2}), 1001));
  value(store->finish(finished({held[0]}), 1001));
  CHECK(value(store->claim_items(keys(id, {1, 2}), 1001)).empty());
  CHECK(value(store->claim_items(keys(id, {9}), 1001)).empty());
  CHECK(value(store->claim_items(keys("batch_none", {1}), 1001)).empty());
  CHECK(value(store->claim_items(keys(id, {3}), 1600)).empty());
  value(store->cancel_batch(id, 1002));
  CHECK(value(store->claim_items(keys(id, {3}), 1003)).empty());
}

TEST_CASE("the fence of a chosen item is that of any other") {
  TemporaryFolder folder;
  auto store = open_store(folder);
  const auto id = running_batch(*store, 1);
  const auto stale = value(store->claim_items(keys(id, {1}), 1001));
  CHECK(value(store->return_items(std::vector{stale[0].ref}, ReturnReason::drained, 1001)) == 1);
  const auto current = value(store->claim_items(keys(id, {1}), 1001));
  CHECK(current[0].ref.token == stale[0].ref.token + 1);
  CHECK(value(store->finish(finished(stale), 1002)) == 1);    // fenced off
  CHECK(value(store->finish(finished(current), 1002)) == 0);  // recorded
  CHECK(value(store->finish(finished(current), 1002)) == 1);  // once
  CHECK(value(store->get_batch(id)).completed == 1);
}

TEST_CASE("a suspect has its turn when its batch has nothing else ready, and then runs alone") {
  TemporaryFolder folder;
  auto store = open_store(folder);
  const auto id = running_batch(*store, 2);
  const auto other = running_batch(*store, 3);
  CHECK(!value(store->suspect_turn(1001)).due);
  make_suspect(*store, id, 1);
  CHECK(lines(value(store->ready_items(id, 0, 10, 1000))) == Lines{2});
  CHECK(!value(store->suspect_turn(1001)).due);  // line 2 is ready
  const auto second = value(store->claim_items(keys(id, {2, 1}), 1001));
  REQUIRE(second.size() == 1);  // not the suspect in company
  auto turn = value(store->suspect_turn(1001));
  CHECK(turn.due == ItemKey{id, 1});
  CHECK(turn.others_run);
  CHECK(value(store->claim_items(keys(id, {1}), 1001)).empty());
  value(store->finish(finished(second), 1002));
  turn = value(store->suspect_turn(1002));
  CHECK(turn.due == ItemKey{id, 1});
  CHECK(!turn.others_run);
  const auto suspect = value(store->claim_items(keys(id, {1}), 1002));
  REQUIRE(suspect.size() == 1);
  CHECK(suspect[0].alone);
  CHECK(value(store->suspect_turn(1002)).running);
  CHECK(value(store->claim_items(keys(other, {1}), 1002)).empty());
  value(store->finish(finished(suspect), 1003));
  CHECK(!value(store->suspect_turn(1003)).running);
  CHECK(value(store->claim_items(keys(other, {1}), 1003)).size() == 1);
}

TEST_CASE("suspects of an earlier process are found") {
  TemporaryFolder folder;
  auto store = open_store(folder);
  const auto id = running_batch(*store, 1);
  make_suspect(*store, id, 1);
  store.reset();
  store = open_store(folder);
  CHECK(value(store->suspect_turn(1001)).due == ItemKey{id, 1});
}

}  // namespace tandem::store::testing
