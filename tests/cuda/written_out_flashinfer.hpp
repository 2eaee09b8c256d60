// FlashInfer's kernels written out: what they are documented to compute, from the arrays of a plan
// and the pool, as they lie on the fake device. With planners of FlashInfer itself where it is
// built in, else, or as well, with plain ones.
#pragma once

#include <vector>

#include "gpu/cuda/flashinfer/functions.hpp"

namespace tandem::tests {

enum class FlashInferPlanners { plain, built_in };

/// Those that this program has.
std::vector<FlashInferPlanners> flashinfer_planners();
gpu::cuda::flashinfer::Functions written_out_flashinfer(FlashInferPlanners planners);

}  // namespace tandem::tests
