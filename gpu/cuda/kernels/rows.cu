// What happens to rows between the GEMMs: embedding gather, RMSNorm, SwiGLU. All are bound by
// bytes, and with a row or two by the latency of their loads: neighbouring threads take neighbours
// in groups of elements, in one load each, and a wide row has several thread blocks where it can.
// Widths that are no multiple of a group are taken element by element.
#include <type_traits>

#include "gpu/cuda/kernels/arithmetic.cuh"
#include "gpu/cuda/kernels/families.hpp"

namespace tandem::gpu::cuda::TANDEM_KERNEL_BUILD {
namespace {

constexpr int row_threads = 256;

template <class T, int Count>
struct alignas(sizeof(T) * Count) Group {
  T values[Count];
};

template <int Count, class T>
TANDEM_DEVICE auto* groups_of(T* row) {
  if constexpr (std::is_const_v<T>)
    return reinterpret_cast<const Group<std::remove_const_t<T>, Count>*>(row);
  else
    return reinterpret_cast<Group<T, Count>*>(row);
}

template <int Count>
TANDEM_KERNEL void embed_kernel(EmbedArgs args) {
  wait_for_stream();
  const int row = block_x();
  if (row >= static_cast<int>(args.header->rows)) return;
  std::int32_t token = args.tokens[row];
  if (token < 0) token = args.drawn[~token];
  const auto* from =
      groups_of<Count>(args.table + static_cast<std::int64_t>(token) * args.hidden);
  auto* to = groups_of<Count>(args.residual + static_cast<std::int64_t>(row) * args.hidden);
  for (int i = thread_index(); i < args.hidden / Count; i += num_threads()) {
    const auto bits = from[i];
    Group<float, Count> numbers;
    TANDEM_UNROLL
    for (int j = 0; j < Count; ++j) numbers.values[j] = float_of_bf16(bits.values[j]);
    to[i] = numbers;
  }
}

template <int Count>
TANDEM_KERNEL void norm_kernel(NormArgs args) {
  wait_for_stream();
  const int index = block_x();
  const int count = static_cast<int>(args.rows ? args.header->sampled : args.header->rows);
  if (args.first + index >= count) return;
  const int row = args.rows ? args.rows[args.first + index] : index;
  const auto* x = groups_of<Count>(args.x + static_cast<std::int64_t>(row) * args.hidden);
  float squares = 0;
  for (int i = thread_index(); i < args.hidden / Count; i += num_threads()) {
    const auto one = x[i];
    TANDEM_UNROLL
    for (int j = 0; j < Count; ++j) squares += one.values[j] * one.values[j];
  }
  const float total = block_sum(squares, reinterpret_cast<float*>(shared_memory()));
  const float scale = 1.0F / sqrtf(total / static_cast<float>(args.hidden) + args.epsilon);
  const auto* weight = groups_of<Count>(args.weight);
  auto* out = groups_of<Count>(args.out + static_cast<std::int64_t>(index) * args.hidden);
  for (int i = thread_index(); i < args.hidden / Count; i += num_threads()) {
    const auto one = x[i];
    const auto by = weight[i];
    Group<std::uint16_t, Count> bits;
    TANDEM_UNROLL
    for (int j = 0; j < Count; ++j)
      bits.values[j] = bf16_of_float(one.values[j] * scale * by.values[j]);
    out[i] = bits;
  }
}

/// A thread has one group of one row.
template <int Count>
TANDEM_KERNEL void swiglu_kernel(SwigluArgs args) {
  wait_for_stream();
  const int row = block_x();
  if (row >= static_cast<int>(args.header->rows)) return;
  const int i = block_y() * num_threads() + thread_index();
  if (i >= args.width / Count) return;
  const auto* gate_row = args.gate_up + static_cast<std::int64_t>(row) * 2 * args.width;
  const auto gate = groups_of<Count>(gate_row)[i];
  const auto up = groups_of<Count>(gate_row + args.width)[i];
  Group<std::uint16_t, Count> active;
  TANDEM_UNROLL
  for (int j = 0; j < Count; ++j) {
    const float g = float_of_bf16(gate.values[j]);
    active.values[j] = bf16_of_float(g / (1.0F + expf(-g)) * float_of_bf16(up.values[j]));
  }
  groups_of<Count>(args.active + static_cast<std::int64_t>(row) * args.width)[i] = active;
}

template <Launching how>
void embed(const EmbedArgs& args, std::int64_t rows, Stream stream) {
  if (args.hidden % 4 == 0)
    return launch<how, embed_kernel<4>>(rows, 1, row_threads, 0, stream, args);
  launch<how, embed_kernel<1>>(rows, 1, row_threads, 0, stream, args);
}

template <Launching how>
void norm(const NormArgs& args, std::int64_t rows, Stream stream) {
  constexpr auto scratch = row_threads / warp_size * sizeof(float);
  if (args.hidden % 4 == 0)
    return launch<how, norm_kernel<4>>(rows, 1, row_threads, scratch, stream, args);
  launch<how, norm_kernel<1>>(rows, 1, row_threads, scratch, stream, args);
}

template <Launching how, int Count>
void swiglu_by(const SwigluArgs& args, std::int64_t rows, Stream stream) {
  constexpr std::int64_t each = row_threads * Count;
  launch<how, swiglu_kernel<Count>>(rows, (args.width + each - 1) / each, row_threads, 0, stream,
                                    args);
}
template <Launching how>
void swiglu(const SwigluArgs& args, std::int64_t rows, Stream stream) {
  if (args.width % 8 == 0) return swiglu_by<how, 8>(args, rows, stream);
  swiglu_by<how, 1>(args, rows, stream);
}

}  // namespace

template <Launching how>
void add_row_kernels(KernelTable& table) {
  table.embed = embed<how>;
  table.norm = norm<how>;
  table.swiglu = swiglu<how>;
}
template void add_row_kernels<Launching::serial>(KernelTable&);
template void add_row_kernels<Launching::dependent>(KernelTable&);

}  // namespace tandem::gpu::cuda::TANDEM_KERNEL_BUILD
