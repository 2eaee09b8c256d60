// Files: contents under data_dir/files/<id>, one row each. The contents become durable before the
// row, and the row goes before the contents: what a crash leaves over is contents without a row,
// which open() removes.
#include <system_error>

#include "store/state.hpp"

namespace tandem::store {
namespace fs = std::filesystem;
namespace {

#define TANDEM_FILE_COLUMNS "id, filename, purpose, bytes, created_at, expires_at"

FileInfo file_of(const Rows& row) {
  return {.id = row.text(0),
          .filename = row.text(1),
          .purpose = row.text(2),
          .bytes = row.integer(3),
          .created_at = row.integer(4),
          .expires_at = row.optional_integer(5)};
}

Error no_such_file(const std::string& id) {
  return error(Errc::not_found, "no file with the id \"" + id + "\"", "file_id");
}

std::optional<FileInfo> read_file(Transaction& transaction, const std::string& id) {
  auto rows = transaction.query("SELECT " TANDEM_FILE_COLUMNS " FROM file WHERE id = ?", id);
  if (!rows.next()) return std::nullopt;
  return file_of(rows);
}

/// Syncs the upload and moves it to its place, durably; its size.
Result<std::int64_t> move_in(const Store::State& state, const fs::path& from, const fs::path& to) {
  auto file = open_for_reading(from);
  if (!file) return file.error();
  auto size = regular_file_size(*file);
  if (!size) return size.error();
  if (auto step = state.step("add_file.sync"); !step) return step.error();
  if (auto synced = state.sync(*file); !synced) return synced.error();
  if (auto step = state.step("add_file.rename"); !step) return step.error();
  if (auto moved = rename_file(from, to); !moved) return moved.error();
  if (auto step = state.step("add_file.sync_folder"); !step) return step.error();
  if (auto synced = state.sync(to.parent_path()); !synced) return synced.error();
  return size;
}

Result<FileInfo> store_file(Store::State& state, const NewFile& file, FileInfo info) {
  const auto contents = state.files() / info.id;
  auto size = move_in(state, file.uploaded, contents);
  if (!size) {
    std::error_code ignored;
    fs::remove(file.uploaded, ignored);
    fs::remove(contents, ignored);
    return size.error();
  }
  info.bytes = *size;
  Transaction change(state.database, Kind::write);
  insert_file(change, info);
  if (auto step = state.step("add_file.commit"); !step) change.fail(step.error());
  if (auto done = change.commit(); !done) {
    state.doomed.push_back(contents);
    return done.error();
  }
  return info;
}

}  // namespace

void insert_file(Transaction& change, const FileInfo& file) {
  change.run("INSERT INTO file(" TANDEM_FILE_COLUMNS ") VALUES(?, ?, ?, ?, ?, ?)", file.id,
             file.filename, file.purpose, file.bytes, file.created_at, file.expires_at);
}

fs::path Store::new_upload_path() { return state_->incoming() / random_id("upload-"); }

Result<FileInfo> Store::add_file(const NewFile& file, UnixSeconds now) {
  if (file.uploaded.lexically_normal().parent_path() != state_->incoming())
    return error(Errc::invalid_value, "an upload must lie in the store's incoming folder");
  FileInfo info{.id = random_id("file-"),
                .filename = file.filename,
                .purpose = file.purpose,
                .bytes = 0,
                .created_at = now,
                .expires_at = std::nullopt};
  if (file.expires_after_seconds) info.expires_at = now + *file.expires_after_seconds;
  return store_file(*state_, file, info);
}

Result<FileInfo> Store::get_file(const std::string& id) {
  Transaction read(state_->database, Kind::read);
  auto file = read_file(read, id);
  if (auto done = read.commit(); !done) return done.error();
  if (!file) return no_such_file(id);
  return *file;
}

Result<fs::path> Store::file_path(const std::string& id) {
  auto file = get_file(id);
  if (!file) return file.error();
  return state_->files() / file->id;
}

Result<FilePage> Store::list_files(const FileQuery& query) {
  constexpr const char* newest_first =
      "SELECT " TANDEM_FILE_COLUMNS
      " FROM file WHERE (?1 = '' OR purpose = ?1) AND (?2 = 0 OR number < ?2)"
      " ORDER BY number DESC LIMIT ?3";
  constexpr const char* oldest_first =
      "SELECT " TANDEM_FILE_COLUMNS
      " FROM file WHERE (?1 = '' OR purpose = ?1) AND number > ?2 ORDER BY number LIMIT ?3";
  Transaction read(state_->database, Kind::read);
  const auto after = read.integer("SELECT number FROM file WHERE id = ?", query.after);
  FilePage page;
  {
    // One more than asked for tells whether there are more.
    auto rows = read.query(query.ascending ? oldest_first : newest_first, query.purpose, after,
                           query.limit + 1);
    while (rows.next()) page.files.push_back(file_of(rows));
  }
  if (auto done = read.commit(); !done) return done.error();
  if (!query.after.empty() && after == 0)
    return error(Errc::invalid_value, "no file with the id \"" + query.after + "\"", "after");
  page.has_more = static_cast<std::int64_t>(page.files.size()) > query.limit;
  if (page.has_more) page.files.pop_back();
  return page;
}

Result<void> Store::remove_file(const std::string& id) {
  Transaction change(state_->database, Kind::write);
  const auto batch = change.integer(
      "SELECT number FROM batch WHERE input_file_id = ? AND " TANDEM_BATCH_UNFINISHED " LIMIT 1",
      id);
  if (batch != 0)
    return error(Errc::conflict,
                 "the file \"" + id + "\" is the input of a batch that has not ended", "file_id");
  const bool removed = change.run("DELETE FROM file WHERE id = ?", id) == 1;
  if (auto done = change.commit(); !done) return done.error();
  if (!removed) return no_such_file(id);
  std::error_code ignored;  // contents without a row are removed by the next open()
  fs::remove(state_->files() / id, ignored);
  return {};
}

}  // namespace tandem::store
