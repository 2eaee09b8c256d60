// A disk that fails: an SQLite VFS over the default one, whose N-th write, sync or truncation (and
// every later one, while `keeps_failing`) reports an error and does nothing.
#pragma once

#include <sqlite3.h>

namespace tandem::store::testing {

struct FailingDisk {
  /// Operations until the first failure; negative: never.
  long countdown = -1;
  bool keeps_failing = false;
  int code = SQLITE_FULL;
  long operations = 0;  ///< seen since it was last set to 0
  long failures = 0;

  void heal() { countdown = -1; }
  /// The error that this operation meets, or SQLITE_OK.
  int next();
};

inline constexpr const char* failing_vfs_name = "tandem-failing";
/// The one failing disk of this process; registers its VFS on the first call.
FailingDisk& failing_disk();

}  // namespace tandem::store::testing
