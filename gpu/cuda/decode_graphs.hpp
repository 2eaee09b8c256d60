// Decode iterations as captured graphs, one for every bucket of rows up to 256: sizes, lengths and
// block tables are read from device memory, so that each replays for every iteration it holds.
#pragma once

#include <cstdint>
#include <map>

#include "core/result.hpp"
#include "gpu/cuda/device_forward.hpp"
#include "gpu/cuda/iteration.hpp"
#include "gpu/cuda/resources.hpp"

namespace tandem::gpu::cuda {

using DecodeGraphs = std::map<std::int64_t, OwnedGraph>;  ///< by bucket

/// `layers` of `forward`, embedding and sampling included; every bucket was prepared. The
/// iteration's header on the device is zero, so that nothing is read or written.
Result<DecodeGraphs> capture_decode_graphs(Driver& driver, Stream stream,
                                           const DeviceForward& forward, std::int64_t layers,
                                           const IterationCapacity& capacity);

}  // namespace tandem::gpu::cuda
