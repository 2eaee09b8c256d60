// How kernels follow one another on a stream.
#pragma once

#include <cstdint>

namespace tandem::gpu::cuda {

enum class Launching : std::uint8_t {
  serial,  ///< a kernel begins when the one before is done
  /// Behind a kernel of ours it begins when all blocks of that one have begun, and waits itself
  /// (wait_for_stream): its launch, and the first weights that it asks for, are hidden behind the
  /// end of the one before. Behind a library's kernel it begins when the blocks of that one have
  /// ended, unless the library says otherwise. NVIDIA calls it programmatic dependent launch; it
  /// needs code that was compiled for compute capability 9.0.
  dependent,
};

}  // namespace tandem::gpu::cuda
