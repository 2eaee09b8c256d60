// kill -9 at random moments. A child claims, finishes, returns and finalizes at random; the parent
// kills it. Whatever happened, in the end each item has exactly one result, the one that its text
// demands, and the files are those of an undisturbed run.
//   TANDEM_STORE_KILLS   how many kills (200)
//   TANDEM_STORE_SEED    where the random choices come from
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <poll.h>
#include <random>
#include <set>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/store/support.hpp"

namespace tandem::store::testing {

namespace {

long from_environment(const char* name, long otherwise) {
  const char* text = std::getenv(name);
  return text != nullptr ? std::atol(text) : otherwise;
}

FinishedItem answer(const ClaimedItem& item) {
  auto done = finished(item.ref);
  done.body = "\"answer to " + item.text + "\"";
  if (item.ref.line_no % 7 == 0) done.status_code = 400;
  return done;
}

/// One random thing that a holder of items does. False: the store failed.
bool act(Store& store, std::mt19937& random, std::vector<ClaimedItem>& held) {
  const auto choice = random() % 16;
  if (choice < 6) {
    auto claimed = store.claim(1 + random() % 8, 1001);
    if (!claimed) return false;
    for (auto& item : *claimed) held.push_back(std::move(item));
    return true;
  }
  if (choice < 14) {
    std::vector<FinishedItem> done;
    for (auto count = std::min<std::size_t>(held.size(), 1 + random() % 4); count > 0; --count) {
      const auto at = static_cast<std::ptrdiff_t>(random() % held.size());
      done.push_back(answer(held[static_cast<std::size_t>(at)]));
      held.erase(held.begin() + at);
    }
    auto fenced = store.finish(done, 1002);
    return fenced && *fenced == 0;
  }
  if (choice == 14 && !held.empty()) {
    const auto returned =
        store.return_items(std::vector{held.back().ref}, ReturnReason::drained, 1002);
    held.pop_back();
    return returned && *returned == 1;
  }
  auto ready = store.finalizable_batches();
  if (!ready) return false;
  for (const auto& id : *ready)
    if (!store.finalize_some(id, 20, 1003)) return false;
  return true;
}

/// Works until there is nothing to do; the exit status of the child.
int work(const TemporaryFolder& folder, unsigned seed, int ready_pipe) {
  auto store = Store::open(options_for(folder));
  [[maybe_unused]] const auto told = ::write(ready_pipe, "r", 1);
  if (!store) return 1;
  std::mt19937 random(seed);
  std::vector<ClaimedItem> held;
  for (;;) {
    if (!act(**store, random, held)) return 2;
    if (!held.empty()) continue;
    auto unfinished = (*store)->unfinished_batches();
    if (!unfinished) return 3;
    if (unfinished->empty()) return 0;
  }
}

/// Runs a worker and kills it after `delay` from the moment the store was open (or while it opens,
/// with early). True: it was killed; false: it ended by itself, all work done.
bool run_and_kill(const TemporaryFolder& folder, unsigned seed, std::chrono::microseconds delay,
                  bool early) {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const auto child = ::fork();
  if (child == 0) ::_exit(work(folder, seed, ends[1]));
  ::close(ends[1]);
  char byte = 0;
  if (!early) REQUIRE(::read(ends[0], &byte, 1) == 1);
  // The wait is the experiment: the child's pipe closes if it ends by itself.
  pollfd wait{.fd = ends[0], .events = 0, .revents = 0};
  const timespec time{.tv_sec = 0, .tv_nsec = delay.count() * 1000};
  ::ppoll(&wait, 1, &time, nullptr);
  ::kill(child, SIGKILL);
  ::close(ends[0]);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  if (WIFSIGNALED(status)) return true;
  REQUIRE(WEXITSTATUS(status) == 0);
  return false;
}

/// All lines of all files that the batches name, without what differs from run to run.
std::multiset<std::string> all_results(Store& store) {
  std::multiset<std::string> results;
  for (const auto& batch : value(store.list_batches(100, "")).batches) {
    REQUIRE(batch.state == BatchState::completed);
    REQUIRE(batch.completed + batch.failed == batch.total);
    for (const auto& id : {batch.output_file_id, batch.error_file_id})
      if (!id.empty())
        for (const auto& line : lines_of(store, id))
          results.insert(line.substr(line.find("\"custom_id\"")));
  }
  return results;
}

/// What an undisturbed run of `batches` batches of `count` items gives.
std::multiset<std::string> undisturbed(long batches, std::int64_t count) {
  TemporaryFolder folder;
  auto store = open_store(folder);
  for (long i = 0; i < batches; ++i) {
    const auto id = running_batch(*store, count);
    std::vector<FinishedItem> done;
    for (const auto& item : value(store->claim(count, 1001))) done.push_back(answer(item));
    value(store->finish(done, 1002));
    finalize(*store, id);
  }
  return all_results(*store);
}

}  // namespace

TEST_CASE("each item has exactly one result after kills at random moments") {
  const long wanted = from_environment("TANDEM_STORE_KILLS", 200);
  const auto seed = static_cast<unsigned>(from_environment("TANDEM_STORE_SEED", 20240607));
  CAPTURE(seed);
  constexpr std::int64_t count = 120;
  std::mt19937 random(seed);
  TemporaryFolder folder;
  long kills = 0;
  long batches = 0;
  while (kills < wanted) {
    {
      auto store = open_store(folder);
      REQUIRE(store->report().poisoned_items == 0);
      running_batch(*store, count);
      ++batches;
    }
    // Short lives first; they get longer if a batch does not come to its end.
    for (long lives = 0;; ++lives) {
      const std::chrono::microseconds delay(random() % (3000 + 200 * lives));
      if (!run_and_kill(folder, static_cast<unsigned>(random()), delay, random() % 8 == 0)) break;
      ++kills;
    }
  }
  auto store = open_store(folder);
  CHECK(value(store->unfinished_batches()).empty());
  CHECK(all_results(*store) == undisturbed(batches, count));
  WARN(kills << " kills during " << batches << " batches of " << count << " items");
}

TEST_CASE("a campaign of kills that allow little progress fails no innocent item") {
  constexpr long wanted = 100;
  TemporaryFolder folder;
  auto options = options_for(folder);
  std::string id;
  {
    auto store = open_store(folder);
    id = running_batch(*store, 200);
  }
  std::mt19937 random(7);
  for (long kill = 0; kill < wanted; ++kill) {
    // Nine of ten die with items in flight before any of them finished.
    const bool progress = random() % 10 == 0;
    const auto child = ::fork();
    if (child == 0) {
      auto store = Store::open(options);
      if (!store) ::_exit(1);
      auto items = (*store)->claim(64, 1001);
      if (items && progress && !items->empty())
        (void)(*store)->finish(std::vector{answer(items->front())}, 1002);
      ::kill(::getpid(), SIGKILL);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    REQUIRE(WIFSIGNALED(status));
  }
  auto store = open_store(folder);
  for (;;) {
    const auto items = value(store->claim(64, 1001));
    if (items.empty()) break;
    std::vector<FinishedItem> done;
    for (const auto& item : items) done.push_back(answer(item));
    REQUIRE(value(store->finish(done, 1002)) == 0);
  }
  finalize(*store, id);
  CHECK(all_results(*store) == undisturbed(1, 200));
}

}  // namespace tandem::store::testing
