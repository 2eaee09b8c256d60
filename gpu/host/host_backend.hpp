// The embedded device: any x86-64 CPU. Same plans, same paging, same sampling as CUDA.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "core/result.hpp"
#include "gpu/backend.hpp"
#include "model/weights.hpp"

namespace tandem::gpu {

inline constexpr std::uint32_t max_host_threads = 1024;
/// `dtype: auto` keeps a float32 model of up to this many bytes in float32.
inline constexpr Bytes auto_float32_bytes{64LL << 20};

struct HostOptions {
  std::uint32_t threads = 0;     ///< 0: one per core
  std::string kernels = "auto";  ///< auto | avx512_bf16 | avx512 | avx2 | portable
  /// Of packed weights, GEMM inputs and KV: auto | float32 | bfloat16. auto is float32 for a model
  /// whose file is float32 and small (auto_float32_bytes), and with the portable kernels; else
  /// bfloat16.
  std::string dtype = "auto";
  Bytes kv_cache_bytes{256LL << 20};
  Tokens max_iteration_tokens{2048};
  std::uint32_t max_sequences = 256;
  Tokens max_context{0};  ///< 0: the model's; in any case no more than the KV cache holds
  /// Safepoint stride of offline-only plans; plans with online slices run whole.
  std::uint32_t layers_per_segment = 4;
};

/// Packs the weights and allocates everything; nothing is allocated while serving. Errors name the
/// option and what is allowed.
Result<std::unique_ptr<Backend>> make_host_backend(model::WeightsPtr weights,
                                                   const HostOptions& options);

}  // namespace tandem::gpu
