// Batches: creation, reading, cancelling, and the frame of validation. The states and what moves a
// batch between them are those of OpenAI's Batch API.
#include "store/state.hpp"

namespace tandem::store {
namespace {

#define TANDEM_BATCH_COLUMNS                                                                      \
  "number, id, endpoint, completion_window, input_file_id, model, output_file_id, error_file_id," \
  " state, total, completed, failed, prompt_tokens, cached_tokens, completion_tokens,"            \
  " created_at, expires_at, in_progress_at, finalizing_at, completed_at, failed_at, expired_at,"  \
  " cancelling_at, cancelled_at, reasoning_tokens"

BatchInfo batch_of(const Rows& row) {
  return {.id = row.text(1),
          .endpoint = row.text(2),
          .completion_window = row.text(3),
          .input_file_id = row.text(4),
          .model = row.text(5),
          .output_file_id = row.text(6),
          .error_file_id = row.text(7),
          .state = static_cast<BatchState>(row.integer(8)),
          .metadata = {},
          .errors = {},
          .total = row.integer(9),
          .completed = row.integer(10),
          .failed = row.integer(11),
          .prompt_tokens = row.integer(12),
          .cached_tokens = row.integer(13),
          .completion_tokens = row.integer(14),
          .reasoning_tokens = row.integer(24),
          .created_at = row.integer(15),
          .expires_at = row.integer(16),
          .in_progress_at = row.optional_integer(17),
          .finalizing_at = row.optional_integer(18),
          .completed_at = row.optional_integer(19),
          .failed_at = row.optional_integer(20),
          .expired_at = row.optional_integer(21),
          .cancelling_at = row.optional_integer(22),
          .cancelled_at = row.optional_integer(23)};
}

/// Fills in what lies in tables of its own.
void read_details(Transaction& transaction, std::int64_t number, BatchInfo& batch) {
  {
    auto rows = transaction.query("SELECT key, value FROM batch_metadata WHERE batch = ?", number);
    while (rows.next()) batch.metadata.emplace(rows.text(0), rows.text(1));
  }
  auto rows = transaction.query(
      "SELECT code, message, param, line FROM batch_error WHERE batch = ? ORDER BY position",
      number);
  while (rows.next())
    batch.errors.push_back({.code = rows.text(0),
                            .message = rows.text(1),
                            .param = rows.text(2),
                            .line = rows.optional_integer(3)});
}

/// The batches that a query of TANDEM_BATCH_COLUMNS gives.
std::vector<BatchInfo> collect(Transaction& transaction, Rows& rows) {
  std::vector<BatchInfo> batches;
  while (rows.next()) {
    batches.push_back(batch_of(rows));
    read_details(transaction, rows.integer(0), batches.back());
  }
  return batches;
}

/// Equal for equal requests, and only for them: each part carries its length.
std::string fingerprint(const NewBatch& batch) {
  std::string out;
  const auto add = [&out](const std::string& part) {
    out += std::to_string(part.size()) + ':' + part;
  };
  add(batch.input_file_id);
  add(batch.endpoint);
  add(batch.completion_window);
  add(std::to_string(batch.window_seconds));
  for (const auto& [key, value] : batch.metadata) {
    add(key);
    add(value);
  }
  // A part more than pairs give, and only if it is there: keys of an earlier version stay valid.
  if (batch.output_expires_after_seconds) add(std::to_string(*batch.output_expires_after_seconds));
  return out;
}

/// The error if `id` cannot be the input of a batch.
std::optional<Error> check_input(Transaction& transaction, const std::string& id) {
  auto rows = transaction.query("SELECT purpose FROM file WHERE id = ?", id);
  if (!rows.next())
    return error(Errc::invalid_value, "no file with the id \"" + id + "\"", "input_file_id");
  if (const auto purpose = rows.text(0); purpose != "batch")
    return error(Errc::invalid_value,
                 "the file's purpose is \"" + purpose + "\"; a batch needs \"batch\"",
                 "input_file_id");
  return std::nullopt;
}

void insert_batch(Transaction& change, const std::string& id, const NewBatch& batch,
                  UnixSeconds now) {
  change.run(
      "INSERT INTO batch(id, endpoint, completion_window, input_file_id, state, created_at,"
      " expires_at, output_expires_after) VALUES(?, ?, ?, ?, ?, ?, ?, ?)",
      id, batch.endpoint, batch.completion_window, batch.input_file_id,
      number(BatchState::validating), now, now + batch.window_seconds,
      batch.output_expires_after_seconds);
  const auto row = change.last_row_id();
  for (const auto& [key, value] : batch.metadata)
    change.run("INSERT INTO batch_metadata(batch, key, value) VALUES(?, ?, ?)", row, key, value);
}

/// Commits, and returns the batch as it now is.
Result<BatchInfo> commit_and_read(Transaction& change, const std::string& id) {
  auto batch = read_batch(change, id);
  if (auto done = change.commit(); !done) return done.error();
  if (!batch) return no_such_batch(id);
  return std::move(*batch);
}

Error wrong_state(const BatchInfo& batch, std::string_view wanted) {
  return error(Errc::conflict,
               "the batch \"" + batch.id + "\" is " + std::string(to_string(batch.state)) +
                   "; this needs one that is " + std::string(wanted),
               "batch_id");
}

/// What keeps the batch from being validated, if anything does.
std::optional<Error> check_validating(Transaction& transaction, const std::string& id) {
  const auto batch = read_batch(transaction, id);
  if (transaction.failed()) return transaction.error();
  if (!batch) return no_such_batch(id);
  if (batch->state != BatchState::validating) return wrong_state(*batch, "validating");
  return std::nullopt;
}

void fail_batch(Transaction& change, std::int64_t batch, std::span<const BatchError> errors,
                UnixSeconds now) {
  drop_items(change, batch);
  std::int64_t position = 0;
  for (const auto& one : errors)
    change.run(
        "INSERT INTO batch_error(batch, position, code, message, param, line)"
        " VALUES(?, ?, ?, ?, ?, ?)",
        batch, position++, one.code, one.message, one.param, one.line);
  change.run("UPDATE batch SET state = ?, failed_at = ? WHERE number = ?",
             number(BatchState::failed), now, batch);
}

}  // namespace

std::string_view to_string(BatchState state) {
  switch (state) {
    case BatchState::validating: return "validating";
    case BatchState::failed: return "failed";
    case BatchState::in_progress: return "in_progress";
    case BatchState::finalizing: return "finalizing";
    case BatchState::completed: return "completed";
    case BatchState::expired: return "expired";
    case BatchState::cancelling: return "cancelling";
    case BatchState::cancelled: return "cancelled";
  }
  return "unknown";
}

Error no_such_batch(const std::string& id) {
  return error(Errc::not_found, "no batch with the id \"" + id + "\"", "batch_id");
}

std::int64_t batch_number(Transaction& transaction, const std::string& id) {
  return transaction.integer("SELECT number FROM batch WHERE id = ?", id);
}

std::optional<BatchInfo> read_batch(Transaction& transaction, const std::string& id) {
  auto rows = transaction.query("SELECT " TANDEM_BATCH_COLUMNS " FROM batch WHERE id = ?", id);
  if (!rows.next()) return std::nullopt;
  auto batch = batch_of(rows);
  read_details(transaction, rows.integer(0), batch);
  return batch;
}

void drop_items(Transaction& change, std::int64_t batch) {
  change.run("DELETE FROM item WHERE batch = ?", batch);
}

void settle_batch(Transaction& change, std::int64_t batch, UnixSeconds now) {
  change.run(
      "UPDATE batch SET state = ?, finalizing_at = ?"
      " WHERE number = ? AND state = ? AND completed + failed = total",
      number(BatchState::finalizing), now, batch, number(BatchState::in_progress));
}

Result<BatchInfo> Store::create_batch(const NewBatch& batch, UnixSeconds now) {
  const auto request = fingerprint(batch);
  Transaction change(state_->database, Kind::write);
  if (!batch.idempotency_key.empty() && !batch.takes_over_key) {
    std::string first;
    {
      auto rows = change.query(
          "SELECT batch_id FROM idempotency WHERE key = ? AND request = ? AND created_at > ?",
          batch.idempotency_key, request, now - idempotency_seconds);
      if (rows.next()) first = rows.text(0);
    }
    if (!first.empty()) return commit_and_read(change, first);
  }
  if (auto wrong = check_input(change, batch.input_file_id); wrong && !change.failed())
    return *wrong;
  const auto id = random_id("batch_");
  insert_batch(change, id, batch, now);
  if (!batch.idempotency_key.empty())
    change.run(
        "INSERT OR REPLACE INTO idempotency(key, request, batch_id, created_at)"
        " VALUES(?, ?, ?, ?)",
        batch.idempotency_key, request, id, now);
  return commit_and_read(change, id);
}

Result<BatchInfo> Store::get_batch(const std::string& id) {
  Transaction read(state_->database, Kind::read);
  return commit_and_read(read, id);
}

Result<BatchPage> Store::list_batches(std::int64_t limit, const std::string& after) {
  Transaction read(state_->database, Kind::read);
  const auto before = batch_number(read, after);
  BatchPage page;
  {
    auto rows = read.query("SELECT " TANDEM_BATCH_COLUMNS
                           " FROM batch WHERE ?1 = 0 OR number < ?1"
                           " ORDER BY number DESC LIMIT ?2",
                           before, limit + 1);
    page.batches = collect(read, rows);
  }
  if (auto done = read.commit(); !done) return done.error();
  if (!after.empty() && before == 0)
    return error(Errc::invalid_value, "no batch with the id \"" + after + "\"", "after");
  page.has_more = static_cast<std::int64_t>(page.batches.size()) > limit;
  if (page.has_more) page.batches.pop_back();
  return page;
}

Result<std::vector<BatchInfo>> Store::unfinished_batches() {
  Transaction read(state_->database, Kind::read);
  std::vector<BatchInfo> batches;
  {
    auto rows = read.query("SELECT " TANDEM_BATCH_COLUMNS
                           " FROM batch WHERE " TANDEM_BATCH_UNFINISHED " ORDER BY number");
    batches = collect(read, rows);
  }
  if (auto done = read.commit(); !done) return done.error();
  return batches;
}

Result<BatchInfo> Store::cancel_batch(const std::string& id, UnixSeconds now) {
  Transaction change(state_->database, Kind::write);
  const auto batch = read_batch(change, id);
  if (change.failed()) return change.error();
  if (!batch) return no_such_batch(id);
  const auto row = batch_number(change, id);
  switch (batch->state) {
    case BatchState::cancelling: break;
    case BatchState::validating:
      drop_items(change, row);
      change.run("UPDATE batch SET state = ?, cancelling_at = ?, cancelled_at = ? WHERE number = ?",
                 number(BatchState::cancelled), now, now, row);
      break;
    case BatchState::in_progress: {
      const auto ended = change.run("UPDATE item SET state = ? WHERE batch = ? AND state = ?",
                                    number(ItemState::cancelled), row, number(ItemState::ready));
      change.run(
          "UPDATE batch SET state = ?, cancelling_at = ?, failed = failed + ? WHERE number = ?",
          number(BatchState::cancelling), now, ended, row);
      break;
    }
    default: return wrong_state(*batch, "validating or in_progress");
  }
  return commit_and_read(change, id);
}

Result<void> Store::begin_validation(const std::string& batch_id) {
  Transaction change(state_->database, Kind::write);
  if (auto wrong = check_validating(change, batch_id)) return *wrong;
  drop_items(change, batch_number(change, batch_id));
  return change.commit();
}

Result<std::optional<BatchError>> Store::add_items(const std::string& batch_id,
                                                   std::span<const NewItem> items) {
  Transaction change(state_->database, Kind::write);
  if (auto wrong = check_validating(change, batch_id)) return *wrong;
  const auto batch = batch_number(change, batch_id);
  for (const auto& item : items) {
    change.run(
        "INSERT INTO item(batch, line_no, custom_id, text_offset, text_length)"
        " VALUES(?, ?, ?, ?, ?)",
        batch, item.line_no, item.custom_id, item.offset, item.length);
    if (change.take_unique_violation())
      return std::optional(BatchError{
          .code = "duplicate_custom_id",
          .message = "the custom_id \"" + item.custom_id + "\" is used by an earlier line",
          .param = "custom_id",
          .line = item.line_no});
  }
  if (auto done = change.commit(); !done) return done.error();
  return std::optional<BatchError>();
}

Result<BatchInfo> Store::finish_validation(const std::string& batch_id, const std::string& model,
                                           std::span<const BatchError> errors, UnixSeconds now) {
  const BatchError empty{.code = "empty_file",
                         .message = "the input file has no requests",
                         .param = "input_file_id",
                         .line = std::nullopt};
  Transaction change(state_->database, Kind::write);
  if (auto wrong = check_validating(change, batch_id)) return *wrong;
  const auto batch = batch_number(change, batch_id);
  const auto total = change.integer("SELECT count(*) FROM item WHERE batch = ?", batch);
  if (!errors.empty())
    fail_batch(change, batch, errors, now);
  else if (total == 0)
    fail_batch(change, batch, std::span(&empty, 1), now);
  else
    change.run(
        "UPDATE batch SET state = ?, model = ?, total = ?, in_progress_at = ? WHERE number = ?",
        number(BatchState::in_progress), model, total, now, batch);
  return commit_and_read(change, batch_id);
}

}  // namespace tandem::store
