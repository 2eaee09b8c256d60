// The embedded device: any x86-64 CPU. Same plans, same paging, same sampling as CUDA.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "core/result.hpp"
#include "gpu/backend.hpp"
#include "model/weights.hpp"

namespace tandem::gpu {

struct HostOptions {
  std::uint32_t threads = 0;     ///< 0: one per core
  std::string kernels = "auto";  ///< auto | avx512_bf16 | avx512 | avx2 | portable
  std::string dtype = "auto";    ///< auto | float32 | bfloat16: of packed weights and KV
  Bytes kv_cache_bytes{256LL << 20};
  Tokens max_iteration_tokens{2048};
  std::uint32_t max_sequences = 256;
  Tokens max_context{0};  ///< 0: the model's
  std::uint32_t layers_per_segment =
      4;  ///< safepoint stride of offline-only plans; mixed plans run whole
};

/// Packs the weights and allocates everything; nothing is allocated while serving.
Result<std::unique_ptr<Backend>> make_host_backend(model::WeightsPtr weights,
                                                   const HostOptions& options);

}  // namespace tandem::gpu
