// How a process tells the next one that it died by its own fault. SIGKILL leaves nothing, so what
// is found at the next start parts a crash from a kill (see PoisonRule). A stack overflow counts
// as a kill unless the thread has an alternate signal stack.
#pragma once

#include <filesystem>

#include "core/result.hpp"

namespace tandem::store {

/// From now on a fatal signal writes its number to `path` and then takes its former course. One
/// note per process: the last call counts.
Result<void> leave_note_on_crash(const std::filesystem::path& path);
/// Stops writing notes; the handlers stay, and do nothing but the former course.
void leave_no_note();
/// True if there is a note; it is removed.
bool take_crash_note(const std::filesystem::path& path);

}  // namespace tandem::store
