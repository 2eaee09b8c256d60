// The end of a batch: its results are written as two files, in the order of the input's lines. Both
// are complete and durable before the one transaction that names them; a crash at any point before
// it leaves nothing but leftovers (removed by open()), and the writing starts again.
#include <algorithm>
#include <array>
#include <cstdio>
#include <system_error>

#include "store/state.hpp"

namespace tandem::store {
namespace fs = std::filesystem;
namespace {

constexpr const char* expired_message =
    "This request could not be executed before the completion window expired.";
constexpr const char* cancelled_message =
    "This request could not be executed because the batch was cancelled.";

/// Unique, the same whenever the line is written again, and as opaque as the batch's own id.
std::string line_id(const std::string& batch_id, std::int64_t line_no) {
  const auto unique = batch_id.substr(std::min(batch_id.size(), sizeof("batch_") - 1));
  std::array<char, 24> digits{};
  std::snprintf(digits.data(), digits.size(), "%08llx", static_cast<unsigned long long>(line_no));
  return "batch_req_" + unique + digits.data();
}

void append_error(std::string& line, std::string_view code, std::string_view message) {
  line += R"(,"response":null,"error":{"code":)";
  append_json_string(line, code);
  line += R"(,"message":)";
  append_json_string(line, message);
  line += '}';
}

void append_response(std::string& line, std::int64_t status, std::string_view request_id,
                     std::string body) {
  // Between the tokens of a JSON value a line break is white space; inside a line it may not stand.
  std::replace(body.begin(), body.end(), '\n', ' ');
  std::replace(body.begin(), body.end(), '\r', ' ');
  line += R"(,"response":{"status_code":)" + std::to_string(status) + R"(,"request_id":)";
  append_json_string(line, request_id);
  line += R"(,"body":)" + (body.empty() ? "null" : body) + R"(},"error":null)";
}

struct Line {
  std::int64_t line_no = 0;
  bool is_error = false;
  std::string text;
};

Line line_of(const std::string& batch_id, const Rows& row) {
  const auto state = static_cast<ItemState>(row.integer(2));
  Line line{.line_no = row.integer(0), .is_error = true, .text = {}};
  line.text = R"({"id":")" + line_id(batch_id, line.line_no) + R"(","custom_id":)";
  append_json_string(line.text, row.text(1));
  if (state == ItemState::expired)
    append_error(line.text, "batch_expired", expired_message);
  else if (state == ItemState::cancelled)
    append_error(line.text, "batch_cancelled", cancelled_message);
  else if (const auto code = row.text(6); !code.empty())
    append_error(line.text, code, row.text(7));
  else {
    line.is_error = row.integer(3) >= 400;
    append_response(line.text, row.integer(3), row.text(4), row.text(5));
  }
  line.text += "}\n";
  return line;
}

/// Writes up to max_items lines that follow the last one; true if there are none left.
Result<bool> write_lines(Store::State& state, Transaction& read, std::int64_t max_items) {
  auto& finalizer = *state.finalizer;
  const auto batch = batch_number(read, finalizer.batch_id);
  auto rows = read.query(
      "SELECT i.line_no, i.custom_id, i.state, r.status_code, r.request_id, r.body, r.error_code,"
      " r.error_message FROM item i LEFT JOIN result r ON r.batch = i.batch"
      " AND r.line_no = i.line_no WHERE i.batch = ? AND i.line_no > ? ORDER BY i.line_no LIMIT ?",
      batch, finalizer.last_line, max_items);
  std::int64_t count = 0;
  for (; rows.next(); ++count) {
    const auto line = line_of(finalizer.batch_id, rows);
    auto& output = line.is_error ? finalizer.errors : finalizer.output;
    if (auto step = state.step("finalize.write"); !step) return step.error();
    if (auto written = write_all(output.file, line.text); !written) return written.error();
    output.bytes += static_cast<std::int64_t>(line.text.size());
    finalizer.last_line = line.line_no;
  }
  return count < max_items;
}

Result<void> open_outputs(Store::State& state, const std::string& batch_id) {
  auto& finalizer = state.finalizer.emplace();
  finalizer.batch_id = batch_id;
  for (auto* output : {&finalizer.output, &finalizer.errors}) {
    if (auto step = state.step("finalize.open"); !step) return step.error();
    output->path = state.incoming() / random_id("finalize-");
    auto file = create_file(output->path);
    if (!file) return file.error();
    output->file = std::move(*file);
  }
  return {};
}

/// Makes one output durable in its final place and gives it an id; an empty one has none.
Result<void> publish(Store::State& state, Finalizer::Output& output) {
  if (output.bytes == 0) return {};
  if (auto step = state.step("finalize.sync"); !step) return step.error();
  if (auto synced = state.sync(output.file); !synced) return synced.error();
  if (auto step = state.step("finalize.rename"); !step) return step.error();
  auto id = random_id("file-");
  const auto place = state.files() / id;
  if (auto moved = rename_file(output.path, place); !moved) return moved.error();
  output.path = place;
  output.id = std::move(id);
  return {};
}

FileInfo info_of(const Finalizer& finalizer, const Finalizer::Output& output,
                 std::string_view suffix, UnixSeconds now, std::optional<UnixSeconds> expires_at) {
  return {.id = output.id,
          .filename = finalizer.batch_id + std::string(suffix),
          .purpose = "batch_output",
          .bytes = output.bytes,
          .created_at = now,
          .expires_at = expires_at};
}

/// When files of the batch that are made now are to go, if ever.
std::optional<UnixSeconds> outputs_expire_at(Transaction& change, const std::string& batch_id,
                                             UnixSeconds now) {
  auto rows =
      change.query("SELECT ? + output_expires_after FROM batch WHERE id = ?", now, batch_id);
  return rows.next() ? rows.optional_integer(0) : std::nullopt;
}

void set_final_state(Transaction& change, const BatchInfo& batch, const Finalizer& finalizer,
                     bool past_deadline, UnixSeconds now) {
  const bool cancelled = batch.state == BatchState::cancelling;
  const auto state = cancelled       ? BatchState::cancelled
                     : past_deadline ? BatchState::expired
                                     : BatchState::completed;
  const auto at = [&](BatchState one) { return one == state ? std::optional(now) : std::nullopt; };
  change.run(
      "UPDATE batch SET state = ?, output_file_id = ?, error_file_id = ?, completed_at = ?,"
      " expired_at = ?, cancelled_at = ? WHERE id = ?",
      number(state), finalizer.output.id, finalizer.errors.id, at(BatchState::completed),
      at(BatchState::expired), at(BatchState::cancelled), batch.id);
}

Result<void> commit_end(Store::State& state, UnixSeconds now) {
  auto& finalizer = *state.finalizer;
  Transaction change(state.database, Kind::write);
  const auto batch = read_batch(change, finalizer.batch_id);
  if (change.failed() || !batch) return change.failed() ? change.error() : no_such_batch("");
  const bool past_deadline =
      change.integer("SELECT past_deadline FROM batch WHERE id = ?", batch->id) != 0;
  const auto expire_at = outputs_expire_at(change, batch->id, now);
  if (!finalizer.output.id.empty())
    insert_file(change, info_of(finalizer, finalizer.output, "_output.jsonl", now, expire_at));
  if (!finalizer.errors.id.empty())
    insert_file(change, info_of(finalizer, finalizer.errors, "_error.jsonl", now, expire_at));
  set_final_state(change, *batch, finalizer, past_deadline, now);
  if (auto step = state.step("finalize.commit"); !step) change.fail(step.error());
  auto done = change.commit();
  for (auto* output : {&finalizer.output, &finalizer.errors}) {
    if (output->id.empty()) continue;
    if (!done) state.doomed.push_back(output->path);
    output->path.clear();
  }
  if (done) (void)state.step("finalize.committed");
  return done;
}

/// Checks that the batch can be finalized, and takes up where the last call stopped, or starts.
Result<void> begin_or_resume(Store::State& state, Transaction& read, const std::string& batch_id) {
  const auto batch = read_batch(read, batch_id);
  if (read.failed()) return read.error();
  if (!batch) return no_such_batch(batch_id);
  const bool ended = batch->completed + batch->failed == batch->total;
  if (batch->state != BatchState::finalizing && !(batch->state == BatchState::cancelling && ended))
    return error(Errc::conflict,
                 "the batch \"" + batch_id + "\" is " + std::string(to_string(batch->state)) +
                     " and cannot be finalized",
                 "batch_id");
  if (state.finalizer && state.finalizer->batch_id == batch_id) return {};
  state.finalizer.reset();
  return open_outputs(state, batch_id);
}

Result<bool> finalize_step(Store::State& state, const std::string& batch_id, std::int64_t max_items,
                           UnixSeconds now) {
  {
    Transaction read(state.database, Kind::read);
    if (auto begun = begin_or_resume(state, read, batch_id); !begun) return begun.error();
    auto all = write_lines(state, read, std::max<std::int64_t>(max_items, 1));
    if (!all) return all.error();
    if (auto done = read.commit(); !done) return done.error();
    if (!*all) return false;
  }
  for (auto* output : {&state.finalizer->output, &state.finalizer->errors})
    if (auto published = publish(state, *output); !published) return published.error();
  if (auto step = state.step("finalize.sync_folder"); !step) return step.error();
  if (auto synced = state.sync(state.files()); !synced) return synced.error();
  if (auto done = commit_end(state, now); !done) return done.error();
  state.finalizer.reset();
  return true;
}

}  // namespace

Finalizer::~Finalizer() {
  std::error_code ignored;
  for (const auto* path : {&output.path, &errors.path})
    if (!path->empty()) fs::remove(*path, ignored);
}

Result<std::vector<std::string>> Store::finalizable_batches() {
  std::vector<std::string> ids;
  Transaction read(state_->database, Kind::read);
  {
    auto rows = read.query(
        "SELECT id FROM batch WHERE " TANDEM_BATCH_UNFINISHED
        " AND (state = ?1 OR (state = ?2 AND completed + failed = total)) ORDER BY number",
        number(BatchState::finalizing), number(BatchState::cancelling));
    while (rows.next()) ids.push_back(rows.text(0));
  }
  if (auto done = read.commit(); !done) return done.error();
  return ids;
}

Result<bool> Store::finalize_some(const std::string& batch_id, std::int64_t max_items,
                                  UnixSeconds now) {
  auto done = finalize_step(*state_, batch_id, max_items, now);
  if (!done) state_->finalizer.reset();
  return done;
}

}  // namespace tandem::store
