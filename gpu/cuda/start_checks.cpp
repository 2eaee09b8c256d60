// See start_checks.hpp.
#include "gpu/cuda/start_checks.hpp"

#include <cmath>

#include "gpu/option_checks.hpp"

namespace tandem::gpu::cuda {
Result<void> check_ranges(const CudaOptions& options, const model::ModelConfig& config) {
  if (auto r = check_shared_ranges(options, config, "CUDA devices take", max_head_dim); !r)
    return r;
  if (auto r = check_range("host_kv_bytes", options.host_kv_bytes.value(), 0, 1LL << 44); !r)
    return r;
  if (!(options.gpu_memory_fraction > 0 && options.gpu_memory_fraction <= 1))
    return refused("gpu_memory_fraction", "must be above 0 and at most 1");
  return {};
}

Result<void> check_attention(const std::string& attention, const flashinfer::Functions* built_in) {
  if (attention != "auto" && attention != "own" && attention != "flashinfer")
    return refused("attention", "is '" + attention + "'; allowed are auto, own and flashinfer");
  if (attention == "flashinfer" && !built_in)
    return refused("attention",
                   "is flashinfer, and this program was built without it: run "
                   "scripts/deps.sh --flashinfer and build again, or choose own");
  return {};
}

Result<void> check_device(const DeviceProperties& device) {
  if (device.compute_major >= 8) return {};
  return error(Errc::unsupported,
               device.name + " has compute capability " + std::to_string(device.compute_major) +
                   "." + std::to_string(device.compute_minor) +
                   "; the kernels need 8.0 or newer (A100, RTX 30 and later)",
               "device");
}

Result<void> check_kernel_launch(const std::string& kernel_launch, const DeviceProperties& device) {
  if (kernel_launch == "auto" || kernel_launch == "serial") return {};
  if (kernel_launch != "dependent")
    return refused("kernel_launch",
                   "is '" + kernel_launch + "'; allowed are auto, serial and dependent");
  if (device.compiled_for >= 90) return {};
  return refused("kernel_launch",
                 "is dependent, which needs code for compute capability 9.0 (H100, H200, and 90a "
                 "among TANDEM_CUDA_ARCHITECTURES); " +
                     device.name + " runs code for " + std::to_string(device.compiled_for / 10) +
                     "." + std::to_string(device.compiled_for % 10));
}

Launching launching_of(const std::string& kernel_launch) {
  return kernel_launch == "dependent" ? Launching::dependent : Launching::serial;
}

Result<void> check_room(Driver& driver, Bytes weights, Bytes workspaces,
                        const IterationCapacity& capacity) {
  const auto memory = driver.memory();
  if (!memory) return memory.error();
  if (weights + workspaces <= memory->free) return {};
  return error(Errc::invalid_value,
               driver.properties().name + " has " + std::to_string(memory->free.value()) +
                   " bytes free; weights take " + std::to_string(weights.value()) +
                   " and workspaces for max_iteration_tokens " + std::to_string(capacity.rows) +
                   " and max_sequences " + std::to_string(capacity.sequences) + " take " +
                   std::to_string(workspaces.value()),
               "max_iteration_tokens");
}

std::vector<float> angle_table(const model::ModelConfig& config, std::int64_t context) {
  const auto frequencies = config.rope_inverse_frequencies();
  const auto half = frequencies.size();
  std::vector<float> angles(static_cast<std::size_t>(context) * 2 * half);
  for (std::int64_t position = 0; position < context; ++position) {
    auto* row = angles.data() + static_cast<std::size_t>(position) * 2 * half;
    for (std::size_t i = 0; i < half; ++i) {
      const auto angle = static_cast<double>(static_cast<float>(position) * frequencies[i]);
      row[i] = static_cast<float>(std::cos(angle));
      row[half + i] = static_cast<float>(std::sin(angle));
    }
  }
  return angles;
}

}  // namespace tandem::gpu::cuda
