// What rendering one conversation may take.
#pragma once

#include <cstddef>

namespace tandem::model::jinja {

struct Limits {
  std::size_t max_work = 10'000'000;           ///< nodes evaluated, and 16-byte pieces of text made
  std::size_t max_output_bytes = 64ULL << 20;  ///< of the text that is rendered
  /// Of evaluations inside each other, macros included. 2000 take less than 2 MiB of a thread's
  /// stack.
  std::size_t max_level = 600;
};

}  // namespace tandem::model::jinja
