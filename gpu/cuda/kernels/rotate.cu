// Between the QKV product and attention: bias, norm of heads, rotary positions, and the append to
// the paged pool, in one pass over the row. One warp per head of a row: few rows wait for the
// latency of one head, not of many. A lane holds the pairs (i, i + head_dim / 2) of its head, which
// the rotation turns together. Bytes bound.
#include "gpu/cuda/kernels/arithmetic.cuh"
#include "gpu/cuda/kernels/families.hpp"

namespace tandem::gpu::cuda::TANDEM_KERNEL_BUILD {
namespace {

constexpr int rotate_threads = 128;
constexpr int heads_at_once = rotate_threads / warp_size;
constexpr int most_pairs = static_cast<int>(max_head_dim) / 2 / warp_size;

/// One head as a lane holds it: pair p is elements lane + 32 p and half + lane + 32 p.
struct HeadPairs {
  float first[most_pairs] = {}, second[most_pairs] = {};
};

TANDEM_DEVICE HeadPairs load_head(const std::uint16_t* head, const float* bias, int half) {
  HeadPairs pairs;
  for (int p = 0; p < most_pairs; ++p) {
    const int i = lane_index() + p * warp_size;
    if (i >= half) continue;
    pairs.first[p] = float_of_bf16(head[i]) + (bias ? bias[i] : 0.0F);
    pairs.second[p] = float_of_bf16(head[half + i]) + (bias ? bias[half + i] : 0.0F);
  }
  return pairs;
}

TANDEM_DEVICE void normalise(HeadPairs& pairs, const float* weight, int half, float epsilon) {
  float squares = 0;
  for (int p = 0; p < most_pairs; ++p)
    squares += pairs.first[p] * pairs.first[p] + pairs.second[p] * pairs.second[p];
  const float scale = 1.0F / sqrtf(warp_sum(squares) / static_cast<float>(2 * half) + epsilon);
  for (int p = 0; p < most_pairs; ++p) {
    const int i = lane_index() + p * warp_size;
    if (i >= half) continue;
    pairs.first[p] *= scale * weight[i];
    pairs.second[p] *= scale * weight[half + i];
  }
}

TANDEM_DEVICE void turn(HeadPairs& pairs, const float* angles, int half) {
  for (int p = 0; p < most_pairs; ++p) {
    const int i = lane_index() + p * warp_size;
    if (i >= half) continue;
    const float cosine = angles[i], sine = angles[half + i];
    const float a = pairs.first[p], b = pairs.second[p];
    pairs.first[p] = a * cosine - b * sine;
    pairs.second[p] = b * cosine + a * sine;
  }
}

TANDEM_DEVICE void store_head(std::uint16_t* to, const HeadPairs& pairs, int half, int stored) {
  for (int p = 0; p < most_pairs; ++p) {
    const int i = lane_index() + p * warp_size;
    if (i >= half) continue;
    to[i] = bf16_of_float(pairs.first[p]);
    to[half + i] = bf16_of_float(pairs.second[p]);
  }
  for (int i = 2 * half + lane_index(); i < stored; i += warp_size) to[i] = 0;
}

TANDEM_KERNEL void TANDEM_LAUNCH_BOUNDS(rotate_threads) rotate_kernel(RotateArgs args) {
  wait_for_stream();
  const int row = block_x();
  if (row >= static_cast<int>(args.header->rows)) return;
  const int half = args.head_dim / 2;
  const int num_heads = args.heads + 2 * args.kv_heads;
  const int head = block_y() * heads_at_once + warp_index();
  if (head >= num_heads) return;
  const auto* qkv = args.qkv + static_cast<std::int64_t>(row) * num_heads * args.head_dim;
  const float* angles =
      args.angles + static_cast<std::int64_t>(args.positions[row]) * args.head_dim;
  const std::int64_t slot = args.kv_slots[row];
  const float* bias = args.bias ? args.bias + head * args.head_dim : nullptr;
  auto pairs = load_head(qkv + head * args.head_dim, bias, half);
  const bool is_query = head < args.heads;
  const bool is_value = head >= args.heads + args.kv_heads;
  const float* weight = is_query ? args.q_norm : args.k_norm;
  if (!is_value) {
    if (weight) normalise(pairs, weight, half, args.epsilon);
    turn(pairs, angles, half);
  }
  std::uint16_t* to;
  if (is_query) {
    to = args.query + (static_cast<std::int64_t>(row) * args.heads + head) * args.stored_head_dim;
  } else {
    const int kv_head = (head - args.heads) % args.kv_heads;
    to = args.pool + args.strides.key_at(slot / key_block, args.layer, kv_head, slot % key_block) +
         (is_value ? args.strides.value : 0);
  }
  store_head(to, pairs, half, args.stored_head_dim);
}

template <Launching how>
void rotate(const RotateArgs& args, std::int64_t rows, Stream stream) {
  const std::int64_t heads = args.heads + 2 * args.kv_heads;
  launch<how, rotate_kernel>(rows, (heads + heads_at_once - 1) / heads_at_once, rotate_threads, 0,
                             stream, args);
}

}  // namespace

template <Launching how>
void add_rotate_kernels(KernelTable& table) {
  table.rotate = rotate<how>;
}
template void add_rotate_kernels<Launching::serial>(KernelTable&);
template void add_rotate_kernels<Launching::dependent>(KernelTable&);

}  // namespace tandem::gpu::cuda::TANDEM_KERNEL_BUILD
