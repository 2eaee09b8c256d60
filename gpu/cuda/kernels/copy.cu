// KV blocks from pool to pool, or between the pool and mapped host memory: one thread block per
// piece of a block, 16 bytes per thread and step. Bound by the slower of the two memories.
#include "gpu/cuda/kernels/device.cuh"
#include "gpu/cuda/kernels/families.hpp"

namespace tandem::gpu::cuda::TANDEM_KERNEL_BUILD {
namespace {

constexpr int copy_threads = 256;
constexpr std::int64_t piece_bytes = 64LL << 10;

struct alignas(16) Sixteen {
  std::uint32_t words[4];
};

TANDEM_KERNEL void copy_blocks_kernel(CopyBlocksArgs args) {
  wait_for_stream();
  const std::int64_t begin = block_y() * piece_bytes;
  const std::int64_t left = args.block_bytes - begin;
  const std::int64_t count = (left < piece_bytes ? left : piece_bytes) / 16;
  const auto* from = reinterpret_cast<const Sixteen*>(
      args.source + args.from[block_x()] * args.block_bytes + begin);
  auto* to =
      reinterpret_cast<Sixteen*>(args.target + args.to[block_x()] * args.block_bytes + begin);
  for (std::int64_t i = thread_index(); i < count; i += num_threads()) to[i] = from[i];
}

template <Launching how>
void copy_blocks(const CopyBlocksArgs& args, Stream stream) {
  const auto pieces = (args.block_bytes + piece_bytes - 1) / piece_bytes;
  launch<how, copy_blocks_kernel>(args.num_blocks, pieces, copy_threads, 0, stream, args);
}

}  // namespace

int find_compiled_for(int& architecture) {
  return compiled_for<copy_blocks_kernel>(architecture);
}

template <Launching how>
void add_copy_kernels(KernelTable& table) {
  table.copy_blocks = copy_blocks<how>;
}
template void add_copy_kernels<Launching::serial>(KernelTable&);
template void add_copy_kernels<Launching::dependent>(KernelTable&);

}  // namespace tandem::gpu::cuda::TANDEM_KERNEL_BUILD
