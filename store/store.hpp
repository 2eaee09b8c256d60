// Durable files, batches, items and results: one SQLite database and a folder of file contents,
// owned by one process. Items are claimed with a fencing token; a result is recorded only if the
// token still holds, in one transaction with the item's state, so each item gets exactly one result
// whatever dies when. Not thread-safe: the offline queue actor is its only
// user. Every method blocks on the disk. A failure of disk or database is Errc::storage_failed,
// leaves what was stored as it was, and the call may be repeated when the cause is gone.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.hpp"

namespace tandem::store {

using UnixSeconds = std::int64_t;

/// Which items are suspected of killing the process, and when they are given up. Counted per item,
/// only for deaths of the process while the item was claimed:
///   crash  the process died by a fault of its own (it left a crash note: SIGSEGV, SIGABRT, …), or
///          the engine failed under the item (ReturnReason::engine_failed)
///   kill   the process vanished (SIGKILL, out of memory, power) and had finished no item since it
///          opened the store. A kill after some progress says nothing and sets the count back to 0.
/// An item that reaches either `suspect_after` count runs alone from then on: it is claimed only
/// when nothing else is, and nothing else is claimed until it ended. Counting starts anew, and only
/// an item that reaches a count again, while alone, is failed with `poison_request`. Operators who
/// kill at random therefore fail no innocent item: that takes crashes + kills in an unbroken row
/// while the very same item is all that runs.
struct PoisonRule {
  std::int64_t crashes = 3;
  std::int64_t kills = 24;
};

/// For tests: called before each step that touches the disk outside SQLite, with the step's name.
/// It may end the process there; true makes the step fail as if the disk had.
using FaultHook = std::function<bool(std::string_view step)>;

struct StoreOptions {
  std::filesystem::path data_dir;  ///< created with mode 0700 if it is not there
  /// Install handlers for SIGSEGV, SIGBUS, SIGILL, SIGFPE and SIGABRT that leave a crash note in
  /// data_dir and then let the earlier disposition act. For the service; see PoisonRule.
  bool note_crashes = false;
  PoisonRule poison;
  /// false: nothing waits for the disk, and what a power failure leaves may be damaged. For stores
  /// that end with their process, such as a simulation's.
  bool durable = true;
  std::string sqlite_vfs;  ///< empty: SQLite's default; tests inject failing disks
  FaultHook fault_hook;
};

struct FileInfo {
  std::string id;  ///< "file-…"
  std::string filename;
  std::string purpose;  ///< "batch", "user_data", "batch_output"
  std::int64_t bytes = 0;
  UnixSeconds created_at = 0;
  std::optional<UnixSeconds> expires_at;
};

enum class BatchState : std::uint8_t {
  validating,
  failed,
  in_progress,
  finalizing,
  completed,
  expired,
  cancelling,
  cancelled
};
std::string_view to_string(BatchState state);

struct BatchError {
  std::string code, message, param;
  std::optional<std::int64_t> line;
};

struct BatchInfo {
  std::string id;  ///< "batch_…"
  std::string endpoint, completion_window, input_file_id, model;
  std::string output_file_id, error_file_id;  ///< empty until they exist
  BatchState state = BatchState::validating;
  std::map<std::string, std::string> metadata;
  std::vector<BatchError> errors;
  /// Requests of the batch; completed + failed == total once every item ended. Items that were
  /// cancelled or expired count as failed.
  std::int64_t total = 0, completed = 0, failed = 0;
  std::int64_t prompt_tokens = 0, cached_tokens = 0, completion_tokens = 0, reasoning_tokens = 0;
  UnixSeconds created_at = 0, expires_at = 0;
  std::optional<UnixSeconds> in_progress_at, finalizing_at, completed_at, failed_at, expired_at,
      cancelling_at, cancelled_at;
};

struct NewFile {
  std::filesystem::path uploaded;  ///< as new_upload_path() gave it; written and closed
  std::string filename, purpose;
  std::optional<std::int64_t> expires_after_seconds;
};
struct FileQuery {
  std::string purpose;  ///< empty: all
  std::int64_t limit = 10000;
  bool ascending = false;
  std::string after;  ///< a file id; empty: from the start
};
struct FilePage {
  std::vector<FileInfo> files;
  bool has_more = false;
};

struct NewBatch {
  std::string input_file_id, endpoint;
  std::string completion_window;  ///< as the caller wrote it
  std::int64_t window_seconds = 86400;
  std::map<std::string, std::string> metadata;
  std::string idempotency_key;  ///< empty: none
  /// The key stands for this batch from now on, and not for one that came with it earlier.
  bool takes_over_key = false;
  /// How long its output and error files are kept, from when they are made; none: until removed.
  std::optional<std::int64_t> output_expires_after_seconds = std::nullopt;
};
struct BatchPage {
  std::vector<BatchInfo> batches;
  bool has_more = false;
};

/// One request of a batch under validation: `text` is bytes [offset, offset + length) of the
/// batch's input file (the caller decides whether that is a line or only its body).
struct NewItem {
  std::int64_t line_no = 0;
  std::string custom_id;
  std::int64_t offset = 0;
  std::int64_t length = 0;
};

/// Which item, hold or not.
struct ItemKey {
  std::string batch_id;
  std::int64_t line_no = 0;

  friend bool operator==(const ItemKey&, const ItemKey&) = default;
};

/// An item that nobody holds.
struct ReadyItem {
  std::int64_t line_no = 0;
  std::string text;  ///< see NewItem; empty if it is lost
};

/// Whether a suspect (see PoisonRule) keeps others from being claimed.
struct SuspectTurn {
  bool running = false;        ///< one is claimed: nothing else is
  std::optional<ItemKey> due;  ///< one whose batch has no other ready items: it is next
  bool others_run = false;     ///< … once these have ended
};

/// A hold on an item: void once the item was returned, ended, or claimed again (a newer token).
struct ItemRef {
  std::string batch_id;
  std::int64_t line_no = 0;
  std::int64_t token = 0;

  friend bool operator==(const ItemRef&, const ItemRef&) = default;
};

struct ClaimedItem {
  ItemRef ref;
  std::string custom_id, endpoint;
  std::string text;          ///< see NewItem
  std::int64_t attempt = 1;  ///< 1 + how often it was returned with ReturnReason::retry
  std::int64_t crashes = 0;  ///< see PoisonRule
  bool alone = false;        ///< suspected: it is the only claimed item
  UnixSeconds deadline = 0;
};

enum class ReturnReason : std::uint8_t {
  drained,        ///< never mind: counts for nothing
  retry,          ///< raises `attempt`
  engine_failed,  ///< the engine failed under it: a crash in the sense of PoisonRule
};

/// Either a response (status_code, body) or, with a non-empty error_code, an error in its place.
struct FinishedItem {
  ItemRef ref;
  std::int64_t status_code = 0;  ///< >= 400: counts as failed, goes to the error file
  std::string request_id;        ///< the output's response.request_id
  std::string body;              ///< a serialised JSON value, without raw line breaks
  std::string error_code, error_message;
  /// `reasoning_tokens` are part of `completion_tokens`.
  std::int64_t prompt_tokens = 0, cached_tokens = 0, completion_tokens = 0, reasoning_tokens = 0;
};

struct OpenReport {
  std::string sqlite_version;
  std::int64_t schema_version = 0;
  bool created = false;              ///< the database is new
  bool previous_died = false;        ///< the last process did not close the store
  bool previous_crashed = false;     ///< …and left a crash note
  std::int64_t unclaimed_items = 0;  ///< were claimed by it and are ready again
  std::int64_t poisoned_items = 0;   ///< were given up just now
  std::int64_t suspect_items = 0;    ///< ready, and to be run alone
  std::int64_t removed_files = 0;    ///< leftovers without an owner
};

class Store {
 public:
  /// Opens or creates the store in options.data_dir and returns what a dead process had claimed.
  /// Errors: conflict (another process has it; the message names folder and pid), unsupported
  /// (network file system, database of a newer version), storage_failed (not writable, damaged).
  static Result<std::unique_ptr<Store>> open(const StoreOptions& options);
  /// Returns what is claimed, as ReturnReason::drained, and closes: an orderly end.
  ~Store();
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  [[nodiscard]] const OpenReport& report() const;
  static std::string sqlite_version();

  // ---- files ----
  /// A fresh path on the store's file system; what is left there is removed by the next open().
  std::filesystem::path new_upload_path();
  /// Takes the upload over, durably. The path is gone afterwards, also on failure.
  Result<FileInfo> add_file(const NewFile& file, UnixSeconds now);
  Result<FileInfo> get_file(const std::string& id);
  /// Where the contents of a known file are. They never change; they may be removed.
  Result<std::filesystem::path> file_path(const std::string& id);
  /// Errors: invalid_value with param "after" if no such file exists.
  Result<FilePage> list_files(const FileQuery& query);
  /// Errors: not_found; conflict while a batch that has not ended uses the file.
  Result<void> remove_file(const std::string& id);

  // ---- batches ----
  /// Errors: invalid_value (param "input_file_id") if there is no such file or its purpose is not
  /// "batch". The same idempotency key with equal fields within ten minutes gives the first batch,
  /// unless takes_over_key.
  Result<BatchInfo> create_batch(const NewBatch& batch, UnixSeconds now);
  Result<BatchInfo> get_batch(const std::string& id);
  /// Newest first. Errors: invalid_value with param "after".
  Result<BatchPage> list_batches(std::int64_t limit, const std::string& after);
  /// Ready items end at once; claimed ones may still finish, or be returned, which cancels them. A
  /// batch under validation is cancelled at once. Repeating it is allowed. Errors: not_found;
  /// conflict if it has ended or is finalizing.
  Result<BatchInfo> cancel_batch(const std::string& id, UnixSeconds now);
  /// Batches that have not ended, oldest first: what there is to resume after open().
  Result<std::vector<BatchInfo>> unfinished_batches();

  // ---- validation: begin, add in chunks, finish ----
  /// Forgets items of an earlier, interrupted validation. Errors: conflict unless `validating`.
  Result<void> begin_validation(const std::string& batch_id);
  /// All or none of `items`, line_no ascending. nullopt: added; else what is wrong with the first
  /// item that repeats a custom_id (code "duplicate_custom_id", with its line).
  Result<std::optional<BatchError>> add_items(const std::string& batch_id,
                                              std::span<const NewItem> items);
  /// No errors: `in_progress`; else (or if there is no item) `failed`, and its items are dropped.
  Result<BatchInfo> finish_validation(const std::string& batch_id, const std::string& model,
                                      std::span<const BatchError> errors, UnixSeconds now);

  // ---- items ----
  /// Up to `count` ready items, by deadline, then batch creation, then line (suspects last within
  /// their batch); one alone if it is a suspect; none while a suspect is claimed. Items whose
  /// text is lost end with the error "input_file_lost" instead.
  Result<std::vector<ClaimedItem>> claim(std::int64_t count, UnixSeconds now);
  /// For who chooses the items himself: up to `count` ready ones of the batch that are no suspects,
  /// from line `first_line` on, by line. Reads texts of up to max_bytes, but at least one.
  /// Empty: there are no more, or the batch is not in progress.
  Result<std::vector<ReadyItem>> ready_items(const std::string& batch_id, std::int64_t first_line,
                                             std::int64_t count, std::int64_t max_bytes);
  /// Claims, under the same fence as claim(), those of `items` that are ready in a batch that is in
  /// progress and in time; the others are left out. A suspect only if it is named alone and nothing
  /// is claimed; nothing at all while a suspect is claimed.
  Result<std::vector<ClaimedItem>> claim_items(std::span<const ItemKey> items, UnixSeconds now);
  Result<SuspectTurn> suspect_turn(UnixSeconds now);
  /// True if claim() might return something now.
  Result<bool> has_claimable(UnixSeconds now);
  /// Gives up holds. Returns how many of them were still valid.
  Result<std::int64_t> return_items(std::span<const ItemRef> items, ReturnReason reason,
                                    UnixSeconds now);
  /// Records the results of many items in one transaction. Returns how many were fenced off: their
  /// hold was void, and nothing was recorded for them.
  Result<std::int64_t> finish(std::span<const FinishedItem> items, UnixSeconds now);
  /// Ends all items, claimed ones too, of batches whose deadline has passed (their holds are void).
  /// Returns these batches.
  Result<std::vector<std::string>> expire_batches(UnixSeconds now);
  struct ItemCounts {
    std::int64_t ready = 0, claimed = 0;
  };
  Result<ItemCounts> item_counts();

  // ---- the end of a batch ----
  /// Batches whose items have all ended and whose files are still to be written.
  Result<std::vector<std::string>> finalizable_batches();
  /// Writes up to max_items more lines of the batch's output and error files; true once they are
  /// durable and the batch has its final state. After an error, or in a new process, it starts
  /// from the first line again. One batch at a time. Errors: not_found; conflict if not
  /// finalizable.
  Result<bool> finalize_some(const std::string& batch_id, std::int64_t max_items, UnixSeconds now);

  // ---- housekeeping ----
  /// Removes expired files that no unfinished batch uses, rows of ended batches' items (in bounded
  /// portions), old idempotency keys; shrinks the write-ahead log. True: there is more to remove.
  Result<bool> sweep(UnixSeconds now);
  /// Commits a row and syncs a file. Errors: storage_failed with the reason.
  Result<void> writable();

  struct State;

 private:
  explicit Store(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace tandem::store
