// The Driver over the CUDA runtime. Built where the toolkit is.
#pragma once

#include <cstdint>
#include <memory>

#include "core/result.hpp"
#include "gpu/cuda/driver.hpp"
#include "gpu/cuda/kernels/kernels.hpp"
#include "gpu/cuda/kernels/launching.hpp"

namespace tandem::gpu::cuda {

/// Opens device `index`. Fails by the name of what is missing: toolkit, driver, device.
Result<std::unique_ptr<Driver>> open_driver(std::uint32_t index);
/// The kernels compiled for devices; only where open_driver can succeed.
const KernelTable& device_kernels(Launching how);

}  // namespace tandem::gpu::cuda
