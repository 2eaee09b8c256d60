// The few POSIX calls that durable files need, as Results. A file is durable once it was synced and
// then the folder that names it was: neither alone is enough.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>

#include "core/result.hpp"

namespace tandem::store {

class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~FileDescriptor();
  [[nodiscard]] int get() const { return fd_; }
  [[nodiscard]] bool is_open() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

/// An Error from errno: "<what>: <reason>", Errc::storage_failed.
Error io_error(const std::string& what);

/// Opens for reading, or (create) makes a new file with mode 0600 for writing. Never follows a
/// symbolic link in the last component. Errors: not_found if there is nothing to read.
Result<FileDescriptor> open_for_reading(const std::filesystem::path& path);
Result<FileDescriptor> create_file(const std::filesystem::path& path);

/// Size of a regular file; anything else is an error.
Result<std::int64_t> regular_file_size(const FileDescriptor& file);
Result<void> write_all(const FileDescriptor& file, std::string_view bytes);
/// Bytes [offset, offset + length); fewer if the file ends before.
Result<std::string> read_range(const FileDescriptor& file, std::int64_t offset,
                               std::int64_t length);
Result<void> sync_file(const FileDescriptor& file);
Result<void> sync_folder(const std::filesystem::path& folder);
Result<void> rename_file(const std::filesystem::path& from, const std::filesystem::path& to);

/// Makes `folder` with mode 0700, and its parents, if they are not there.
Result<void> make_folder(const std::filesystem::path& folder);
/// Errors: unsupported if `folder` is on a file system whose locks or syncs cannot be trusted.
Result<void> check_local_file_system(const std::filesystem::path& folder);
/// The name of a file system that is refused, by its statfs magic; "" if it is accepted.
std::string_view refused_file_system(std::uint64_t magic);

/// Takes the folder's lock file, for as long as the descriptor is open, and writes our pid into it.
/// Errors: conflict, with the pid of the process that has it.
Result<FileDescriptor> lock_folder(const std::filesystem::path& folder);

/// `prefix` and 32 hexadecimal digits: 128 bits from the kernel.
std::string random_id(std::string_view prefix);

/// Appends `text` to `out` as a JSON string, quotes included. `text` is UTF-8.
void append_json_string(std::string& out, std::string_view text);

}  // namespace tandem::store
