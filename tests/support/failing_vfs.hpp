// A disk that fails: an SQLite VFS over the default one, whose N-th write, sync or truncation (and
// every later one, while `keeps_failing`) reports an error and does nothing.
#pragma once

#include <sqlite3.h>

namespace tandem::tests {

struct FailingDisk {
  /// Operations until the first failure; negative: never.
  long countdown = -1;
  bool keeps_failing = false;
  int code = SQLITE_FULL;
  long operations = 0;  ///< seen since it was last set to 0
  long failures = 0;
  long syncs = 0;  ///< of the operations

  void heal() { countdown = -1; }
  /// The error that this operation meets, or SQLITE_OK.
  int next();
};

inline constexpr const char* failing_vfs_name = "tandem-failing";

namespace failing_vfs {

inline FailingDisk disk;
inline sqlite3_vfs* real_vfs = nullptr;

/// Lies before the real file in the memory that SQLite gives us.
struct WrappedFile {
  sqlite3_file base;
  sqlite3_file* real;
};

inline sqlite3_file* real_of(sqlite3_file* file) {
  return reinterpret_cast<WrappedFile*>(file)->real;
}

inline int close_file(sqlite3_file* file) { return real_of(file)->pMethods->xClose(real_of(file)); }
inline int read_file(sqlite3_file* file, void* bytes, int count, sqlite3_int64 offset) {
  return real_of(file)->pMethods->xRead(real_of(file), bytes, count, offset);
}
inline int write_file(sqlite3_file* file, const void* bytes, int count, sqlite3_int64 offset) {
  if (const int code = disk.next(); code != SQLITE_OK) return code;
  return real_of(file)->pMethods->xWrite(real_of(file), bytes, count, offset);
}
inline int truncate_file(sqlite3_file* file, sqlite3_int64 size) {
  if (const int code = disk.next(); code != SQLITE_OK) return code;
  return real_of(file)->pMethods->xTruncate(real_of(file), size);
}
/// Not passed on: what a test's process wrote, that process reads, and syncing is what takes long.
inline int sync_file(sqlite3_file*, int) {
  ++disk.syncs;
  const int code = disk.next();
  return code == SQLITE_FULL ? SQLITE_IOERR_FSYNC : code;
}
inline int file_size(sqlite3_file* file, sqlite3_int64* size) {
  return real_of(file)->pMethods->xFileSize(real_of(file), size);
}
inline int lock(sqlite3_file* file, int level) {
  return real_of(file)->pMethods->xLock(real_of(file), level);
}
inline int unlock(sqlite3_file* file, int level) {
  return real_of(file)->pMethods->xUnlock(real_of(file), level);
}
inline int check_reserved(sqlite3_file* file, int* result) {
  return real_of(file)->pMethods->xCheckReservedLock(real_of(file), result);
}
inline int file_control(sqlite3_file* file, int operation, void* argument) {
  return real_of(file)->pMethods->xFileControl(real_of(file), operation, argument);
}
inline int sector_size(sqlite3_file* file) {
  return real_of(file)->pMethods->xSectorSize(real_of(file));
}
inline int characteristics(sqlite3_file* file) {
  return real_of(file)->pMethods->xDeviceCharacteristics(real_of(file));
}

/// Version 1: no shared memory, which the store's exclusive locking mode does not use.
inline const sqlite3_io_methods methods = {
    1,       close_file, read_file,      write_file,   truncate_file, sync_file,       file_size,
    lock,    unlock,     check_reserved, file_control, sector_size,   characteristics, nullptr,
    nullptr, nullptr,    nullptr,        nullptr,      nullptr};

inline int open_file(sqlite3_vfs*, const char* name, sqlite3_file* file, int flags,
                     int* out_flags) {
  auto* wrapped = reinterpret_cast<WrappedFile*>(file);
  wrapped->real = reinterpret_cast<sqlite3_file*>(wrapped + 1);
  const int code = real_vfs->xOpen(real_vfs, name, wrapped->real, flags, out_flags);
  wrapped->base.pMethods = wrapped->real->pMethods != nullptr ? &methods : nullptr;
  return code;
}

}  // namespace failing_vfs

inline int FailingDisk::next() {
  ++operations;
  if (countdown < 0) return SQLITE_OK;
  if (countdown > 0) {
    --countdown;
    return SQLITE_OK;
  }
  if (!keeps_failing) countdown = -1;
  ++failures;
  return code;
}

/// The one failing disk of this process; registers its VFS on the first call.
inline FailingDisk& failing_disk() {
  using failing_vfs::disk, failing_vfs::real_vfs;
  if (real_vfs != nullptr) return disk;
  real_vfs = sqlite3_vfs_find(nullptr);
  static sqlite3_vfs vfs = *real_vfs;
  vfs.zName = failing_vfs_name;
  vfs.pNext = nullptr;
  vfs.szOsFile = static_cast<int>(sizeof(failing_vfs::WrappedFile)) + real_vfs->szOsFile;
  vfs.xOpen = failing_vfs::open_file;
  sqlite3_vfs_register(&vfs, 0);
  return disk;
}

}  // namespace tandem::tests
