// Whether an implementation of attention works on this device, found out at start.
#pragma once

#include <cstddef>
#include <cstdint>

#include "gpu/cuda/attention.hpp"

namespace tandem::gpu::cuda {

struct TrialPlace {
  Driver& driver;
  const ModelShape& shape;
  const IterationCapacity& capacity;
  std::int64_t num_blocks = 0;
  std::byte *host = nullptr, *device = nullptr;  ///< of an iteration, which is overwritten
  Stream stream = nullptr;
};

/// Plans and runs a few prefill batches over blocks whose content does not matter, and waits.
Result<void> try_attention(Attention& attention, const TrialPlace& place);

}  // namespace tandem::gpu::cuda
