// Which NVIDIA devices this process could use, or why none.
#pragma once

#include <string>
#include <vector>

#include "core/result.hpp"
#include "core/units.hpp"

namespace tandem::gpu {

struct CudaDevice {
  std::string name;
  Bytes memory{0};
  int compute_major = 0, compute_minor = 0;
};

/// Was the CUDA toolkit found when this program was built?
bool cuda_compiled();
/// The devices that the driver offers, possibly none. Fails with `unsupported` if the program was
/// built without CUDA, with `device_failed` and the driver's words if it cannot be asked.
Result<std::vector<CudaDevice>> cuda_devices();

}  // namespace tandem::gpu
