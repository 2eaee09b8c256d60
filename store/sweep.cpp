// Housekeeping: what may go, goes in portions, so that the caller is never held up for long.
#include <system_error>

#include "store/state.hpp"

namespace tandem::store {
namespace {

constexpr std::int64_t files_per_sweep = 64;
constexpr std::int64_t items_per_sweep = 4096;

/// Expired files that no unfinished batch reads.
std::vector<std::string> remove_expired(Transaction& change, UnixSeconds now) {
  std::vector<std::string> ids;
  {
    auto rows = change.query(
        "SELECT id FROM file WHERE expires_at <= ? AND id NOT IN"
        " (SELECT input_file_id FROM batch WHERE " TANDEM_BATCH_UNFINISHED ") LIMIT ?",
        now, files_per_sweep);
    while (rows.next()) ids.push_back(rows.text(0));
  }
  for (const auto& id : ids) change.run("DELETE FROM file WHERE id = ?", id);
  return ids;
}

/// Items of one ended batch: its files hold all that they held. False: there are none anywhere.
bool purge_items(Transaction& change) {
  const auto batch =
      change.integer("SELECT number FROM batch WHERE purged = 0 AND " TANDEM_BATCH_ENDED
                     " ORDER BY number LIMIT 1");
  if (batch == 0) return false;
  const auto upto = change.integer(
      "SELECT max(line_no) FROM (SELECT line_no FROM item WHERE batch = ? ORDER BY line_no"
      " LIMIT ?)",
      batch, items_per_sweep);
  change.run("DELETE FROM result WHERE batch = ? AND line_no <= ?", batch, upto);
  const auto removed = change.run("DELETE FROM item WHERE batch = ? AND line_no <= ?", batch, upto);
  if (removed < items_per_sweep) change.run("UPDATE batch SET purged = 1 WHERE number = ?", batch);
  return true;
}

}  // namespace

Result<bool> Store::sweep(UnixSeconds now) {
  Transaction change(state_->database, Kind::write);
  const auto expired = remove_expired(change, now);
  const bool purging = purge_items(change);
  change.run("DELETE FROM idempotency WHERE created_at <= ?", now - idempotency_seconds);
  if (auto done = change.commit(); !done) return done.error();

  for (const auto& id : expired) state_->doomed.push_back(state_->files() / id);
  std::error_code ignored;  // what stays is removed by the next open()
  for (const auto& path : state_->doomed) std::filesystem::remove(path, ignored);
  state_->doomed.clear();

  const bool more = purging || static_cast<std::int64_t>(expired.size()) == files_per_sweep;
  if (!more)
    if (auto done = state_->database.checkpoint(); !done) return done.error();
  return more;
}

}  // namespace tandem::store
