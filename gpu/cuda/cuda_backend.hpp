// The CUDA device behind the interface of gpu/backend.hpp: the host device's plans, paging and
// sampling in bf16. One compute stream runs everything in order. Decode iterations of up to 256
// sequences replay captured graphs; others are launched in groups of layers, of which at most one
// stands in the queue behind the one that runs: between two of them an offline plan can be stopped.
// A plan of one segment may be queued whole behind the plan that runs, whose tokens it takes from
// the device: so the device goes from one iteration to the next without the host. Completion is
// told by the driver; tokens leave through mapped memory. No device memory is allocated while
// serving, and the host waits only for copies of very many penalized tokens (runs_ahead).
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "core/result.hpp"
#include "gpu/backend.hpp"
#include "gpu/cuda/driver.hpp"
#include "gpu/cuda/flashinfer/functions.hpp"
#include "gpu/cuda/gemm.hpp"
#include "gpu/cuda/kernels/kernels.hpp"
#include "gpu/cuda/kv_copies.hpp"
#include "model/weights.hpp"

namespace tandem::gpu {

struct CudaOptions {
  std::uint32_t device_index = 0;
  /// Of the device's memory: weights, workspaces and KV blocks together.
  double gpu_memory_fraction = 0.9;
  std::filesystem::path gemm_tuning_file;  ///< empty: the library's own choice
  /// auto | own | flashinfer: whose kernels prefill rows take. auto is own until both were measured
  /// on a device; decode rows are always our own kernel's.
  std::string attention = "auto";
  /// auto | serial | dependent: see Launching. auto is serial until both were measured on a device.
  std::string kernel_launch = "auto";
  Tokens max_iteration_tokens{2048};
  std::uint32_t max_sequences = 256;
  Tokens max_context{0};  ///< 0: the model's; in any case no more than the pool holds
  /// Safepoint stride of offline-only plans that are no decode graphs.
  std::uint32_t layers_per_segment = 4;
  /// Pinned host memory for checkpoints of KV blocks; 0: none, and no streams for copies.
  Bytes host_kv_bytes{0};
};

namespace cuda {

/// What a backend is made of. The kernels belong to the driver's device.
struct BackendParts {
  std::unique_ptr<Driver> driver;
  const KernelTable* kernels = nullptr;
  std::unique_ptr<Gemm> gemm;
  const flashinfer::Functions* flashinfer = nullptr;  ///< none: not built in
};

/// A driver of the device, its kernels and cuBLAS with the tuning that the options name. Fails by
/// the name of what is missing.
Result<BackendParts> open_parts(const CudaOptions& options);

struct DeviceLogits {
  const float* data = nullptr;  ///< (samples, stride), on the device
  std::int64_t stride = 0;
};

/// A backend with what checks and measurements look at; plans run as through the interface alone.
class DeviceBackend : public Backend {
 public:
  [[nodiscard]] virtual Driver& driver() = 0;
  [[nodiscard]] virtual Stream compute_stream() const = 0;
  /// Of the plan collected last, if none was started since, of up to `logit_rows` samples in the
  /// order of its slices.
  [[nodiscard]] virtual DeviceLogits logits() const = 0;
  [[nodiscard]] virtual KvPool kv_pool() const = 0;
  /// None without host_kv_bytes.
  [[nodiscard]] virtual KvCopies* kv_copies() = 0;
};

/// Uploads the weights, divides the memory, prepares products and captures graphs. Errors name the
/// option and what is allowed.
Result<std::unique_ptr<DeviceBackend>> make_backend(BackendParts parts,
                                                    const model::Weights& weights,
                                                    const CudaOptions& options);

}  // namespace cuda

/// Whether this program has what `attention` asks for; needs no device. The error names what to do.
Result<void> check_attention(const std::string& attention);

/// On a device of this machine. Fails by the name of what is missing: the toolkit when this program
/// was built, a driver, a device, cuBLAS.
Result<std::unique_ptr<Backend>> make_cuda_backend(const model::Weights& weights,
                                                   const CudaOptions& options);

}  // namespace tandem::gpu
