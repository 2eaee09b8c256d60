// One FA2 kernel of FlashInfer: causal attention with history over the paged pool, in bf16, tiles
// of TANDEM_TILE_ROWS packed rows, heads TANDEM_HEAD_DIM wide. Compiled once for each pair.
#include <flashinfer/attention/default_prefill_params.cuh>
#include <flashinfer/attention/prefill.cuh>
#include <flashinfer/attention/variants.cuh>

#include "gpu/cuda/flashinfer/kernels/launchers.hpp"
#include "gpu/cuda/model_shape.hpp"

namespace tandem::gpu::cuda::flashinfer {
namespace {

using Params =
    ::flashinfer::BatchPrefillPagedParams<nv_bfloat16, nv_bfloat16, nv_bfloat16, std::int32_t>;
using Variant = ::flashinfer::DefaultAttention</*use_custom_mask=*/false,
                                               /*use_sliding_window=*/false,
                                               /*use_logits_soft_cap=*/false, /*use_alibi=*/false>;

// Its parameters are not const, though it reads what they point to.
nv_bfloat16* elements(const std::uint16_t* bits) {
  return reinterpret_cast<nv_bfloat16*>(const_cast<std::uint16_t*>(bits));
}
std::int32_t* indices(const std::int32_t* values) { return const_cast<std::int32_t*>(values); }

Params params_of(const RunArgs& args, const Fa2Plan& plan) {
  const std::int64_t strides[] = {args.page_stride, args.head_stride, args.token_stride};
  const ::flashinfer::paged_kv_t<nv_bfloat16, std::int32_t> pages(
      static_cast<std::uint32_t>(args.heads.kv), static_cast<std::uint32_t>(key_block),
      static_cast<std::uint32_t>(args.heads.dim), static_cast<std::uint32_t>(args.sequences),
      ::flashinfer::QKVLayout::kHND, elements(args.keys), elements(args.values), strides,
      reinterpret_cast<std::int32_t*>(const_cast<std::uint32_t*>(args.pages)),
      indices(args.page_starts), indices(args.last_page_keys));
  Params params(elements(args.query), pages, /*mask=*/nullptr, indices(args.query_starts),
                /*mask starts=*/nullptr, /*rope offset=*/nullptr, elements(args.out),
                /*lse=*/nullptr, /*alibi=*/nullptr, static_cast<std::uint32_t>(args.heads.query),
                args.heads.query * args.heads.dim, args.heads.dim, /*window=*/-1,
                /*soft cap=*/0.0F, args.scale, /*rope scale=*/1.0F, /*rope theta=*/1.0F);
  const auto array = [&](std::int64_t at) {
    return reinterpret_cast<std::int32_t*>(args.plan + at);
  };
  params.request_indices = array(plan.item_sequences);
  params.qo_tile_indices = array(plan.item_tiles);
  params.kv_tile_indices = array(plan.item_pieces);
  params.o_indptr = array(plan.out_starts);
  params.kv_chunk_size_ptr = array(plan.piece_keys);
  if (plan.splits_keys) params.merge_indptr = array(plan.merge_starts);
  params.padded_batch_size = static_cast<std::uint32_t>(plan.items);
  params.max_total_num_rows = static_cast<std::uint32_t>(args.rows);
  return params;
}

}  // namespace

template <>
Result<void> launch_fa2<TANDEM_TILE_ROWS, TANDEM_HEAD_DIM>(const RunArgs& args, const Fa2Plan& plan,
                                                           Stream stream) {
  return guarded("FA2 kernel", [&] {
    auto* partial_out = plan.splits_keys
                            ? reinterpret_cast<nv_bfloat16*>(args.partials + plan.partial_out)
                            : nullptr;
    auto* partial_lse =
        plan.splits_keys ? reinterpret_cast<float*>(args.partials + plan.partial_lse) : nullptr;
    return ::flashinfer::BatchPrefillWithPagedKVCacheDispatched<
        TANDEM_TILE_ROWS, TANDEM_HEAD_DIM, TANDEM_HEAD_DIM, ::flashinfer::PosEncodingMode::kNone,
        /*USE_FP16_QK_REDUCTION=*/false, ::flashinfer::MaskMode::kCausal, Variant>(
        params_of(args, plan), partial_out, partial_lse, /*enable_pdl=*/false,
        reinterpret_cast<cudaStream_t>(stream));
  });
}

}  // namespace tandem::gpu::cuda::flashinfer
