// See cuda_devices.hpp.
#include "gpu/cuda_devices.hpp"

#ifdef TANDEM_HAS_CUDA
#include <cuda_runtime_api.h>
#endif

namespace tandem::gpu {

#ifdef TANDEM_HAS_CUDA

namespace {

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

/// The runtime calls a driver that is not there one that is too old.
std::string why_unusable(cudaError_t status) {
  int driver = 0;
  if (status == cudaErrorInsufficientDriver && cudaDriverGetVersion(&driver) == cudaSuccess) {
    if (driver == 0) return "no NVIDIA driver is installed on this machine";
    return "the NVIDIA driver is for CUDA " + version_text(driver) + ", and this program needs " +
           version_text(CUDART_VERSION) + " or newer";
  }
  return std::string("the CUDA driver cannot be used: ") + cudaGetErrorString(status);
}

}  // namespace

bool cuda_compiled() { return true; }

Result<std::vector<CudaDevice>> cuda_devices() {
  int count = 0;
  const auto status = cudaGetDeviceCount(&count);
  if (status == cudaErrorNoDevice) return std::vector<CudaDevice>{};
  if (status != cudaSuccess) return error(Errc::device_failed, why_unusable(status), "device");
  std::vector<CudaDevice> devices;
  for (int i = 0; i < count; ++i) {
    cudaDeviceProp properties{};
    if (cudaGetDeviceProperties(&properties, i) != cudaSuccess) continue;
    devices.push_back({properties.name, Bytes(static_cast<std::int64_t>(properties.totalGlobalMem)),
                       properties.major, properties.minor});
  }
  return devices;
}

#else

bool cuda_compiled() { return false; }

Result<std::vector<CudaDevice>> cuda_devices() {
  return error(Errc::unsupported, "this program was built without the CUDA toolkit", "device");
}

#endif

}  // namespace tandem::gpu
