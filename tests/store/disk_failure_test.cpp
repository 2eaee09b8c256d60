// A full or failing disk under the database: every write that SQLite makes fails once, and from
// then on until space returns. Each call either took effect whole or not at all, says
// storage_failed, and works when it is repeated.
#include <cstdlib>
#include <functional>
#include <map>

#include "tests/store/support.hpp"
#include "tests/support/failing_vfs.hpp"

namespace tandem::store::testing {

using tests::failing_disk;
using tests::failing_vfs_name;

namespace {

/// Puts temporary folders into memory, if the machine offers that: the disk of these tests is a
/// simulated one, and hundreds of stores on a real one would mostly wait.
class InMemory {
 public:
  InMemory() {
    if (std::filesystem::is_directory("/dev/shm")) ::setenv("TMPDIR", "/dev/shm", 0);
  }
  ~InMemory() {
    if (!had_) ::unsetenv("TMPDIR");
  }
  InMemory(const InMemory&) = delete;
  InMemory& operator=(const InMemory&) = delete;

 private:
  bool had_ = std::getenv("TMPDIR") != nullptr;
};

/// Repeats `call` until it succeeds; a failure must be storage_failed, and heals a full disk.
template <class Call>
auto insist(const Call& call) {
  for (;;) {
    auto result = call();
    if (result) return result;
    REQUIRE(result.error().code == Errc::storage_failed);
    REQUIRE(!result.error().message.empty());
    failing_disk().heal();
  }
}

StoreOptions failing_options(const TemporaryFolder& folder) {
  auto options = options_for(folder);
  options.sqlite_vfs = failing_vfs_name;
  return options;
}

/// The life of a batch of `count` items on a disk that fails; checks the outcome.
void run_batch(const TemporaryFolder& folder, std::int64_t count) {
  auto store = std::move(*insist([&] { return Store::open(failing_options(folder)); }));
  const auto input = make_input(count);
  const auto file = *insist([&] {
    const auto path = store->new_upload_path();
    write_file(path, input.contents);
    return store->add_file(
        {.uploaded = path, .filename = "f", .purpose = "batch", .expires_after_seconds = {}}, 1);
  });
  auto request = batch_of_file(file.id);
  request.idempotency_key = "k";
  const auto id = insist([&] { return store->create_batch(request, 1000); })->id;
  insist([&] { return store->begin_validation(id); });
  REQUIRE(!*insist([&] { return store->add_items(id, input.items); }));
  insist([&] { return store->finish_validation(id, "demo", {}, 1000); });
  for (;;) {
    const auto items = *insist([&] { return store->claim(count / 2, 1001); });
    if (items.empty()) break;
    REQUIRE(*insist([&] { return store->finish(finished(items), 1002); }) == 0);
  }
  while (!*insist([&] { return store->finalize_some(id, 1000, 1003); })) {
  }
  const auto batch = *insist([&] { return store->get_batch(id); });
  REQUIRE(batch.state == BatchState::completed);
  REQUIRE(batch.completed == count);
  REQUIRE(lines_of(*store, batch.output_file_id).size() == static_cast<std::size_t>(count));
  insist([&] { return store->sweep(1004); });
  insist([&] { return store->writable(); });
  REQUIRE(insist([&] { return store->list_files({}); })->files.size() == 2);
  REQUIRE(insist([&] { return store->list_batches(10, ""); })->batches.size() == 1);
}

}  // namespace

TEST_CASE("a batch survives a failure of each single disk operation of its life") {
  const InMemory in_memory;
  auto& disk = failing_disk();
  for (const int code : {SQLITE_FULL, SQLITE_IOERR_WRITE}) {
    long failed = 0;
    for (long n = 0;; ++n) {
      CAPTURE(code, n);
      TemporaryFolder folder;
      disk = {};
      disk.countdown = n;
      disk.code = code;
      run_batch(folder, 6);
      if (disk.failures == 0) break;  // n is beyond the last operation
      ++failed;
      disk = {};
      CHECK(open_store(folder)->report().unclaimed_items == 0);
    }
    CHECK(failed > 50);
  }
}

TEST_CASE("a batch survives a disk that is full from any operation on, until space returns") {
  const InMemory in_memory;
  auto& disk = failing_disk();
  for (long n = 0;; ++n) {
    CAPTURE(n);
    TemporaryFolder folder;
    disk = {};
    disk.countdown = n;
    disk.keeps_failing = true;
    run_batch(folder, 6);
    if (disk.failures == 0) break;
  }
  disk = {};
}

TEST_CASE("while the disk is full nothing changes, reads work, and writable() says so") {
  auto& disk = failing_disk();
  disk = {};
  TemporaryFolder folder;
  auto store = value(Store::open(failing_options(folder)));
  const auto id = running_batch(*store, 4);
  const auto items = value(store->claim(2, 1001));
  value(store->finish(finished({items[0]}), 1002));
  disk.countdown = 0;
  disk.keeps_failing = true;

  const auto full = failure(store->writable());
  CHECK(full.code == Errc::storage_failed);
  CHECK_THAT(full.message, Catch::Contains("full"));
  CHECK(failure(store->claim(2, 1003)).code == Errc::storage_failed);
  CHECK(failure(store->finish(finished({items[1]}), 1003)).code == Errc::storage_failed);
  CHECK(failure(store->return_items(std::vector{items[1].ref}, ReturnReason::drained, 1003)).code ==
        Errc::storage_failed);
  CHECK(failure(store->cancel_batch(id, 1003)).code == Errc::storage_failed);
  CHECK(failure(store->expire_batches(1000000)).code == Errc::storage_failed);
  const auto batch = value(store->get_batch(id));
  CHECK(batch.state == BatchState::in_progress);
  CHECK(batch.completed == 1);
  CHECK(value(store->item_counts()).ready == 2);
  CHECK(value(store->item_counts()).claimed == 1);

  disk.heal();
  succeed(store->writable());
  CHECK(value(store->finish(finished({items[1]}), 1004)) == 0);
  CHECK(value(store->claim(2, 1004)).size() == 2);
}

TEST_CASE("only a store that need not be durable never waits for the disk") {
  const InMemory in_memory;
  const auto syncs_of = [](bool durable) {
    TemporaryFolder folder;
    auto options = failing_options(folder);
    options.durable = durable;
    failing_disk().syncs = 0;
    auto store = value(Store::open(options));
    const auto id = upload(*store, "x").id;
    CHECK(std::filesystem::exists(value(store->file_path(id))));
    store.reset();
    const auto opened = value(Store::open(options));
    CHECK(!opened->report().previous_died);
    CHECK(value(opened->get_file(id)).bytes == 1);
    return failing_disk().syncs;
  };
  CHECK(syncs_of(true) > 0);
  CHECK(syncs_of(false) == 0);
}

}  // namespace tandem::store::testing
