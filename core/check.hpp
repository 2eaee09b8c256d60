// Checks for bugs: always on, one condition each. A failed check writes the condition and its place
// to stderr and aborts; it is never used for bad input (see result.hpp).
#pragma once

namespace tandem {

[[noreturn]] void check_failed(const char* condition, const char* file, int line, const char* why);

}  // namespace tandem

#define TANDEM_CHECK(condition, why)      \
  (static_cast<bool>(condition) ? void(0) \
                                : ::tandem::check_failed(#condition, __FILE__, __LINE__, why))
