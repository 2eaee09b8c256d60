// One FA3 kernel of FlashInfer, for compute capability 9.0 alone: causal attention with history
// over the paged pool, in bf16, heads TANDEM_HEAD_DIM wide. Compiled once for each width, and only
// where every head has its own schedule (the planner's other kind is refused: plan.cu).

// A collection of CUTLASS's headers for GEMMs and tests, of which attention needs none; some want
// cuRAND. As if it had been included before:
#define FLASHINFER_CUTLASS_UTILS_CUH_
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>
#include <flashinfer/attention/hopper/default_params.cuh>
#include <flashinfer/attention/hopper/prefill_sm90.cuh>
#include <flashinfer/attention/hopper/variants.cuh>

#include "gpu/cuda/flashinfer/kernels/launchers.hpp"
#include "gpu/cuda/model_shape.hpp"

namespace tandem::gpu::cuda::flashinfer {
namespace {

using Element = cutlass::bfloat16_t;
using Params = ::flashinfer::BatchPrefillPagedParams<Element, Element, Element, std::int32_t>;

Element* elements(const std::uint16_t* bits) {
  return reinterpret_cast<Element*>(const_cast<std::uint16_t*>(bits));
}

Params params_of(const RunArgs& args, const Fa3Plan& plan) {
  Params params{};
  params.q_ptr = elements(args.query);
  params.k_ptr = elements(args.keys);
  params.v_ptr = elements(args.values);
  params.o_ptr = elements(args.out);
  params.q_stride_h = params.o_stride_h = args.heads.dim;
  params.q_stride_n = params.o_stride_n =
      static_cast<std::int64_t>(args.heads.query) * args.heads.dim;
  params.k_stride_n = params.v_stride_n = args.token_stride;
  params.k_stride_h = params.v_stride_h = args.head_stride;
  params.k_page_stride = params.v_page_stride = args.page_stride;
  params.page_size = static_cast<int>(key_block);
  params.nnz_qo = args.rows;
  params.num_qo_heads = args.heads.query;
  params.num_kv_heads = args.heads.kv;
  params.group_size = args.heads.query / args.heads.kv;
  params.window_left = -1;
  params.causal = true;
  params.additional_params.sm_scale = args.scale;
  const auto array = [&](std::int64_t at) {
    return reinterpret_cast<std::int32_t*>(args.plan + at);
  };
  params.qo_tile_indices = array(plan.tiles);
  params.qo_indptr = array(plan.query_starts);
  params.kv_indptr = array(plan.page_starts);
  params.qo_lens = array(plan.query_counts);
  params.kv_lens = array(plan.key_counts);
  params.head_indices = array(plan.heads);
  params.work_indptr = array(plan.work_starts);
  params.batch_indices = array(plan.sequences);
  params.kv_indices = reinterpret_cast<std::int32_t*>(const_cast<std::uint32_t*>(args.pages));
  return params;
}

}  // namespace

template <>
Result<void> launch_fa3<TANDEM_HEAD_DIM>(const RunArgs& args, const Fa3Plan& plan, Stream stream) {
  return guarded("FA3 kernel", [&] {
    auto params = params_of(args, plan);
    return ::flashinfer::BatchPrefillWithPagedKVCacheDispatched<
        TANDEM_HEAD_DIM, TANDEM_HEAD_DIM, ::flashinfer::MaskMode::kCausal,
        /*LEFT_SLIDING_WINDOW=*/false, /*SAME_SCHEDULE_FOR_ALL_HEADS=*/false,
        ::flashinfer::StandardAttention>(params, /*enable_pdl=*/false,
                                         reinterpret_cast<cudaStream_t>(stream));
  });
}

}  // namespace tandem::gpu::cuda::flashinfer
