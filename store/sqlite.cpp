#include "store/sqlite.hpp"

#include <utility>

#include "core/check.hpp"

namespace tandem::store {
namespace {

/// After this many pages (4 KiB each) the log is moved into the database file.
constexpr int wal_pages_before_checkpoint = 1000;

Error sqlite_error(sqlite3* handle, int code) {
  std::string what = handle != nullptr ? sqlite3_errmsg(handle) : sqlite3_errstr(code);
  return error(Errc::storage_failed, "the store's database failed: " + what + " (SQLite code " +
                                         std::to_string(code) + ")");
}

int remember_wal_pages(void* pages, sqlite3*, const char*, int count) {
  *static_cast<int*>(pages) = count;
  return SQLITE_OK;
}

/// What comes first says how the file may be opened, and whether even that is synced.
constexpr const char* lock_setting = "PRAGMA locking_mode=EXCLUSIVE";
constexpr const char* connection_settings =
    "PRAGMA journal_mode=WAL;"
    "PRAGMA wal_autocheckpoint=0;"
    "PRAGMA mmap_size=0;"
    "PRAGMA foreign_keys=ON;"
    "PRAGMA trusted_schema=OFF;"
    "PRAGMA cell_size_check=ON;"
    "PRAGMA cache_size=-16384;";

}  // namespace

Database::State::~State() {
  for (auto& [sql, statement] : statements) sqlite3_finalize(statement);
  sqlite3_close(handle);
}

Result<Database> Database::open(const std::filesystem::path& path, const std::string& vfs,
                                bool durable) {
  auto state = std::make_unique<State>();
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX |
                    SQLITE_OPEN_EXRESCODE | SQLITE_OPEN_NOFOLLOW;
  const int code =
      sqlite3_open_v2(path.c_str(), &state->handle, flags, vfs.empty() ? nullptr : vfs.c_str());
  if (code != SQLITE_OK) return sqlite_error(state->handle, code);
  sqlite3_busy_timeout(state->handle, 5000);
  Database database(std::move(state));
  const auto* sync_setting = durable ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=OFF";
  for (const auto* settings : {lock_setting, sync_setting, connection_settings})
    if (auto set = database.execute(settings); !set) return set.error();
  database.state_->wal_pages = 1;  // the log may hold what a dead process left
  // After the settings: PRAGMA wal_autocheckpoint uses the same hook.
  sqlite3_wal_hook(database.handle(), remember_wal_pages, &database.state_->wal_pages);
  return database;
}

Error Database::last_error() const {
  return sqlite_error(handle(), sqlite3_extended_errcode(handle()));
}

Result<void> Database::execute(const char* sql) {
  const int code = sqlite3_exec(handle(), sql, nullptr, nullptr, nullptr);
  if (code != SQLITE_OK) return sqlite_error(handle(), code);
  return {};
}

Result<void> Database::checkpoint() {
  if (state_->wal_pages == 0) return {};
  const int code =
      sqlite3_wal_checkpoint_v2(handle(), nullptr, SQLITE_CHECKPOINT_TRUNCATE, nullptr, nullptr);
  if (code != SQLITE_OK) return sqlite_error(handle(), code);
  state_->wal_pages = 0;
  return {};
}

void Database::checkpoint_if_long() {
  if (state_->wal_pages < wal_pages_before_checkpoint) return;
  // What failed here is still in the log, durably: the next commit or sweep tries again.
  const int code =
      sqlite3_wal_checkpoint_v2(handle(), nullptr, SQLITE_CHECKPOINT_PASSIVE, nullptr, nullptr);
  if (code == SQLITE_OK) state_->wal_pages = 1;  // moved, but not cut: checkpoint() does that
}

Result<void> Database::quick_check() {
  Transaction read(*this, Transaction::Kind::read);
  std::string found;
  {
    auto rows = read.query("PRAGMA quick_check(1)");
    if (rows.next()) found = rows.text(0);
  }
  if (auto done = read.commit(); !done) return done.error();
  if (found != "ok")
    return error(Errc::storage_failed, "the store's database is damaged: " + found);
  return {};
}

Result<sqlite3_stmt*> Database::statement(const char* sql) {
  auto& statement = state_->statements[sql];
  if (statement == nullptr) {
    const int code =
        sqlite3_prepare_v3(handle(), sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, nullptr);
    if (code != SQLITE_OK) return sqlite_error(handle(), code);
  }
  return statement;
}

Rows::~Rows() {
  if (statement_ == nullptr) return;
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
}

bool Rows::next() {
  if (transaction_.failed()) return false;
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  if (code != SQLITE_DONE) transaction_.fail_with(code);
  return false;
}

std::int64_t Rows::integer(int column) const { return sqlite3_column_int64(statement_, column); }

std::optional<std::int64_t> Rows::optional_integer(int column) const {
  if (sqlite3_column_type(statement_, column) == SQLITE_NULL) return std::nullopt;
  return integer(column);
}

std::string Rows::text(int column) const {
  const auto* bytes = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
  if (bytes == nullptr) return {};
  return {bytes, static_cast<std::size_t>(sqlite3_column_bytes(statement_, column))};
}

Transaction::Transaction(Database& database, Kind kind) : database_(database), kind_(kind) {
  run(kind == Kind::write ? "BEGIN IMMEDIATE" : "BEGIN");
  open_ = !failed();
}

Transaction::~Transaction() {
  // SQLite has already rolled back by itself after some I/O errors.
  if (!open_ || sqlite3_get_autocommit(database_.handle()) != 0) return;
  sqlite3_exec(database_.handle(), "ROLLBACK", nullptr, nullptr, nullptr);
}

Result<void> Transaction::commit() {
  if (!failed()) run("COMMIT");
  if (failed()) return *error_;
  open_ = false;
  if (kind_ == Kind::write) database_.checkpoint_if_long();
  return {};
}

std::int64_t Transaction::last_row_id() const {
  return sqlite3_last_insert_rowid(database_.handle());
}

void Transaction::fail(Error error) {
  if (!error_) error_ = std::move(error);
}

void Transaction::fail_with(int code) {
  if (error_) return;
  failed_code_ = code;
  error_ = sqlite_error(database_.handle(), code);
}

bool Transaction::take_unique_violation() {
  if (failed_code_ != SQLITE_CONSTRAINT_UNIQUE) return false;
  failed_code_ = 0;
  error_.reset();
  return true;
}

sqlite3_stmt* Transaction::prepare(const char* sql) {
  if (failed()) return nullptr;
  auto statement = database_.statement(sql);
  if (!statement) {
    fail(statement.error());
    return nullptr;
  }
  TANDEM_CHECK(sqlite3_stmt_busy(*statement) == 0, "a query is run again while its rows are read");
  return *statement;
}

std::int64_t Transaction::run_bound(sqlite3_stmt* statement) {
  std::int64_t changed = 0;
  if (!failed()) {
    const int code = sqlite3_step(statement);
    if (code == SQLITE_DONE) changed = sqlite3_changes64(database_.handle());
    if (code != SQLITE_DONE && code != SQLITE_ROW) fail_with(code);
  }
  if (statement != nullptr) {
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
  }
  return changed;
}

void Transaction::bind(sqlite3_stmt* statement, int index, std::int64_t value) {
  if (failed()) return;
  const int code = sqlite3_bind_int64(statement, index, value);
  if (code != SQLITE_OK) fail_with(code);
}

void Transaction::bind(sqlite3_stmt* statement, int index, std::string_view value) {
  if (failed()) return;
  // Copied by SQLite: rows of a query may outlive its arguments. A null pointer would bind NULL.
  const int code =
      sqlite3_bind_text64(statement, index, value.data() != nullptr ? value.data() : "",
                          value.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
  if (code != SQLITE_OK) fail_with(code);
}

void Transaction::bind(sqlite3_stmt* statement, int index, std::optional<std::int64_t> value) {
  if (value) return bind(statement, index, *value);
  if (failed()) return;
  const int code = sqlite3_bind_null(statement, index);
  if (code != SQLITE_OK) fail_with(code);
}

}  // namespace tandem::store
