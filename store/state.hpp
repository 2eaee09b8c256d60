// What the parts of Store share: its state, the numbers stored in rows, and helpers that act inside
// a transaction. Private to store/.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "store/file_io.hpp"
#include "store/sqlite.hpp"
#include "store/store.hpp"

namespace tandem::store {

using Kind = Transaction::Kind;

/// item.state. Stored: never renumber. `cancelled` and `expired` items have no result row.
enum class ItemState : std::int64_t {
  ready = 0,
  claimed = 1,
  done = 2,
  cancelled = 3,
  expired = 4
};
constexpr std::int64_t number(ItemState state) { return static_cast<std::int64_t>(state); }
constexpr std::int64_t number(BatchState state) { return static_cast<std::int64_t>(state); }

/// Conditions on batch.state, as the partial indexes have them: validating, in_progress,
/// finalizing, cancelling; and all others.
#define TANDEM_BATCH_UNFINISHED "state IN (0, 2, 3, 6)"
#define TANDEM_BATCH_ENDED "state NOT IN (0, 2, 3, 6)"
static_assert(number(BatchState::validating) == 0 && number(BatchState::in_progress) == 2 &&
              number(BatchState::finalizing) == 3 && number(BatchState::cancelling) == 6);

/// The output and error file of one batch, while they are written.
struct Finalizer {
  struct Output {
    std::filesystem::path path;
    FileDescriptor file;
    std::string id;
    std::int64_t bytes = 0;
  };
  std::string batch_id;
  Output output, errors;
  std::int64_t last_line = -1;

  Finalizer() = default;
  Finalizer(const Finalizer&) = delete;
  Finalizer& operator=(const Finalizer&) = delete;
  ~Finalizer();  ///< removes what was not moved away
};

struct Store::State {
  State(StoreOptions options_, Database database_, FileDescriptor lock_)
      : options(std::move(options_)), lock(std::move(lock_)), database(std::move(database_)) {}

  StoreOptions options;
  FileDescriptor lock;  ///< outlives the database
  Database database;
  OpenReport report;
  std::optional<Finalizer> finalizer;
  /// Contents whose row could not be committed. They are removed only after a later commit went
  /// well: a failed one may still be in the log, and a crash would then bring the row to life.
  std::vector<std::filesystem::path> doomed;
  bool suspects_possible = true;   ///< false: suspect_turn() found none, and none was made since
  bool progress_recorded = false;  ///< the process row says that this process finished an item

  /// Waits until the disk has it, if the store is durable.
  [[nodiscard]] Result<void> sync(const FileDescriptor& file) const {
    return options.durable ? sync_file(file) : Result<void>();
  }
  [[nodiscard]] Result<void> sync(const std::filesystem::path& folder) const {
    return options.durable ? sync_folder(folder) : Result<void>();
  }

  [[nodiscard]] std::filesystem::path files() const { return options.data_dir / "files"; }
  [[nodiscard]] std::filesystem::path incoming() const { return options.data_dir / "incoming"; }
  [[nodiscard]] std::filesystem::path crash_note() const { return options.data_dir / "crash_note"; }
  /// The fault hook's say on `step`, as a Result.
  [[nodiscard]] Result<void> step(std::string_view name) const;
};

// ---- schema.cpp ----
inline constexpr std::int64_t schema_version = 3;
/// Creates the tables, or brings those of an earlier version up to date in one transaction, or
/// refuses a newer database. True if it created them.
Result<bool> prepare_schema(Database& database);

// ---- files.cpp ----
void insert_file(Transaction& change, const FileInfo& file);

// ---- batches.cpp ----
/// How long an idempotency key is remembered.
inline constexpr std::int64_t idempotency_seconds = 600;
/// A batch's row number, or 0.
std::int64_t batch_number(Transaction& transaction, const std::string& id);
std::optional<BatchInfo> read_batch(Transaction& transaction, const std::string& id);
Error no_such_batch(const std::string& id);
/// Moves the batch to `finalizing` if its last item has just ended.
void settle_batch(Transaction& change, std::int64_t batch, UnixSeconds now);
void drop_items(Transaction& change, std::int64_t batch);

// ---- releases.cpp ----
/// What a returned hold adds to the item's counts; see PoisonRule.
struct Release {
  std::int64_t crashes = 0, kills = 0, attempts = 0;
  bool forget_kills = false;
};
enum class Released : std::uint8_t { ready, suspect, cancelled, poisoned };
/// Takes the hold off a claimed item: it becomes ready, suspect, or (if suspected long enough) ends
/// as poison; in a batch that is being cancelled it ends as cancelled.
Released release_item(Transaction& change, const PoisonRule& rule, std::int64_t batch,
                      std::int64_t line_no, const Release& release, UnixSeconds now);
/// Releases every claimed item and counts into `report`.
void release_all(Transaction& change, const PoisonRule& rule, const Release& release,
                 UnixSeconds now, OpenReport& report);
/// Ends a claimed item with an error in place of a response.
void fail_item(Transaction& change, std::int64_t batch, std::int64_t line_no, std::string_view code,
               std::string_view message, UnixSeconds now);

}  // namespace tandem::store
