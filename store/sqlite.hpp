// SQLite's C API as three classes. A Transaction keeps the first error that any of its statements
// met: later statements do nothing, rows end, and commit() reports it. So code inside a transaction
// reads as a plain sequence and is checked once, at its end; nothing is stored unless commit()
// succeeded. One thread, one transaction at a time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <sqlite3.h>
#include <string>
#include <string_view>
#include <unordered_map>

#include "core/result.hpp"

namespace tandem::store {

/// One connection that alone may read and write the database file (exclusive locking mode), and so
/// owns every checkpoint: the WAL-reset race of SQLite before 3.51.3 needs a second connection.
class Database {
 public:
  /// `vfs`: empty is SQLite's default.
  static Result<Database> open(const std::filesystem::path& path, const std::string& vfs,
                               bool durable = true);

  /// Moves what the write-ahead log holds into the database file and cuts the log to nothing.
  Result<void> checkpoint();
  /// SQLite's own check of the file's structure; the error names the first damage found.
  Result<void> quick_check();
  /// Statements without parameters, outside transactions.
  Result<void> execute(const char* sql);

  /// The prepared form of `sql`, a string literal: it is the key of the cache.
  Result<sqlite3_stmt*> statement(const char* sql);
  [[nodiscard]] sqlite3* handle() const { return state_->handle; }
  [[nodiscard]] Error last_error() const;
  /// Called after each commit: moves the log into the database once it has grown.
  void checkpoint_if_long();

 private:
  struct State {
    sqlite3* handle = nullptr;
    int wal_pages = 0;
    std::unordered_map<const char*, sqlite3_stmt*> statements;
    ~State();
  };
  explicit Database(std::unique_ptr<State> state) : state_(std::move(state)) {}
  std::unique_ptr<State> state_;
};

class Transaction;

/// The rows of a query; ends early if a step fails (the transaction then has the error).
class Rows {
 public:
  Rows(Transaction& transaction, sqlite3_stmt* statement)
      : transaction_(transaction), statement_(statement) {}
  ~Rows();
  Rows(const Rows&) = delete;
  Rows& operator=(const Rows&) = delete;

  bool next();
  [[nodiscard]] std::int64_t integer(int column) const;
  [[nodiscard]] std::optional<std::int64_t> optional_integer(int column) const;
  [[nodiscard]] std::string text(int column) const;  ///< NULL reads as ""

 private:
  Transaction& transaction_;
  sqlite3_stmt* statement_;
};

class Transaction {
 public:
  enum class Kind : std::uint8_t { read, write };

  Transaction(Database& database, Kind kind);
  ~Transaction();  ///< rolls back unless committed
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;

  /// Runs a statement that yields no rows; the number of rows it changed. `sql` is a literal.
  template <class... Args>
  std::int64_t run(const char* sql, const Args&... args) {
    sqlite3_stmt* statement = prepare(sql);
    int index = 0;
    (bind(statement, ++index, args), ...);
    return run_bound(statement);
  }
  template <class... Args>
  Rows query(const char* sql, const Args&... args) {
    sqlite3_stmt* statement = prepare(sql);
    int index = 0;
    (bind(statement, ++index, args), ...);
    return Rows(*this, statement);
  }
  /// The first column of the first row; 0 without one.
  template <class... Args>
  std::int64_t integer(const char* sql, const Args&... args) {
    auto rows = query(sql, args...);
    return rows.next() ? rows.integer(0) : 0;
  }
  [[nodiscard]] std::int64_t last_row_id() const;

  /// Makes the transaction fail as if a statement had.
  void fail(Error error);
  [[nodiscard]] bool failed() const { return error_.has_value(); }
  [[nodiscard]] const Error& error() const { return *error_; }
  /// True if the last run() failed on a UNIQUE constraint; the failure is then taken back, so that
  /// the caller can say what was wrong before it gives the transaction up.
  bool take_unique_violation();

  Result<void> commit();

 private:
  friend class Rows;
  sqlite3_stmt* prepare(const char* sql);
  std::int64_t run_bound(sqlite3_stmt* statement);
  void bind(sqlite3_stmt* statement, int index, std::int64_t value);
  void bind(sqlite3_stmt* statement, int index, std::string_view value);
  void bind(sqlite3_stmt* statement, int index, std::optional<std::int64_t> value);
  void fail_with(int code);

  Database& database_;
  Kind kind_;
  bool open_ = false;
  int failed_code_ = 0;
  std::optional<Error> error_;
};

}  // namespace tandem::store
