// What becomes of a claimed item whose holder is gone: the rules of PoisonRule (store.hpp).
#include "store/state.hpp"

namespace tandem::store {
namespace {

struct Suspicion {
  std::int64_t crashes = 0, kills = 0;
  bool alone = false;
};

Suspicion read_suspicion(Transaction& transaction, std::int64_t batch, std::int64_t line_no) {
  auto rows = transaction.query(
      "SELECT crashes, kills, alone FROM item WHERE batch = ? AND line_no = ?", batch, line_no);
  if (!rows.next()) return {};
  return {.crashes = rows.integer(0), .kills = rows.integer(1), .alone = rows.integer(2) != 0};
}

bool reached(const Suspicion& suspicion, const PoisonRule& rule) {
  return suspicion.crashes >= rule.crashes || suspicion.kills >= rule.kills;
}

void cancel_item(Transaction& change, std::int64_t batch, std::int64_t line_no) {
  change.run("UPDATE item SET state = ? WHERE batch = ? AND line_no = ?",
             number(ItemState::cancelled), batch, line_no);
  change.run("UPDATE batch SET failed = failed + 1 WHERE number = ?", batch);
}

}  // namespace

void fail_item(Transaction& change, std::int64_t batch, std::int64_t line_no, std::string_view code,
               std::string_view message, UnixSeconds now) {
  change.run("UPDATE item SET state = ? WHERE batch = ? AND line_no = ?", number(ItemState::done),
             batch, line_no);
  change.run(
      "INSERT INTO result(batch, line_no, token, status_code, request_id, body, error_code,"
      " error_message) SELECT batch, line_no, token, 0, '', '', ?3, ?4 FROM item"
      " WHERE batch = ?1 AND line_no = ?2",
      batch, line_no, code, message);
  change.run("UPDATE batch SET failed = failed + 1 WHERE number = ?", batch);
  settle_batch(change, batch, now);
}

Released release_item(Transaction& change, const PoisonRule& rule, std::int64_t batch,
                      std::int64_t line_no, const Release& release, UnixSeconds now) {
  const auto state = change.integer("SELECT state FROM batch WHERE number = ?", batch);
  if (state == number(BatchState::cancelling)) {
    cancel_item(change, batch, line_no);
    return Released::cancelled;
  }
  auto suspicion = read_suspicion(change, batch, line_no);
  suspicion.crashes += release.crashes;
  suspicion.kills = release.forget_kills ? 0 : suspicion.kills + release.kills;
  const bool given_up = suspicion.alone && reached(suspicion, rule);
  if (!suspicion.alone && reached(suspicion, rule)) suspicion = {.alone = true};
  change.run(
      "UPDATE item SET state = ?, attempt = attempt + ?, crashes = ?, kills = ?, alone = ?"
      " WHERE batch = ? AND line_no = ?",
      number(ItemState::ready), release.attempts, suspicion.crashes, suspicion.kills,
      std::int64_t{suspicion.alone}, batch, line_no);
  if (given_up) {
    fail_item(change, batch, line_no, "poison_request",
              "The engine failed each time it ran this request, also when it ran nothing else; the"
              " request was given up.",
              now);
    return Released::poisoned;
  }
  return suspicion.alone ? Released::suspect : Released::ready;
}

void release_all(Transaction& change, const PoisonRule& rule, const Release& release,
                 UnixSeconds now, OpenReport& report) {
  std::vector<std::pair<std::int64_t, std::int64_t>> claimed;
  {
    auto rows = change.query("SELECT batch, line_no FROM item WHERE state = 1");
    while (rows.next()) claimed.emplace_back(rows.integer(0), rows.integer(1));
  }
  for (const auto& [batch, line_no] : claimed) {
    const auto released = release_item(change, rule, batch, line_no, release, now);
    if (released == Released::poisoned) ++report.poisoned_items;
    if (released == Released::suspect) ++report.suspect_items;
    if (released == Released::suspect || released == Released::ready) ++report.unclaimed_items;
  }
}

}  // namespace tandem::store
