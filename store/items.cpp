// Items: claiming, returning, finishing and expiring them. A claim hands out the item's next token;
// every later change names it, and is void unless the item is still claimed under it (the fence).
#include <map>

#include "store/state.hpp"

namespace tandem::store {
namespace {

struct Candidate {
  ClaimedItem item;
  std::int64_t batch = 0;
  std::int64_t offset = 0, length = 0;
};

/// Reads texts out of input files, keeping the last one open.
class TextReader {
 public:
  explicit TextReader(std::filesystem::path files) : files_(std::move(files)) {}

  /// nullopt: the file is gone, or too short; another attempt cannot help.
  Result<std::optional<std::string>> read(const std::string& file_id, std::int64_t offset,
                                          std::int64_t length) {
    if (file_id != file_id_) {
      auto file = open_for_reading(files_ / file_id);
      if (!file && file.error().code == Errc::not_found) return std::optional<std::string>();
      if (!file) return file.error();
      auto size = regular_file_size(*file);
      if (!size) return size.error();
      file_ = std::move(*file);
      size_ = *size;
      file_id_ = file_id;
    }
    if (offset < 0 || length < 0 || offset > size_ || length > size_ - offset)
      return std::optional<std::string>();
    auto text = read_range(file_, offset, length);
    if (!text) return text.error();
    if (static_cast<std::int64_t>(text->size()) < length) return std::optional<std::string>();
    return std::optional(std::move(*text));
  }

 private:
  std::filesystem::path files_;
  std::string file_id_;
  FileDescriptor file_;
  std::int64_t size_ = 0;
};

struct OpenBatch {
  std::int64_t number = 0;
  std::string id, endpoint, input_file_id;
  UnixSeconds deadline = 0;
};

/// Batches that may have claimable items, in the order in which they are served.
std::vector<OpenBatch> open_batches(Transaction& transaction, UnixSeconds now) {
  std::vector<OpenBatch> batches;
  auto rows = transaction.query(
      "SELECT number, id, endpoint, input_file_id, expires_at FROM batch"
      " WHERE " TANDEM_BATCH_UNFINISHED
      " AND state = ? AND expires_at > ? ORDER BY expires_at, number",
      number(BatchState::in_progress), now);
  while (rows.next())
    batches.push_back({rows.integer(0), rows.text(1), rows.text(2), rows.text(3), rows.integer(4)});
  return batches;
}

#define TANDEM_CANDIDATE \
  "line_no, token + 1, custom_id, attempt, crashes, alone, text_offset, text_length"

Candidate candidate_of(const Rows& rows, const OpenBatch& batch) {
  return {.item = {.ref = {batch.id, rows.integer(0), rows.integer(1)},
                   .custom_id = rows.text(2),
                   .endpoint = batch.endpoint,
                   .text = {},
                   .attempt = rows.integer(3),
                   .crashes = rows.integer(4),
                   .alone = rows.integer(5) != 0,
                   .deadline = batch.deadline},
          .batch = batch.number,
          .offset = rows.integer(6),
          .length = rows.integer(7)};
}

std::vector<Candidate> ready_candidates(Transaction& transaction, const OpenBatch& batch,
                                        std::int64_t limit) {
  std::vector<Candidate> ready;
  auto rows = transaction.query("SELECT " TANDEM_CANDIDATE
                                " FROM item WHERE batch = ? AND state = 0"
                                " ORDER BY alone, line_no LIMIT ?",
                                batch.number, limit);
  while (rows.next()) ready.push_back(candidate_of(rows, batch));
  return ready;
}

std::optional<Candidate> ready_item(Transaction& transaction, const OpenBatch& batch,
                                    std::int64_t line_no) {
  auto rows = transaction.query("SELECT " TANDEM_CANDIDATE
                                " FROM item WHERE batch = ? AND line_no = ? AND state = 0",
                                batch.number, line_no);
  if (!rows.next()) return std::nullopt;
  return candidate_of(rows, batch);
}

struct Holds {
  bool any = false;    ///< something is claimed
  bool alone = false;  ///< a suspect is claimed
};

Holds current_holds(Transaction& transaction) {
  auto rows =
      transaction.query("SELECT alone FROM item WHERE state = 1 ORDER BY alone DESC LIMIT 1");
  if (!rows.next()) return {};
  return {.any = true, .alone = rows.integer(0) != 0};
}

/// Claims one candidate, with its text; or ends it, if the text is lost (nothing is added then).
void take(Transaction& change, TextReader& reader, const OpenBatch& batch, Candidate candidate,
          std::vector<ClaimedItem>& claimed, UnixSeconds now) {
  auto text = reader.read(batch.input_file_id, candidate.offset, candidate.length);
  if (!text) return change.fail(text.error());
  const auto line_no = candidate.item.ref.line_no;
  change.run("UPDATE item SET state = 1, token = ? WHERE batch = ? AND line_no = ?",
             candidate.item.ref.token, batch.number, line_no);
  if (!*text)
    return fail_item(change, batch.number, line_no, "input_file_lost",
                     "The request could not be read from the input file any more.", now);
  candidate.item.text = std::move(**text);
  claimed.push_back(std::move(candidate.item));
}

/// The fence: ends the item if, and only if, it is claimed under the token.
bool end_claimed(Transaction& change, std::int64_t batch, const ItemRef& ref) {
  return change.run(
             "UPDATE item SET state = ? WHERE batch = ? AND line_no = ? AND state = ?"
             " AND token = ?",
             number(ItemState::done), batch, ref.line_no, number(ItemState::claimed),
             ref.token) == 1;
}

void record_result(Transaction& change, std::int64_t batch, const FinishedItem& item) {
  change.run(
      "INSERT INTO result(batch, line_no, token, status_code, request_id, body, error_code,"
      " error_message) VALUES(?, ?, ?, ?, ?, ?, ?, ?)",
      batch, item.ref.line_no, item.ref.token, item.status_code, item.request_id, item.body,
      item.error_code, item.error_message);
  const bool completed = item.error_code.empty() && item.status_code < 400;
  change.run(
      "UPDATE batch SET completed = completed + ?, failed = failed + ?,"
      " prompt_tokens = prompt_tokens + ?, cached_tokens = cached_tokens + ?,"
      " completion_tokens = completion_tokens + ?, reasoning_tokens = reasoning_tokens + ?"
      " WHERE number = ?",
      std::int64_t{completed}, std::int64_t{!completed}, item.prompt_tokens, item.cached_tokens,
      item.completion_tokens, item.reasoning_tokens, batch);
}

void expire_batch(Transaction& change, std::int64_t batch, UnixSeconds now) {
  const auto ended = change.run("UPDATE item SET state = ? WHERE batch = ? AND state IN (0, 1)",
                                number(ItemState::expired), batch);
  change.run("UPDATE batch SET failed = failed + ?, past_deadline = 1 WHERE number = ?", ended,
             batch);
  settle_batch(change, batch, now);
}

}  // namespace

Result<std::vector<ClaimedItem>> Store::claim(std::int64_t count, UnixSeconds now) {
  std::vector<ClaimedItem> claimed;
  TextReader reader(state_->files());
  Transaction change(state_->database, Kind::write);
  const auto holds = current_holds(change);
  bool full = holds.alone || count <= 0;
  if (!full)
    for (const auto& batch : open_batches(change, now)) {
      const auto wanted = count - static_cast<std::int64_t>(claimed.size());
      for (auto& candidate : ready_candidates(change, batch, wanted)) {
        // A suspect waits until nothing else runs, and then nothing else starts.
        full = candidate.item.alone;
        if (full && (holds.any || !claimed.empty())) break;
        take(change, reader, batch, std::move(candidate), claimed, now);
        if (full) break;
      }
      full = full || static_cast<std::int64_t>(claimed.size()) >= count;
      if (full || change.failed()) break;
    }
  if (auto done = change.commit(); !done) return done.error();
  return claimed;
}

Result<std::vector<ClaimedItem>> Store::claim_items(std::span<const ItemKey> items,
                                                    UnixSeconds now) {
  std::vector<ClaimedItem> claimed;
  std::map<std::string, OpenBatch> batches;
  TextReader reader(state_->files());
  Transaction change(state_->database, Kind::write);
  const auto holds = current_holds(change);
  if (!holds.alone && !items.empty())
    for (auto& batch : open_batches(change, now)) {
      auto id = batch.id;
      batches.emplace(std::move(id), std::move(batch));
    }
  for (const auto& item : items) {
    const auto batch = batches.find(item.batch_id);
    if (batch == batches.end() || change.failed()) continue;
    auto candidate = ready_item(change, batch->second, item.line_no);
    if (!candidate || (candidate->item.alone && (holds.any || items.size() > 1))) continue;
    take(change, reader, batch->second, std::move(*candidate), claimed, now);
  }
  if (auto done = change.commit(); !done) return done.error();
  return claimed;
}

Result<SuspectTurn> Store::suspect_turn(UnixSeconds now) {
  if (!state_->suspects_possible) return SuspectTurn{};
  Transaction read(state_->database, Kind::read);
  const auto holds = current_holds(read);
  SuspectTurn turn{.running = holds.alone, .due = std::nullopt, .others_run = holds.any};
  bool any = holds.alone;
  for (const auto& batch : open_batches(read, now)) {
    any = any || read.integer(
                     "SELECT EXISTS(SELECT 1 FROM item WHERE batch = ? AND state = 0"
                     " AND alone = 1)",
                     batch.number) != 0;
    const auto ready = ready_candidates(read, batch, 1);
    if (turn.due || ready.empty() || !ready.front().item.alone) continue;
    turn.due = ItemKey{batch.id, ready.front().item.ref.line_no};
  }
  if (auto done = read.commit(); !done) return done.error();
  state_->suspects_possible = any;
  return turn;
}

Result<std::vector<ReadyItem>> Store::ready_items(const std::string& batch_id,
                                                  std::int64_t first_line, std::int64_t count,
                                                  std::int64_t max_bytes) {
  struct Place {
    std::int64_t line_no, offset, length;
  };
  std::vector<Place> places;
  std::string input_file_id;
  Transaction read(state_->database, Kind::read);
  {
    auto rows = read.query(
        "SELECT batch.input_file_id, line_no, text_offset, text_length FROM batch JOIN item"
        " ON item.batch = batch.number WHERE batch.id = ? AND batch.state = ? AND item.state = 0"
        " AND alone = 0 AND line_no >= ? ORDER BY line_no LIMIT ?",
        batch_id, number(BatchState::in_progress), first_line, count);
    while (rows.next()) {
      input_file_id = rows.text(0);
      places.push_back({rows.integer(1), rows.integer(2), rows.integer(3)});
    }
  }
  if (auto done = read.commit(); !done) return done.error();
  std::vector<ReadyItem> ready;
  TextReader reader(state_->files());
  std::int64_t bytes = 0;
  for (const auto& place : places) {
    bytes += place.length;
    if (bytes > max_bytes && !ready.empty()) break;
    auto text = reader.read(input_file_id, place.offset, place.length);
    if (!text) return text.error();
    ready.push_back({place.line_no, text->value_or(std::string())});
  }
  return ready;
}

Result<bool> Store::has_claimable(UnixSeconds now) {
  Transaction read(state_->database, Kind::read);
  const auto holds = current_holds(read);
  bool claimable = false;
  if (!holds.alone)
    for (const auto& batch : open_batches(read, now)) {
      const auto ready = ready_candidates(read, batch, 1);
      if (ready.empty()) continue;
      claimable = !ready.front().item.alone || !holds.any;
      break;
    }
  if (auto done = read.commit(); !done) return done.error();
  return claimable;
}

Result<std::int64_t> Store::return_items(std::span<const ItemRef> items, ReturnReason reason,
                                         UnixSeconds now) {
  const Release release{.crashes = reason == ReturnReason::engine_failed ? 1 : 0,
                        .kills = 0,
                        .attempts = reason == ReturnReason::retry ? 1 : 0,
                        .forget_kills = false};
  std::int64_t returned = 0;
  Transaction change(state_->database, Kind::write);
  for (const auto& item : items) {
    const auto batch = batch_number(change, item.batch_id);
    const auto held = change.integer(
        "SELECT count(*) FROM item WHERE batch = ? AND line_no = ? AND state = 1 AND token = ?",
        batch, item.line_no, item.token);
    if (held == 0) continue;
    const auto released =
        release_item(change, state_->options.poison, batch, item.line_no, release, now);
    if (released == Released::suspect) state_->suspects_possible = true;
    ++returned;
  }
  if (auto done = change.commit(); !done) return done.error();
  return returned;
}

Result<std::int64_t> Store::finish(std::span<const FinishedItem> items, UnixSeconds now) {
  std::int64_t fenced = 0;
  Transaction change(state_->database, Kind::write);
  for (const auto& item : items) {
    const auto batch = batch_number(change, item.ref.batch_id);
    if (!end_claimed(change, batch, item.ref)) {
      ++fenced;
      continue;
    }
    record_result(change, batch, item);
    settle_batch(change, batch, now);
  }
  const bool progress = fenced < static_cast<std::int64_t>(items.size());
  if (progress && !state_->progress_recorded) change.run("UPDATE process SET finished = 1");
  if (auto done = change.commit(); !done) return done.error();
  state_->progress_recorded = state_->progress_recorded || progress;
  return fenced;
}

Result<std::vector<std::string>> Store::expire_batches(UnixSeconds now) {
  std::vector<std::pair<std::int64_t, std::string>> due;
  Transaction change(state_->database, Kind::write);
  {
    auto rows = change.query("SELECT number, id FROM batch WHERE " TANDEM_BATCH_UNFINISHED
                             " AND state = ?"
                             " AND expires_at <= ? ORDER BY expires_at, number",
                             number(BatchState::in_progress), now);
    while (rows.next()) due.emplace_back(rows.integer(0), rows.text(1));
  }
  std::vector<std::string> expired;
  for (const auto& [batch, id] : due) {
    expire_batch(change, batch, now);
    expired.push_back(id);
  }
  if (auto done = change.commit(); !done) return done.error();
  return expired;
}

Result<Store::ItemCounts> Store::item_counts() {
  Transaction read(state_->database, Kind::read);
  const ItemCounts counts{.ready = read.integer("SELECT count(*) FROM item WHERE state = 0"),
                          .claimed = read.integer("SELECT count(*) FROM item WHERE state = 1")};
  if (auto done = read.commit(); !done) return done.error();
  return counts;
}

}  // namespace tandem::store
