// Opening and closing the store: who owns the folder, what the last owner left behind, and what its
// death says about the items that it had claimed.
#include "store/store.hpp"

#include <ctime>
#include <set>
#include <system_error>
#include <unistd.h>

#include "store/crash_note.hpp"
#include "store/state.hpp"

namespace tandem::store {
namespace fs = std::filesystem;
namespace {

Result<void> make_folders(const fs::path& data_dir, bool durable) {
  if (auto made = make_folder(data_dir); !made) return made.error();
  if (auto local = check_local_file_system(data_dir); !local) return local.error();
  for (const auto* name : {"files", "incoming"})
    if (auto made = make_folder(data_dir / name); !made) return made.error();
  return durable ? sync_folder(data_dir) : Result<void>();
}

/// Removes the contents of `folder` whose names are not in `known`; how many.
Result<std::int64_t> remove_unknown(const fs::path& folder, const std::set<std::string>& known) {
  std::error_code failure;
  std::int64_t removed = 0;
  std::vector<fs::path> unknown;
  for (const auto& entry : fs::directory_iterator(folder, failure))
    if (!known.contains(entry.path().filename().string())) unknown.push_back(entry.path());
  for (const auto& path : unknown)
    if (!failure && fs::remove(path, failure)) ++removed;
  if (failure)
    return error(Errc::storage_failed,
                 "cannot clean up " + folder.string() + ": " + failure.message(), "data_dir");
  return removed;
}

/// A crash between moving a file and committing its row, or the other way round when removing one,
/// leaves contents that no row names.
Result<void> remove_leftovers(Store::State& state) {
  std::set<std::string> known;
  Transaction read(state.database, Kind::read);
  {
    auto rows = read.query("SELECT id FROM file");
    while (rows.next()) known.insert(rows.text(0));
  }
  if (auto done = read.commit(); !done) return done.error();
  for (const auto& [folder, keep] :
       {std::pair(state.files(), known), std::pair(state.incoming(), std::set<std::string>())}) {
    auto removed = remove_unknown(folder, keep);
    if (!removed) return removed.error();
    state.report.removed_files += *removed;
  }
  return {};
}

/// What the end of the last process means for the items it had claimed; see PoisonRule.
Release judge(bool died, bool crashed, bool made_progress) {
  Release release;
  release.crashes = died && crashed ? 1 : 0;
  release.kills = died && !crashed ? 1 : 0;
  release.forget_kills = made_progress;
  return release;
}

Result<void> take_over(Store::State& state) {
  auto& report = state.report;
  const bool note = take_crash_note(state.crash_note());
  Transaction change(state.database, Kind::write);
  bool made_progress = false;
  {
    auto rows = change.query("SELECT closed, finished FROM process");
    if (rows.next()) {
      report.previous_died = rows.integer(0) == 0;
      made_progress = rows.integer(1) != 0;
    }
  }
  report.previous_crashed = report.previous_died && note;
  release_all(change, state.options.poison,
              judge(report.previous_died, report.previous_crashed, made_progress),
              std::time(nullptr), report);
  change.run("INSERT OR REPLACE INTO process(only, pid, closed, finished) VALUES(1, ?, 0, 0)",
             std::int64_t{::getpid()});
  return change.commit();
}

}  // namespace

Result<void> Store::State::step(std::string_view name) const {
  if (options.fault_hook && options.fault_hook(name))
    return error(Errc::storage_failed, "injected failure at " + std::string(name));
  return {};
}

Result<std::unique_ptr<Store>> Store::open(const StoreOptions& wanted) {
  StoreOptions options = wanted;
  if (options.data_dir.empty())
    return error(Errc::invalid_value, "the store's folder is not set", "data_dir");
  options.data_dir = fs::absolute(options.data_dir).lexically_normal();
  if (!options.data_dir.has_filename()) options.data_dir = options.data_dir.parent_path();
  if (auto made = make_folders(options.data_dir, options.durable); !made) return made.error();
  auto lock = lock_folder(options.data_dir);
  if (!lock) return lock.error();

  auto database =
      Database::open(options.data_dir / "tandem.sqlite", options.sqlite_vfs, options.durable);
  if (!database) return database.error();
  if (auto checked = database->quick_check(); !checked) return checked.error();
  auto created = prepare_schema(*database);
  if (!created) return created.error();

  auto state = std::make_unique<State>(std::move(options), std::move(*database), std::move(*lock));
  state->report.sqlite_version = sqlite_version();
  state->report.schema_version = schema_version;
  state->report.created = *created;
  if (auto cleaned = remove_leftovers(*state); !cleaned) return cleaned.error();
  if (auto taken = take_over(*state); !taken) return taken.error();
  if (state->options.note_crashes)
    if (auto noting = leave_note_on_crash(state->crash_note()); !noting) return noting.error();
  return std::unique_ptr<Store>(new Store(std::move(state)));
}

Store::Store(std::unique_ptr<State> state) : state_(std::move(state)) {}

Store::~Store() {
  state_->finalizer.reset();
  if (state_->options.note_crashes) leave_no_note();
  // Should this fail, the next open() takes it for a kill: less kind to the items, never wrong.
  Transaction change(state_->database, Kind::write);
  OpenReport ignored;
  release_all(change, state_->options.poison, Release{}, std::time(nullptr), ignored);
  change.run("UPDATE process SET closed = 1");
  (void)change.commit();
}

const OpenReport& Store::report() const { return state_->report; }

std::string Store::sqlite_version() { return sqlite3_libversion(); }

Result<void> Store::writable() {
  Transaction change(state_->database, Kind::write);
  change.run("UPDATE process SET probe = probe + 1");
  if (auto done = change.commit(); !done) return done.error();
  const auto path = new_upload_path();
  auto file = create_file(path);
  if (!file) return file.error();
  auto written = write_all(*file, std::string(4096, '.'));
  if (written) written = sync_file(*file);
  std::error_code ignored;
  fs::remove(path, ignored);
  return written;
}

}  // namespace tandem::store
