// A device with everything that serving needs of it, made once at start: weights, workspaces, the
// KV pool, captured graphs. Nothing is created after that.
#pragma once

#include <array>
#include <memory>

#include "core/result.hpp"
#include "gpu/backend.hpp"
#include "gpu/cuda/attention.hpp"
#include "gpu/cuda/cuda_backend.hpp"
#include "gpu/cuda/decode_graphs.hpp"
#include "gpu/cuda/device_forward.hpp"
#include "gpu/cuda/device_model.hpp"
#include "gpu/cuda/iteration.hpp"
#include "gpu/cuda/kv_copies.hpp"
#include "gpu/cuda/memory_plan.hpp"
#include "gpu/cuda/resources.hpp"

namespace tandem::gpu::cuda {

/// Destroyed from the end.
struct ReadyDevice {
  BackendParts parts;
  OwnedStream stream;
  std::shared_ptr<const DeviceModel> model;
  DeviceBuffer workspace_memory, pool;
  /// In turns: while an iteration runs, the next one is written to the other.
  std::array<MappedBuffer, max_on_device> staging;
  MappedBuffer outputs;  ///< (max_on_device, slots) SampleOutput
  std::unique_ptr<Attention> attention;
  std::unique_ptr<const DeviceForward> forward;
  DecodeGraphs graphs;
  std::unique_ptr<KvCopies> copies;  ///< none without host_kv_bytes

  ModelShape shape;
  IterationCapacity capacity;
  Workspace workspace;  ///< in workspace_memory
  std::int64_t logit_stride = 0;
  DeviceLimits limits;
};

/// Uploads the weights, divides the memory, prepares products and captures graphs. The options were
/// checked. Errors name the option and what is allowed.
Result<ReadyDevice> make_ready(BackendParts parts, const model::Weights& weights,
                               const CudaOptions& options);

}  // namespace tandem::gpu::cuda
