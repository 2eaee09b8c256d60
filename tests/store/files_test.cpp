// Files: taken over durably, listed in order, removed when nothing needs them.
#include "tests/store/support.hpp"

namespace tandem::store::testing {

namespace {
std::vector<std::string> ids_of(const FilePage& page) {
  std::vector<std::string> ids;
  for (const auto& file : page.files) ids.push_back(file.id);
  return ids;
}
std::size_t entries(const std::filesystem::path& folder) {
  return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(folder), {}));
}
using Ids = std::vector<std::string>;
}  // namespace

TEST_CASE("an uploaded file is kept, with its contents, across a restart") {
  TemporaryFolder folder;
  FileInfo info;
  {
    auto store = open_store(folder);
    const auto path = store->new_upload_path();
    write_file(path, "hello\n");
    info = value(store->add_file({.uploaded = path,
                                  .filename = "../../etc/passwd",
                                  .purpose = "batch",
                                  .expires_after_seconds = 3600},
                                 50));
    CHECK(!std::filesystem::exists(path));
  }
  auto store = open_store(folder);
  const auto again = value(store->get_file(info.id));
  CHECK(again.filename == "../../etc/passwd");
  CHECK(again.purpose == "batch");
  CHECK(again.bytes == 6);
  CHECK(again.created_at == 50);
  CHECK(again.expires_at == 3650);
  CHECK(read_file(value(store->file_path(info.id))) == "hello\n");
  CHECK(store->report().removed_files == 0);
}

TEST_CASE("uploads are accepted from the incoming folder only, and must be regular files") {
  TemporaryFolder folder;
  auto store = open_store(folder);
  const auto add = [&](const std::filesystem::path& path) {
    return store->add_file(
        {.uploaded = path, .filename = "f", .purpose = "batch", .expires_after_seconds = {}}, 1);
  };
  write_file(folder.path() / "elsewhere", "x");
  CHECK(failure(add(folder.path() / "elsewhere")).code == Errc::invalid_value);
  CHECK(std::filesystem::exists(folder.path() / "elsewhere"));
  const auto incoming = store->new_upload_path().parent_path();
  CHECK(failure(add(incoming / ".." / "lock")).code == Errc::invalid_value);
  std::filesystem::create_symlink(folder.path() / "elsewhere", incoming / "link");
  CHECK(!add(incoming / "link").has_value());
  CHECK(std::filesystem::exists(folder.path() / "elsewhere"));
  std::filesystem::create_directory(incoming / "folder");
  CHECK(!add(incoming / "folder").has_value());
  CHECK(!add(incoming / "absent").has_value());
  CHECK(value(store->list_files({})).files.empty());
}

TEST_CASE("files are listed by purpose, in both orders, page by page") {
  TemporaryFolder folder;
  auto store = open_store(folder);
  Ids ids;
  for (int i = 0; i < 5; ++i)
    ids.push_back(upload(*store, "x", 100, i == 3 ? "user_data" : "batch").id);

  CHECK(ids_of(value(store->list_files({}))) == Ids{ids[4], ids[3], ids[2], ids[1], ids[0]});
  CHECK(ids_of(value(store->list_files({.purpose = "batch", .ascending = true}))) ==
        Ids{ids[0], ids[1], ids[2], ids[4]});
  auto page = value(store->list_files({.limit = 2}));
  CHECK(ids_of(page) == Ids{ids[4], ids[3]});
  CHECK(page.has_more);
  page = value(store->list_files({.limit = 2, .after = ids[3]}));
  CHECK(ids_of(page) == Ids{ids[2], ids[1]});
  CHECK(page.has_more);
  page = value(store->list_files({.limit = 2, .after = ids[1]}));
  CHECK(ids_of(page) == Ids{ids[0]});
  CHECK(!page.has_more);
  page = value(store->list_files({.limit = 3, .ascending = true, .after = ids[1]}));
  CHECK(ids_of(page) == Ids{ids[2], ids[3], ids[4]});
  CHECK(!page.has_more);
  const auto error = failure(store->list_files({.after = "file-unknown"}));
  CHECK(error.code == Errc::invalid_value);
  CHECK(error.param == "after");
}

TEST_CASE("a file is removed, unless a batch that has not ended uses it") {
  TemporaryFolder folder;
  auto store = open_store(folder);
  const auto input = make_input(1);
  const auto file = upload(*store, input.contents);
  const auto batch = value(store->create_batch(batch_of_file(file.id), 1));
  CHECK(failure(store->remove_file(file.id)).code == Errc::conflict);
  CHECK(value(store->get_file(file.id)).id == file.id);
  value(store->cancel_batch(batch.id, 2));
  const auto path = value(store->file_path(file.id));
  succeed(store->remove_file(file.id));
  CHECK(!std::filesystem::exists(path));
  CHECK(failure(store->remove_file(file.id)).code == Errc::not_found);
  CHECK(failure(store->get_file(file.id)).code == Errc::not_found);
  CHECK(failure(store->file_path("../lock")).code == Errc::not_found);
}

TEST_CASE("a sweep removes expired files that no unfinished batch uses") {
  TemporaryFolder folder;
  auto store = open_store(folder);
  const auto add = [&](std::int64_t seconds) {
    const auto path = store->new_upload_path();
    write_file(path, "body 0\n");
    return value(store->add_file(
        {.uploaded = path, .filename = "f", .purpose = "batch", .expires_after_seconds = seconds},
        1000));
  };
  const auto early = add(10);
  const auto late = add(20);
  const auto used = add(10);
  const auto batch = value(store->create_batch(batch_of_file(used.id), 1000));
  const auto path = value(store->file_path(early.id));
  CHECK(!value(store->sweep(1009)));
  CHECK(store->get_file(early.id).has_value());
  value(store->sweep(1010));
  CHECK(!store->get_file(early.id).has_value());
  CHECK(!std::filesystem::exists(path));
  CHECK(store->get_file(late.id).has_value());
  CHECK(store->get_file(used.id).has_value());
  value(store->cancel_batch(batch.id, 1011));
  while (value(store->sweep(1012))) {
  }
  CHECK(!store->get_file(used.id).has_value());
}

TEST_CASE("open removes abandoned uploads and contents without a row") {
  TemporaryFolder folder;
  const auto data = folder.path() / "store";
  open_store(folder).reset();
  write_file(data / "incoming" / "upload-1", "half");
  write_file(data / "files" / "file-00000000000000000000000000000000", "orphan");
  auto store = open_store(folder);
  CHECK(store->report().removed_files == 2);
  CHECK(entries(data / "incoming") == 0);
  CHECK(entries(data / "files") == 0);
}

TEST_CASE("a failure at any step of taking a file over leaves no trace, and the next one works") {
  for (const std::string failing :
       {"add_file.sync", "add_file.rename", "add_file.sync_folder", "add_file.commit"}) {
    CAPTURE(failing);
    TemporaryFolder folder;
    bool broken = true;
    auto options = options_for(folder);
    options.fault_hook = [&](std::string_view step) { return broken && step == failing; };
    auto store = value(Store::open(options));
    const auto path = store->new_upload_path();
    write_file(path, "x");
    const NewFile file{
        .uploaded = path, .filename = "f", .purpose = "batch", .expires_after_seconds = {}};
    CHECK(failure(store->add_file(file, 1)).code == Errc::storage_failed);
    CHECK(!std::filesystem::exists(path));
    CHECK(value(store->list_files({})).files.empty());
    broken = false;
    value(store->sweep(2));
    CHECK(entries(options.data_dir / "files") == 0);
    CHECK(upload(*store, "y").bytes == 1);
  }
}

}  // namespace tandem::store::testing
