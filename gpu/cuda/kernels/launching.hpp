// How kernels follow one another on a stream.
#pragma once

#include <cstdint>

namespace tandem::gpu::cuda {

enum class Launching : std::uint8_t {
  serial,  ///< a kernel begins when the one before is done
  /// It begins when all blocks of the one before have begun, and waits itself (wait_for_stream):
  /// its launch, and the first weights that it asks for, are hidden behind the end of the one
  /// before. NVIDIA calls it programmatic dependent launch; compute capability 9.0 and newer.
  dependent,
};

}  // namespace tandem::gpu::cuda
