// What the store's tests share: Results that must hold, and the short road to a running batch.
#pragma once

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <stdlib.h>
#include <string>
#include <vector>

#include "store/store.hpp"
#include "tests/support/temporary_folder.hpp"

namespace tandem::store::testing {

using tests::TemporaryFolder;

/// The value of a Result that must have one.
template <class T>
T value(Result<T> result) {
  if (!result) FAIL("unexpected error: " << result.error().message);
  return std::move(*result);
}
inline void succeed(const Result<void>& result) {
  if (!result) FAIL("unexpected error: " << result.error().message);
}
/// The error of a Result that must have one.
template <class T>
Error failure(const Result<T>& result) {
  REQUIRE(!result.has_value());
  return result.error();
}

inline StoreOptions options_for(const TemporaryFolder& folder) {
  StoreOptions options;
  options.data_dir = folder.path() / "store";
  return options;
}

inline std::unique_ptr<Store> open_store(const TemporaryFolder& folder) {
  return value(Store::open(options_for(folder)));
}

inline void write_file(const std::filesystem::path& path, const std::string& contents) {
  std::ofstream(path, std::ios::binary) << contents;
}

inline std::string read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline std::vector<std::string> lines_of(Store& store, const std::string& file_id) {
  std::vector<std::string> lines;
  std::ifstream in(value(store.file_path(file_id)));
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

inline FileInfo upload(Store& store, const std::string& contents, UnixSeconds now = 1000,
                       const std::string& purpose = "batch") {
  const auto path = store.new_upload_path();
  write_file(path, contents);
  return value(store.add_file({.uploaded = path,
                               .filename = "in.jsonl",
                               .purpose = purpose,
                               .expires_after_seconds = std::nullopt},
                              now));
}

/// An input of `count` lines "body <i>", and the items that its lines are.
struct Input {
  std::string contents;
  std::vector<NewItem> items;
};
inline Input make_input(std::int64_t count) {
  Input input;
  for (std::int64_t i = 0; i < count; ++i) {
    const auto body = "body " + std::to_string(i);
    input.items.push_back({.line_no = i + 1,
                           .custom_id = "c" + std::to_string(i),
                           .offset = static_cast<std::int64_t>(input.contents.size()),
                           .length = static_cast<std::int64_t>(body.size())});
    input.contents += body + "\n";
  }
  return input;
}

inline NewBatch batch_of_file(const std::string& file_id, std::int64_t window = 86400) {
  return {.input_file_id = file_id,
          .endpoint = "/v1/completions",
          .completion_window = "24h",
          .window_seconds = window,
          .metadata = {},
          .idempotency_key = {}};
}

/// A validated batch of `count` items; its id.
inline std::string running_batch(Store& store, std::int64_t count, UnixSeconds now = 1000,
                                 std::int64_t window = 86400) {
  const auto input = make_input(count);
  const auto file = upload(store, input.contents, now);
  const auto batch = value(store.create_batch(batch_of_file(file.id, window), now));
  succeed(store.begin_validation(batch.id));
  REQUIRE(!value(store.add_items(batch.id, input.items)));
  value(store.finish_validation(batch.id, "demo", {}, now));
  return batch.id;
}

inline FinishedItem finished(const ItemRef& ref, std::int64_t status = 200) {
  return {.ref = ref,
          .status_code = status,
          .request_id = "req-" + std::to_string(ref.line_no),
          .body = "{\"answer\":" + std::to_string(ref.line_no) + "}",
          .error_code = {},
          .error_message = {},
          .prompt_tokens = 3,
          .cached_tokens = 1,
          .completion_tokens = 2,
          .reasoning_tokens = 1};
}

inline std::vector<FinishedItem> finished(const std::vector<ClaimedItem>& items) {
  std::vector<FinishedItem> out;
  for (const auto& item : items) out.push_back(finished(item.ref));
  return out;
}

inline void finalize(Store& store, const std::string& batch_id, UnixSeconds now = 2000) {
  while (!value(store.finalize_some(batch_id, 7, now))) {
  }
}

}  // namespace tandem::store::testing
