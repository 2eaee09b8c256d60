// FlashInfer's planners, kept from the device. They ask the runtime for the device's size and have
// it copy what they wrote; here these calls are answered from the PlanInput, so that planning is
// arithmetic on the host, runs in the tests, and copies through our own driver. That changes inline
// functions of its headers, which other translation units have as they are: hence a namespace of
// their own.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>
#include <cuda_runtime.h>

#include "gpu/cuda/flashinfer/kernels/launchers.hpp"
#include "gpu/cuda/model_shape.hpp"

namespace tandem::gpu::cuda::planner_answers {
namespace {

/// What the planner that runs on this thread is told, and how much it asked to be copied.
struct Answers {
  const flashinfer::PlanInput* input = nullptr;
  std::size_t copied = 0;
};
thread_local Answers answers;

cudaError_t device(int* index) {
  *index = 0;
  return cudaSuccess;
}
cudaError_t attribute(int* value, cudaDeviceAttr which, int) {
  switch (which) {
    case cudaDevAttrMultiProcessorCount: *value = answers.input->multiprocessors; break;
    case cudaDevAttrComputeCapabilityMajor: *value = answers.input->compute_major; break;
    case cudaDevAttrComputeCapabilityMinor: *value = answers.input->compute_minor; break;
    default: return cudaErrorInvalidValue;
  }
  return cudaSuccess;
}
cudaError_t copy(void*, const void*, std::size_t bytes, cudaMemcpyKind, cudaStream_t) {
  answers.copied = bytes;
  return cudaSuccess;
}

}  // namespace
}  // namespace tandem::gpu::cuda::planner_answers

#define flashinfer flashinfer_planning
#define cudaGetDevice ::tandem::gpu::cuda::planner_answers::device
#define cudaDeviceGetAttribute ::tandem::gpu::cuda::planner_answers::attribute
#define cudaMemcpyAsync ::tandem::gpu::cuda::planner_answers::copy
#include <flashinfer/attention/scheduler.cuh>
#undef flashinfer
#undef cudaGetDevice
#undef cudaDeviceGetAttribute
#undef cudaMemcpyAsync

namespace tandem::gpu::cuda::flashinfer {
namespace {

std::int32_t* indices(const std::int32_t* values) { return const_cast<std::int32_t*>(values); }

template <class Planner>
Result<std::int64_t> bytes_planned(const char* what, const PlanInput& input,
                                   const Planner& planner) {
  auto& answers = planner_answers::answers;
  answers = {&input, 0};
  auto made = guarded(what, planner);
  answers.input = nullptr;
  if (!made) return made.error();
  return static_cast<std::int64_t>(answers.copied);
}

}  // namespace

Result<Fa2Plan> make_fa2_plan(const PlanInput& input, const PlanMemory& memory) {
  ::flashinfer_planning::PrefillPlanInfo info;
  const auto rows = input.query_starts[input.sequences];
  const auto dim = static_cast<std::uint32_t>(input.heads.dim);
  const auto bytes = bytes_planned("FA2 planner", input, [&] {
    // The memory of partial results is only measured: it begins at 256, which is aligned.
    return ::flashinfer_planning::PrefillPlan<std::int32_t>(
        reinterpret_cast<void*>(256), memory.partial_bytes, memory.device, memory.host,
        memory.bytes, info, indices(input.query_starts), indices(input.page_starts),
        static_cast<std::uint32_t>(rows), static_cast<std::uint32_t>(input.sequences),
        static_cast<std::uint32_t>(input.heads.query), static_cast<std::uint32_t>(input.heads.kv),
        dim, dim, static_cast<std::uint32_t>(key_block), /*enable_cuda_graph=*/false,
        /*sizeof_dtype_o=*/2, /*window_left=*/-1, /*fixed_split_size=*/-1,
        /*disable_split_kv=*/false, /*num_colocated_ctas=*/0, /*stream=*/nullptr);
  });
  if (!bytes) return bytes.error();
  return Fa2Plan{.used_bytes = *bytes,
                 .tile_rows = info.cta_tile_q,
                 .items = info.padded_batch_size,
                 .item_sequences = info.request_indices_offset,
                 .item_tiles = info.qo_tile_indices_offset,
                 .item_pieces = info.kv_tile_indices_offset,
                 .out_starts = info.o_indptr_offset,
                 .merge_starts = info.merge_indptr_offset,
                 .piece_keys = info.kv_chunk_size_ptr_offset,
                 .partial_out = info.v_offset,
                 .partial_lse = info.s_offset,
                 .splits_keys = info.split_kv};
}

Result<Fa3Plan> make_fa3_plan(const PlanInput& input, const PlanMemory& memory) {
  ::flashinfer_planning::PrefillPlanSM90Info info;
  const auto rows = input.query_starts[input.sequences];
  const auto dim = static_cast<std::uint32_t>(input.heads.dim);
  const auto bytes = bytes_planned("FA3 planner", input, [&] {
    return ::flashinfer_planning::PrefillSM90Plan<std::int32_t>(
        /*float_buffer=*/nullptr, 0, memory.device, memory.host, memory.bytes, info,
        indices(input.query_starts), indices(input.page_starts), indices(input.key_counts),
        static_cast<std::uint32_t>(rows), static_cast<std::uint32_t>(input.sequences),
        static_cast<std::uint32_t>(input.heads.query), static_cast<std::uint32_t>(input.heads.kv),
        dim, dim, static_cast<std::uint32_t>(key_block), /*causal=*/true,
        /*enable_cuda_graph=*/false, /*sizeof_dtype_o=*/2, /*stream=*/nullptr);
  });
  if (!bytes) return bytes.error();
  if (info.same_schedule_for_all_heads)
    return error(Errc::unsupported,
                 "FlashInfer, FA3 planner: so many rows that heads share a schedule, for which no "
                 "kernel was built",
                 "attention");
  return Fa3Plan{.used_bytes = *bytes,
                 .work_starts = info.work_indptr_offset,
                 .tiles = info.qo_tile_indices_offset,
                 .query_starts = info.qo_indptr_offset,
                 .page_starts = info.kv_indptr_offset,
                 .query_counts = info.qo_len_offset,
                 .key_counts = info.kv_len_offset,
                 .heads = info.head_indices_offset,
                 .sequences = info.batch_indices_offset};
}

}  // namespace tandem::gpu::cuda::flashinfer
