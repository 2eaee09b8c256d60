// What happens to rows between the GEMMs: embedding gather, RMSNorm, SwiGLU. All are bound by
// bytes; one thread block per row, neighbouring threads on neighbouring elements.
#include "gpu/cuda/kernels/arithmetic.cuh"
#include "gpu/cuda/kernels/families.hpp"

namespace tandem::gpu::cuda::TANDEM_KERNEL_BUILD {
namespace {

constexpr int row_threads = 256;

TANDEM_KERNEL void embed_kernel(EmbedArgs args) {
  const int row = block_x();
  if (row >= static_cast<int>(args.header->rows)) return;
  const auto* from = args.table + static_cast<std::int64_t>(args.tokens[row]) * args.hidden;
  float* to = args.residual + static_cast<std::int64_t>(row) * args.hidden;
  for (int i = thread_index(); i < args.hidden; i += num_threads()) to[i] = float_of_bf16(from[i]);
}

TANDEM_KERNEL void norm_kernel(NormArgs args) {
  const int index = block_x();
  const int count = static_cast<int>(args.rows ? args.header->sampled : args.header->rows);
  if (args.first + index >= count) return;
  const int row = args.rows ? args.rows[args.first + index] : index;
  const float* x = args.x + static_cast<std::int64_t>(row) * args.hidden;
  float squares = 0;
  for (int i = thread_index(); i < args.hidden; i += num_threads()) squares += x[i] * x[i];
  const float total = block_sum(squares, reinterpret_cast<float*>(shared_memory()));
  const float scale = 1.0F / sqrtf(total / static_cast<float>(args.hidden) + args.epsilon);
  auto* out = args.out + static_cast<std::int64_t>(index) * args.hidden;
  for (int i = thread_index(); i < args.hidden; i += num_threads())
    out[i] = bf16_of_float(x[i] * scale * args.weight[i]);
}

TANDEM_KERNEL void swiglu_kernel(SwigluArgs args) {
  const int row = block_x();
  if (row >= static_cast<int>(args.header->rows)) return;
  const auto* gate = args.gate_up + static_cast<std::int64_t>(row) * 2 * args.width;
  const auto* up = gate + args.width;
  auto* out = args.active + static_cast<std::int64_t>(row) * args.width;
  for (int i = thread_index(); i < args.width; i += num_threads()) {
    const float g = float_of_bf16(gate[i]);
    out[i] = bf16_of_float(g / (1.0F + expf(-g)) * float_of_bf16(up[i]));
  }
}

void embed(const EmbedArgs& args, std::int64_t rows, Stream stream) {
  launch<embed_kernel>(rows, 1, row_threads, 0, stream, args);
}
void norm(const NormArgs& args, std::int64_t rows, Stream stream) {
  launch<norm_kernel>(rows, 1, row_threads, row_threads / warp_size * sizeof(float), stream, args);
}
void swiglu(const SwigluArgs& args, std::int64_t rows, Stream stream) {
  launch<swiglu_kernel>(rows, 1, row_threads, 0, stream, args);
}

}  // namespace

void add_row_kernels(KernelTable& table) {
  table.embed = embed;
  table.norm = norm;
  table.swiglu = swiglu;
}

}  // namespace tandem::gpu::cuda::TANDEM_KERNEL_BUILD
