// Which deaths of the process count against which items (PoisonRule).
#include <csignal>
#include <functional>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/store/support.hpp"

namespace tandem::store::testing {

namespace {

/// Runs `body` on the opened store in a process that then dies by `signal` (or has died in it).
void die(const TemporaryFolder& folder, int signal, const std::function<void(Store&)>& body) {
  const auto child = ::fork();
  if (child == 0) {
    // Catch's own handlers, inherited, would print a report of the child.
    for (const int one : {SIGSEGV, SIGABRT}) ::signal(one, SIG_DFL);
    auto options = options_for(folder);
    options.note_crashes = true;
    auto store = Store::open(options);
    if (!store) ::_exit(1);
    body(**store);
    ::raise(signal);
    ::_exit(2);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(WIFSIGNALED(status));
  REQUIRE(WTERMSIG(status) == signal);
}

void claim_some(Store& store, std::int64_t count = 4) { (void)store.claim(count, 1001); }

ItemRef only(const std::vector<ClaimedItem>& items) {
  REQUIRE(items.size() == 1);
  return items[0].ref;
}

}  // namespace

TEST_CASE("a crash is told from a kill and from an orderly end") {
  TemporaryFolder folder;
  open_store(folder).reset();
  die(folder, SIGSEGV, [](Store&) {});
  auto store = open_store(folder);
  CHECK(store->report().previous_died);
  CHECK(store->report().previous_crashed);
  store.reset();
  die(folder, SIGKILL, [](Store&) {});
  store = open_store(folder);
  CHECK(store->report().previous_died);
  CHECK(!store->report().previous_crashed);
  store.reset();
  store = open_store(folder);
  CHECK(!store->report().previous_died);
}

TEST_CASE("after three crashes items run alone; the innocent finish, the guilty is given up") {
  TemporaryFolder folder;
  std::string id;
  {
    auto store = open_store(folder);
    id = running_batch(*store, 5);
  }
  for (int crash = 1; crash <= 3; ++crash) {
    die(folder, crash == 2 ? SIGABRT : SIGSEGV, [](Store& store) { claim_some(store); });
    auto store = open_store(folder);
    CHECK(store->report().unclaimed_items == 4);
    CHECK(store->report().suspect_items == (crash == 3 ? 4 : 0));
    if (crash < 3) {
      const auto items = value(store->claim(1, 1001));
      CHECK(items[0].crashes == crash);
      CHECK(!items[0].alone);
    }
  }
  // The item that was not there when it crashed goes first; suspects wait for it, then one by one.
  auto store = open_store(folder);
  auto items = value(store->claim(10, 1001));
  REQUIRE(items.size() == 1);
  CHECK(items[0].ref.line_no == 5);
  CHECK(!items[0].alone);
  CHECK(!value(store->has_claimable(1001)));
  CHECK(value(store->claim(10, 1001)).empty());
  value(store->finish(finished(items), 1002));
  CHECK(value(store->has_claimable(1001)));
  items = value(store->claim(10, 1001));
  REQUIRE(items.size() == 1);
  CHECK(items[0].ref.line_no == 1);
  CHECK(items[0].alone);
  CHECK(!value(store->has_claimable(1001)));
  running_batch(*store, 1, 1000, 600);  // an earlier deadline does not break the solitude
  CHECK(!value(store->has_claimable(1001)));
  CHECK(value(store->claim(10, 1001)).empty());
  value(store->finish(finished(items), 1002));
  value(store->finish(finished(value(store->claim(1, 1001))), 1002));
  store.reset();

  // Line 2 is the one: it takes the process with it each time it runs.
  for (int crash = 1; crash <= 3; ++crash) {
    die(folder, SIGSEGV, [](Store& one) { claim_some(one); });
    store = open_store(folder);
    CHECK(store->report().poisoned_items == (crash == 3 ? 1 : 0));
    store.reset();
  }
  store = open_store(folder);
  for (const std::int64_t line : {3, 4}) {
    items = value(store->claim(10, 1001));
    CHECK(only(items).line_no == line);
    value(store->finish(finished(items), 1002));
  }
  finalize(*store, id);
  const auto batch = value(store->get_batch(id));
  CHECK(batch.state == BatchState::completed);
  CHECK(batch.completed == 4);
  CHECK(batch.failed == 1);
  const auto errors = lines_of(*store, batch.error_file_id);
  REQUIRE(errors.size() == 1);
  CHECK_THAT(errors[0], Catch::Contains("\"c1\"") && Catch::Contains("poison_request"));
}

TEST_CASE("an engine that fails under an item counts as a crash, in a living process too") {
  TemporaryFolder folder;
  auto store = open_store(folder);
  const auto id = running_batch(*store, 1);
  for (int i = 1; i <= 6; ++i) {
    const auto items = value(store->claim(1, 1001));
    CHECK(items[0].alone == (i > 3));
    CHECK(value(store->return_items(std::vector{only(items)}, ReturnReason::engine_failed, 1002)) ==
          1);
  }
  CHECK(value(store->claim(1, 1001)).empty());
  CHECK(value(store->finalizable_batches()) == std::vector{id});
}

TEST_CASE("kills before any progress make suspects late, and progress clears them") {
  TemporaryFolder folder;
  std::string id;
  {
    auto store = open_store(folder);
    id = running_batch(*store, 3);
  }
  const auto kill_idle = [&] { die(folder, SIGKILL, [](Store& store) { claim_some(store, 2); }); };
  for (int i = 0; i < 23; ++i) kill_idle();
  // This one finished an item first: what it had claimed beside is cleared.
  die(folder, SIGKILL, [](Store& store) {
    const auto items = store.claim(2, 1001);
    (void)store.finish(std::vector{finished((*items)[0].ref)}, 1002);
  });
  kill_idle();
  {
    auto store = open_store(folder);
    CHECK(store->report().suspect_items == 0);
    CHECK(!value(store->claim(1, 1001))[0].alone);
  }
  for (int i = 0; i < 23; ++i) kill_idle();
  auto store = open_store(folder);
  CHECK(store->report().suspect_items == 2);
  CHECK(value(store->claim(1, 1001))[0].alone);
}

TEST_CASE("kills count for nothing while nothing is claimed") {
  TemporaryFolder folder;
  {
    auto store = open_store(folder);
    running_batch(*store, 1);
  }
  for (int i = 0; i < 60; ++i) die(folder, SIGKILL, [](Store&) {});
  auto store = open_store(folder);
  CHECK(!value(store->claim(1, 1001))[0].alone);
}

}  // namespace tandem::store::testing
