// What the translation units with FlashInfer's headers define, each its own; and how its errors
// come out of them.
#pragma once

#include <cuda_runtime_api.h>
#include <exception>
#include <string>

#include "gpu/cuda/flashinfer/functions.hpp"

namespace tandem::gpu::cuda::flashinfer {

template <int TileRows, int HeadDim>
Result<void> launch_fa2(const RunArgs& args, const Fa2Plan& plan, Stream stream);
template <>
Result<void> launch_fa2<16, 64>(const RunArgs& args, const Fa2Plan& plan, Stream stream);
template <>
Result<void> launch_fa2<16, 128>(const RunArgs& args, const Fa2Plan& plan, Stream stream);
template <>
Result<void> launch_fa2<64, 64>(const RunArgs& args, const Fa2Plan& plan, Stream stream);
template <>
Result<void> launch_fa2<64, 128>(const RunArgs& args, const Fa2Plan& plan, Stream stream);
template <>
Result<void> launch_fa2<128, 64>(const RunArgs& args, const Fa2Plan& plan, Stream stream);
template <>
Result<void> launch_fa2<128, 128>(const RunArgs& args, const Fa2Plan& plan, Stream stream);

template <int HeadDim>
Result<void> launch_fa3(const RunArgs& args, const Fa3Plan& plan, Stream stream);
template <>
Result<void> launch_fa3<64>(const RunArgs& args, const Fa3Plan& plan, Stream stream);
template <>
Result<void> launch_fa3<128>(const RunArgs& args, const Fa3Plan& plan, Stream stream);

Result<Fa2Plan> make_fa2_plan(const PlanInput& input, const PlanMemory& memory);
Result<Fa3Plan> make_fa3_plan(const PlanInput& input, const PlanMemory& memory);

/// Runs `call`, which returns a cudaError_t and may throw, and tells of both as an Error.
template <class Call>
Result<void> guarded(const char* what, const Call& call) {
  try {
    const cudaError_t status = call();
    if (status == cudaSuccess) return {};
    return error(Errc::device_failed,
                 std::string("FlashInfer, ") + what + ": " + cudaGetErrorString(status) + " (" +
                     cudaGetErrorName(status) + ")",
                 "attention");
  } catch (const std::exception& thrown) {
    return error(Errc::device_failed, std::string("FlashInfer, ") + what + ": " + thrown.what(),
                 "attention");
  }
}

}  // namespace tandem::gpu::cuda::flashinfer
