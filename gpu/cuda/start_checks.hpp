// What is checked before a device is used, and the table of rotary angles.
#pragma once

#include <string>
#include <vector>

#include "core/result.hpp"
#include "gpu/cuda/cuda_backend.hpp"
#include "gpu/cuda/driver.hpp"
#include "gpu/cuda/iteration.hpp"
#include "gpu/cuda/kernels/launching.hpp"
#include "model/model_config.hpp"

namespace tandem::gpu::cuda {

/// Errors name the option and what is allowed.
Result<void> check_ranges(const CudaOptions& options, const model::ModelConfig& config);
/// `attention` of CudaOptions, given what is built in.
Result<void> check_attention(const std::string& attention, const flashinfer::Functions* built_in);
Result<void> check_device(const DeviceProperties& device);
/// `kernel_launch` of CudaOptions, given the device.
Result<void> check_kernel_launch(const std::string& kernel_launch, const DeviceProperties& device);
/// What a name that was checked means.
Launching launching_of(const std::string& kernel_launch);

/// Better to say what is too large than to report that the driver gave no memory.
Result<void> check_room(Driver& driver, Bytes weights, Bytes workspaces,
                        const IterationCapacity& capacity);

/// Cosines and sines of every position, as the host computes them: (context, head_dim).
std::vector<float> angle_table(const model::ModelConfig& config, std::int64_t context);

}  // namespace tandem::gpu::cuda
