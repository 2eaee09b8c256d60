#include "store/file_io.hpp"

#include <array>
#include <cerrno>
#include <charconv>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <system_error>
#include <unistd.h>

#include "core/check.hpp"

namespace tandem::store {

FileDescriptor::~FileDescriptor() {
  if (fd_ >= 0) ::close(fd_);
}

Error io_error(const std::string& what) {
  return error(Errc::storage_failed, what + ": " + std::generic_category().message(errno));
}

Result<FileDescriptor> open_for_reading(const std::filesystem::path& path) {
  FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!file.is_open() && errno == ENOENT)
    return error(Errc::not_found, "a file of the store is not there");
  if (!file.is_open()) return io_error("cannot open a file of the store");
  return file;
}

Result<FileDescriptor> create_file(const std::filesystem::path& path) {
  FileDescriptor file(
      ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file.is_open()) return io_error("cannot create a file of the store");
  return file;
}

Result<std::int64_t> regular_file_size(const FileDescriptor& file) {
  struct stat info {};
  if (::fstat(file.get(), &info) != 0) return io_error("cannot inspect a file of the store");
  if (!S_ISREG(info.st_mode)) return error(Errc::storage_failed, "not a regular file");
  return static_cast<std::int64_t>(info.st_size);
}

Result<void> write_all(const FileDescriptor& file, std::string_view bytes) {
  while (!bytes.empty()) {
    const auto written = ::write(file.get(), bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return io_error("cannot write a file of the store");
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
  return {};
}

Result<std::string> read_range(const FileDescriptor& file, std::int64_t offset,
                               std::int64_t length) {
  std::string bytes(static_cast<std::size_t>(length), '\0');
  std::size_t done = 0;
  while (done < bytes.size()) {
    const auto got = ::pread(file.get(), bytes.data() + done, bytes.size() - done,
                             offset + static_cast<std::int64_t>(done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return io_error("cannot read a file of the store");
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
  }
  bytes.resize(done);
  return bytes;
}

Result<void> sync_file(const FileDescriptor& file) {
  if (::fsync(file.get()) != 0) return io_error("cannot sync a file of the store");
  return {};
}

Result<void> sync_folder(const std::filesystem::path& folder) {
  FileDescriptor opened(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!opened.is_open() || ::fsync(opened.get()) != 0)
    return io_error("cannot sync a folder of the store");
  return {};
}

Result<void> rename_file(const std::filesystem::path& from, const std::filesystem::path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) return io_error("cannot move a file of the store");
  return {};
}

Result<void> make_folder(const std::filesystem::path& folder) {
  std::error_code failure;
  if (folder.has_parent_path()) std::filesystem::create_directories(folder.parent_path(), failure);
  if (!failure && ::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST)
    failure = std::error_code(errno, std::generic_category());
  if (!failure && !std::filesystem::is_directory(folder, failure) && !failure)
    failure = std::make_error_code(std::errc::not_a_directory);
  if (failure)
    return error(Errc::storage_failed,
                 "cannot make the store's folder " + folder.string() + ": " + failure.message(),
                 "data_dir");
  return {};
}

std::string_view refused_file_system(std::uint64_t magic) {
  switch (magic) {
    case 0x6969: return "NFS";
    case 0x517B: return "SMB";
    case 0xFE534D42: return "SMB2";
    case 0xFF534D42: return "CIFS";
    case 0x65735546: return "FUSE";
    case 0x01021997: return "9P";
    case 0x00C36400: return "Ceph";
    case 0x0BD00BD0: return "Lustre";
    case 0x5346414F: return "AFS";
    case 0x73757245: return "Coda";
    default: return "";
  }
}

Result<void> check_local_file_system(const std::filesystem::path& folder) {
  struct statfs info {};
  if (::statfs(folder.c_str(), &info) != 0)
    return io_error("cannot inspect the file system of " + folder.string());
  // f_type is signed; the magics are 32-bit patterns.
  const auto name = refused_file_system(static_cast<std::uint32_t>(info.f_type));
  if (name.empty()) return {};
  return error(Errc::unsupported,
               "the store's folder " + folder.string() + " is on a " + std::string(name) +
                   " file system, whose locks cannot be relied upon; use a local disk",
               "data_dir");
}

Result<FileDescriptor> lock_folder(const std::filesystem::path& folder) {
  const auto path = folder / "lock";
  FileDescriptor file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file.is_open()) return io_error("cannot open the store's lock file " + path.string());
  if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return io_error("cannot lock " + path.string());
    auto owner = read_range(file, 0, 20);
    std::int64_t pid = 0;
    if (owner) std::from_chars(owner->data(), owner->data() + owner->size(), pid);
    return error(Errc::conflict,
                 "the store in " + folder.string() + " is in use by " +
                     (pid > 0 ? "process " + std::to_string(pid) : "another process"),
                 "data_dir");
  }
  const auto pid = std::to_string(::getpid()) + "\n";
  if (::ftruncate(file.get(), 0) != 0 || ::pwrite(file.get(), pid.data(), pid.size(), 0) < 0)
    return io_error("cannot write " + path.string());
  return file;
}

std::string random_id(std::string_view prefix) {
  std::array<unsigned char, 16> bits{};
  const auto got = ::getrandom(bits.data(), bits.size(), 0);
  TANDEM_CHECK(got == static_cast<ssize_t>(bits.size()), "the kernel gives no random numbers");
  std::string id(prefix);
  for (const auto byte : bits) {
    id += "0123456789abcdef"[byte >> 4U];
    id += "0123456789abcdef"[byte & 15U];
  }
  return id;
}

void append_json_string(std::string& out, std::string_view text) {
  out += '"';
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += "\\u00";
      out += "01"[static_cast<unsigned char>(c) >> 4U];
      out += "0123456789abcdef"[static_cast<unsigned char>(c) & 15U];
    } else {
      out += c;
    }
  }
  out += '"';
}

}  // namespace tandem::store
