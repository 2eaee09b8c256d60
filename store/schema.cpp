// The tables. Item rows stay small, because every claim and finish rewrites them: an item's text is
// a range of the input file, and its response lives in `result`. Responses stay in SQLite whatever
// their size: beyond a page they take overflow pages of their own, one commit covers state and
// response, and there is no second kind of file to sync, find the end of and collect. The price is
// that a response is written twice (log, then database) until the output file has it.
#include <algorithm>
#include <array>

#include "store/state.hpp"

namespace tandem::store {
namespace {

/// Of version 1; upgrades bring them up to date.
constexpr const char* tables = R"sql(
CREATE TABLE process(
  only INTEGER PRIMARY KEY CHECK(only = 1),
  pid INTEGER NOT NULL, closed INTEGER NOT NULL, finished INTEGER NOT NULL,
  probe INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE TABLE file(
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE, filename TEXT NOT NULL, purpose TEXT NOT NULL,
  bytes INTEGER NOT NULL, created_at INTEGER NOT NULL, expires_at INTEGER) STRICT;
CREATE INDEX file_expiry ON file(expires_at) WHERE expires_at IS NOT NULL;
CREATE TABLE batch(
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE, endpoint TEXT NOT NULL, completion_window TEXT NOT NULL,
  input_file_id TEXT NOT NULL, model TEXT NOT NULL DEFAULT '',
  output_file_id TEXT NOT NULL DEFAULT '', error_file_id TEXT NOT NULL DEFAULT '',
  state INTEGER NOT NULL, past_deadline INTEGER NOT NULL DEFAULT 0,
  purged INTEGER NOT NULL DEFAULT 0,
  total INTEGER NOT NULL DEFAULT 0, completed INTEGER NOT NULL DEFAULT 0,
  failed INTEGER NOT NULL DEFAULT 0,
  prompt_tokens INTEGER NOT NULL DEFAULT 0, cached_tokens INTEGER NOT NULL DEFAULT 0,
  completion_tokens INTEGER NOT NULL DEFAULT 0,
  created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL,
  in_progress_at INTEGER, finalizing_at INTEGER, completed_at INTEGER, failed_at INTEGER,
  expired_at INTEGER, cancelling_at INTEGER, cancelled_at INTEGER) STRICT;
CREATE INDEX batch_unfinished ON batch(expires_at, number) WHERE )sql" TANDEM_BATCH_UNFINISHED
                               R"sql(;
CREATE INDEX batch_unpurged ON batch(number) WHERE purged = 0 AND )sql" TANDEM_BATCH_ENDED R"sql(;
CREATE TABLE batch_metadata(
  batch INTEGER NOT NULL REFERENCES batch(number), key TEXT NOT NULL, value TEXT NOT NULL,
  PRIMARY KEY(batch, key)) STRICT, WITHOUT ROWID;
CREATE TABLE batch_error(
  batch INTEGER NOT NULL REFERENCES batch(number), position INTEGER NOT NULL,
  code TEXT NOT NULL, message TEXT NOT NULL, param TEXT NOT NULL, line INTEGER,
  PRIMARY KEY(batch, position)) STRICT, WITHOUT ROWID;
CREATE TABLE idempotency(
  key TEXT NOT NULL, request TEXT NOT NULL, batch_id TEXT NOT NULL, created_at INTEGER NOT NULL,
  PRIMARY KEY(key, request)) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_age ON idempotency(created_at);
CREATE TABLE item(
  batch INTEGER NOT NULL REFERENCES batch(number), line_no INTEGER NOT NULL,
  custom_id TEXT NOT NULL, text_offset INTEGER NOT NULL, text_length INTEGER NOT NULL,
  state INTEGER NOT NULL DEFAULT 0, token INTEGER NOT NULL DEFAULT 0,
  attempt INTEGER NOT NULL DEFAULT 1, crashes INTEGER NOT NULL DEFAULT 0,
  kills INTEGER NOT NULL DEFAULT 0, alone INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY(batch, line_no)) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX item_custom_id ON item(batch, custom_id);
CREATE INDEX item_ready ON item(batch, alone, line_no) WHERE state = 0;
CREATE INDEX item_claimed ON item(alone, batch, line_no) WHERE state = 1;
CREATE TABLE result(
  batch INTEGER NOT NULL, line_no INTEGER NOT NULL, token INTEGER NOT NULL,
  status_code INTEGER NOT NULL, request_id TEXT NOT NULL, body TEXT NOT NULL,
  error_code TEXT NOT NULL, error_message TEXT NOT NULL,
  PRIMARY KEY(batch, line_no),
  FOREIGN KEY(batch, line_no) REFERENCES item(batch, line_no)) STRICT;
)sql";

/// What each version after the first one changed.
constexpr std::array<const char*, schema_version - 1> upgrades{
    "ALTER TABLE batch ADD COLUMN output_expires_after INTEGER;",
    "ALTER TABLE batch ADD COLUMN reasoning_tokens INTEGER NOT NULL DEFAULT 0;"};

}  // namespace

Result<bool> prepare_schema(Database& database) {
  Transaction read(database, Kind::read);
  const auto found = read.integer("PRAGMA user_version");
  if (auto done = read.commit(); !done) return done.error();
  if (found == schema_version) return false;
  if (found < 0 || found > schema_version)
    return error(Errc::unsupported,
                 "the store's database has schema version " + std::to_string(found) +
                     "; this program knows versions up to " + std::to_string(schema_version) +
                     ": it was written by a newer version, run that one",
                 "data_dir");
  std::string script = "BEGIN IMMEDIATE;";
  if (found == 0) script += tables;
  for (auto version = std::max<std::int64_t>(found, 1); version < schema_version; ++version)
    script += upgrades.at(static_cast<std::size_t>(version - 1));
  script += "PRAGMA user_version=" + std::to_string(schema_version) + ";COMMIT;";
  if (auto made = database.execute(script.c_str()); !made) {
    (void)database.execute("ROLLBACK");
    return made.error();
  }
  return found == 0;
}

}  // namespace tandem::store
