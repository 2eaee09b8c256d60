// built_in() of functions.hpp: which kernel a plan asks for.
#include "gpu/cuda/flashinfer/functions.hpp"

#ifdef TANDEM_HAS_FLASHINFER
#include <string>

#include "gpu/cuda/flashinfer/kernels/launchers.hpp"
#endif

namespace tandem::gpu::cuda::flashinfer {

#ifdef TANDEM_HAS_FLASHINFER
namespace {

template <int HeadDim>
Result<void> run_fa2_of(const RunArgs& args, const Fa2Plan& plan, Stream stream) {
  switch (plan.tile_rows) {
    case 16: return launch_fa2<16, HeadDim>(args, plan, stream);
    case 64: return launch_fa2<64, HeadDim>(args, plan, stream);
    case 128: return launch_fa2<128, HeadDim>(args, plan, stream);
    default:
      return error(Errc::internal,
                   "FlashInfer planned FA2 tiles of " + std::to_string(plan.tile_rows) +
                       " rows; built are 16, 64 and 128",
                   "attention");
  }
}

Result<void> run_fa2(const RunArgs& args, const Fa2Plan& plan, Stream stream) {
  return args.heads.dim == 64 ? run_fa2_of<64>(args, plan, stream)
                              : run_fa2_of<128>(args, plan, stream);
}

#ifdef TANDEM_HAS_FLASHINFER_FA3
Result<void> run_fa3(const RunArgs& args, const Fa3Plan& plan, Stream stream) {
  return args.heads.dim == 64 ? launch_fa3<64>(args, plan, stream)
                              : launch_fa3<128>(args, plan, stream);
}
#endif

}  // namespace

const Functions* built_in() {
  static constexpr Functions functions{.plan_fa2 = make_fa2_plan,
                                       .plan_fa3 = make_fa3_plan,
                                       .run_fa2 = run_fa2,
#ifdef TANDEM_HAS_FLASHINFER_FA3
                                       .run_fa3 = run_fa3
#else
                                       .run_fa3 = nullptr
#endif
  };
  return &functions;
}

#else

const Functions* built_in() { return nullptr; }

#endif

}  // namespace tandem::gpu::cuda::flashinfer
