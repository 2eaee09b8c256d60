// Who may open a store, and what it finds there.
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/file_io.hpp"
#include "store/sqlite.hpp"
#include "tests/store/support.hpp"

namespace tandem::store::testing {
namespace {

void execute(const std::filesystem::path& database, const char* sql) {
  sqlite3* handle = nullptr;
  REQUIRE(sqlite3_open(database.c_str(), &handle) == SQLITE_OK);
  REQUIRE(sqlite3_exec(handle, sql, nullptr, nullptr, nullptr) == SQLITE_OK);
  REQUIRE(sqlite3_close(handle) == SQLITE_OK);
}

std::string setting(Database& database, const char* pragma) {
  Transaction read(database, Transaction::Kind::read);
  auto rows = read.query(pragma);
  REQUIRE(rows.next());
  return rows.text(0);
}

}  // namespace

TEST_CASE("a new store has a private folder and reports what it is") {
  TemporaryFolder folder;
  auto store = open_store(folder);
  CHECK(store->report().created);
  CHECK(store->report().schema_version == 3);
  CHECK(!store->report().previous_died);
  CHECK(store->report().sqlite_version == sqlite3_libversion());
  struct stat info {};
  REQUIRE(::stat((folder.path() / "store").c_str(), &info) == 0);
  CHECK((info.st_mode & 0777U) == 0700U);
  succeed(store->writable());
}

TEST_CASE("a folder path with a trailing slash and missing parents is fine") {
  TemporaryFolder folder;
  StoreOptions options;
  options.data_dir = folder.path() / "a" / "b" / "store" / "";
  auto store = value(Store::open(options));
  const auto id = upload(*store, "x").id;
  CHECK(value(store->file_path(id)) == folder.path() / "a" / "b" / "store" / "files" / id);
}

TEST_CASE("an unusable folder is a clear error") {
  TemporaryFolder folder;
  write_file(folder.path() / "store", "not a folder");
  const auto error = failure(Store::open(options_for(folder)));
  CHECK(error.code == Errc::storage_failed);
  CHECK_THAT(error.message, Catch::Contains((folder.path() / "store").string()));
  CHECK(failure(Store::open(StoreOptions{})).code == Errc::invalid_value);
}

TEST_CASE("a second process on the same store is refused by name and pid") {
  TemporaryFolder folder;
  auto store = open_store(folder);
  const auto owner = std::to_string(::getpid());
  const auto child = ::fork();
  if (child == 0) {
    auto second = Store::open(options_for(folder));
    const bool right = !second && second.error().code == Errc::conflict &&
                       second.error().message.find(owner) != std::string::npos &&
                       second.error().message.find(folder.path().string()) != std::string::npos;
    ::_exit(right ? 0 : 1);
  }
  int status = -1;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  CHECK(failure(Store::open(options_for(folder))).code == Errc::conflict);
  store.reset();
  CHECK(Store::open(options_for(folder)).has_value());
}

TEST_CASE("a database of a newer version is refused and left alone") {
  TemporaryFolder folder;
  open_store(folder).reset();
  const auto database = folder.path() / "store" / "tandem.sqlite";
  execute(database, "PRAGMA user_version=4");
  const auto error = failure(Store::open(options_for(folder)));
  CHECK(error.code == Errc::unsupported);
  CHECK_THAT(error.message, Catch::Contains("version 4") && Catch::Contains("up to 3"));
  execute(database, "PRAGMA user_version=3");
  CHECK(Store::open(options_for(folder)).has_value());
}

TEST_CASE("a database of an earlier version is brought up to date, and its batch is finished") {
  const auto earlier = GENERATE(1, 2);
  TemporaryFolder folder;
  std::string id;
  {
    auto store = open_store(folder);
    id = running_batch(*store, 3);
  }
  const auto path = folder.path() / "store" / "tandem.sqlite";
  // What it left: the same tables without the columns that came later.
  execute(path, "ALTER TABLE batch DROP COLUMN reasoning_tokens; PRAGMA user_version=2");
  if (earlier == 1)
    execute(path, "ALTER TABLE batch DROP COLUMN output_expires_after; PRAGMA user_version=1");
  auto store = open_store(folder);
  CHECK(!store->report().created);
  CHECK(store->report().schema_version == 3);
  CHECK(value(store->get_batch(id)).reasoning_tokens == 0);
  value(store->finish(finished(value(store->claim(3, 1001))), 1002));
  finalize(*store, id, 1003);
  const auto output = value(store->get_batch(id)).output_file_id;
  CHECK(lines_of(*store, output).size() == 3);
  CHECK(value(store->get_file(output)).expires_at == std::nullopt);
  auto request = batch_of_file(upload(*store, "x").id);
  request.output_expires_after_seconds = 3600;
  CHECK(store->create_batch(request, 1004).has_value());
  store.reset();
  store = open_store(folder);  // and it stays so
  CHECK(!store->report().created);
  CHECK(value(store->get_batch(id)).total == 3);
}

TEST_CASE("a damaged database is refused") {
  TemporaryFolder folder;
  {
    auto store = open_store(folder);
    running_batch(*store, 500);
  }
  const auto database = folder.path() / "store" / "tandem.sqlite";
  const auto size = std::filesystem::file_size(database);
  REQUIRE(size > 40000);
  std::fstream file(database, std::ios::in | std::ios::out | std::ios::binary);
  for (std::uintmax_t at = 4096; at < size; at += 4096) {
    file.seekp(static_cast<std::streamoff>(at));
    file.write("garbage garbage garbage garbage!", 32);
  }
  file.close();
  const auto error = failure(Store::open(options_for(folder)));
  CHECK(error.code == Errc::storage_failed);
}

TEST_CASE("the connection has the settings that durability rests on") {
  TemporaryFolder folder;
  auto database = value(Database::open(folder.path() / "x.sqlite", ""));
  CHECK(setting(database, "PRAGMA journal_mode") == "wal");
  CHECK(setting(database, "PRAGMA synchronous") == "2");
  CHECK(setting(database, "PRAGMA wal_autocheckpoint") == "0");
  CHECK(setting(database, "PRAGMA foreign_keys") == "1");
  CHECK(setting(database, "PRAGMA locking_mode") == "exclusive");
  CHECK(setting(database, "PRAGMA busy_timeout") == "5000");
}

TEST_CASE("the log is moved into the database when it has grown") {
  TemporaryFolder folder;
  auto database = value(Database::open(folder.path() / "x.sqlite", ""));
  succeed(database.execute("CREATE TABLE t(x TEXT) STRICT"));
  for (int i = 0; i < 300; ++i) {
    Transaction change(database, Transaction::Kind::write);
    change.run("INSERT INTO t VALUES(?)", std::string(40000, 'x'));
    succeed(change.commit());
  }
  // 12 MB were written; the log is reused from its start after each checkpoint of about 4 MB.
  CHECK(std::filesystem::file_size(folder.path() / "x.sqlite-wal") < 6'000'000);
  succeed(database.checkpoint());
  CHECK(std::filesystem::file_size(folder.path() / "x.sqlite-wal") == 0);
}

TEST_CASE("a transaction that is not committed leaves nothing, and keeps its first error") {
  TemporaryFolder folder;
  auto database = value(Database::open(folder.path() / "x.sqlite", ""));
  succeed(database.execute("CREATE TABLE t(x INTEGER PRIMARY KEY) STRICT"));
  {
    Transaction change(database, Transaction::Kind::write);
    change.run("INSERT INTO t VALUES(1)");
  }
  {
    Transaction change(database, Transaction::Kind::write);
    change.run("INSERT INTO t VALUES(2)");
    change.run("INSERT INTO nowhere VALUES(3)");
    change.run("INSERT INTO t VALUES(4)");
    CHECK_THAT(failure(change.commit()).message, Catch::Contains("nowhere"));
  }
  Transaction read(database, Transaction::Kind::read);
  CHECK(read.integer("SELECT count(*) FROM t") == 0);
  succeed(read.commit());
}

TEST_CASE("network file systems are refused by their magic") {
  CHECK(refused_file_system(0x6969) == "NFS");
  CHECK(refused_file_system(0xFF534D42) == "CIFS");
  CHECK(refused_file_system(0x65735546) == "FUSE");
  CHECK(refused_file_system(0xEF53).empty());      // ext4
  CHECK(refused_file_system(0x58465342).empty());  // XFS
  CHECK(refused_file_system(0x9123683E).empty());  // btrfs
  CHECK(refused_file_system(0x01021994).empty());  // tmpfs
}

TEST_CASE("ids are 128 random bits") {
  const auto one = random_id("file-");
  CHECK(one.size() == 5 + 32);
  CHECK(one.substr(0, 5) == "file-");
  CHECK(one.find_first_not_of("0123456789abcdef", 5) == std::string::npos);
  CHECK(one != random_id("file-"));
}

TEST_CASE("strings are escaped as JSON wants it") {
  std::string out;
  append_json_string(out, std::string("a\"b\\c\n\t\x01\x1f/\0é", 13));
  CHECK(out == "\"a\\\"b\\\\c\\u000a\\u0009\\u0001\\u001f/\\u0000é\"");
}

}  // namespace tandem::store::testing
