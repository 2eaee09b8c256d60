// Attention over the paged pool, for the items of attend_schedule.hpp. A thread block takes one
// item and one KV head: a tile of packed query rows walks its keys in steps of 64, K and V arriving
// by asynchronous copies while the step before is computed. Products are mma.sync bf16 with f32
// sums; softmax is online. Prefill: four warps have 16 of 64 rows each. Decode: one tile of 16
// rows, of which each warp takes 16 of the 64 keys, and the four results are merged at the end.
// Prefill is bound by arithmetic, decode by the bytes of K and V. Source: FlashAttention-2 (Dao,
// 2023) for the order of the loops; the packing of heads that share K and V as in FlashDecoding.
#include "gpu/cuda/kernels/arithmetic.cuh"
#include "gpu/cuda/kernels/families.hpp"
#include "gpu/cuda/kernels/tile_index.hpp"

namespace tandem::gpu::cuda::TANDEM_KERNEL_BUILD {
namespace {

constexpr int warps = 4;
constexpr int attend_threads = warps * warp_size;
constexpr int stages = 2;
constexpr int keys = static_cast<int>(key_tile);
constexpr float log2_e = 1.44269504F;

/// Head dimensions are padded to Width; SplitKeys is decode.
template <int Width, bool SplitKeys>
struct Shape {
  static constexpr int width = Width;
  static constexpr int chunks = Width / chunk_elements;
  static constexpr int tile_rows =
      static_cast<int>(SplitKeys ? decode_tile_rows : prefill_tile_rows);
  static constexpr int keys_of_warp = SplitKeys ? keys / warps : keys;
  static constexpr int query_elements = tile_rows * Width;
  static constexpr int stage_elements = keys * Width;  ///< of K, and again of V
  static constexpr int bytes = 2 * (query_elements + stages * 2 * stage_elements);
};

/// What a block works on.
struct Walk {
  AttendItem item;
  SequenceInput sequence;
  int kv_head, group, packed_rows;

  TANDEM_DEVICE Walk(const AttendArgs& args)
      : item(args.items[block_x()]),
        sequence(args.sequences[item.sequence]),
        kv_head(block_y()),
        group(args.heads / args.kv_heads),
        packed_rows(sequence.num_tokens * group) {}

  /// The last position that packed row `row` of the tile sees.
  TANDEM_DEVICE int position(int row) const {
    return sequence.context + (item.first + row) / group;
  }
  TANDEM_DEVICE bool exists(int row) const { return item.first + row < packed_rows; }
  /// The row of the iteration, and the query head, of packed row `row` of the tile.
  TANDEM_DEVICE std::int64_t row_head(int row, int heads) const {
    const int packed = item.first + row;
    const std::int64_t at = sequence.first_row + packed / group;
    return at * heads + kv_head * group + packed % group;
  }
};

template <class S>
TANDEM_DEVICE void load_queries(const AttendArgs& args, const Walk& walk, std::uint16_t* tile) {
  for (int i = thread_index(); i < S::tile_rows * S::chunks; i += attend_threads) {
    const int row = i / S::chunks, chunk = i % S::chunks;
    const bool valid = walk.exists(row) && chunk * chunk_elements < args.stored_head_dim;
    const auto* from = args.query;
    if (valid)
      from += walk.row_head(row, args.heads) * args.stored_head_dim + chunk * chunk_elements;
    copy_async(tile + tile_at(row, chunk, S::chunks), from, valid);
  }
}

/// K and V of the keys from `first` on, into one stage. Keys beyond the item's end are zero.
template <class S>
TANDEM_DEVICE void load_keys(const AttendArgs& args, const Walk& walk, int first,
                             std::uint16_t* stage) {
  const auto* table = args.tables + walk.sequence.table;
  for (int i = thread_index(); i < keys * S::chunks; i += attend_threads) {
    const int row = i / S::chunks, chunk = i % S::chunks;
    const int key = first + row;
    const bool valid = key < walk.item.key_end && chunk * chunk_elements < args.stored_head_dim;
    const auto* from = args.pool;
    if (valid)
      from +=
          args.strides.key_at(table[key / key_block], args.layer, walk.kv_head, key % key_block) +
          chunk * chunk_elements;
    auto* to = stage + tile_at(row, chunk, S::chunks);
    copy_async(to, from, valid);
    copy_async(to + S::stage_elements, valid ? from + args.strides.value : from, valid);
  }
}

/// Online softmax of a warp's 16 rows: each lane has parts of two of them.
template <class S>
struct Accumulator {
  float out[S::width / 8][4] = {};
  float top[2], sum[2] = {0, 0};

  TANDEM_DEVICE Accumulator() { top[0] = top[1] = -INFINITY; }
};

/// scores: the products of queries and keys as they come, turned into weights relative to the
/// highest so far; what was summed before is scaled to it.
template <class S, int Tiles>
TANDEM_DEVICE void soften(float (&scores)[Tiles][4], float scale, Accumulator<S>& sums) {
  TANDEM_UNROLL
  for (int half = 0; half < 2; ++half) {
    float top = sums.top[half];
    TANDEM_UNROLL
    for (int n = 0; n < Tiles; ++n)
      top = fmaxf(top, fmaxf(scores[n][2 * half], scores[n][2 * half + 1]));
    top = fmaxf(top, shuffle_xor(top, 1));
    top = fmaxf(top, shuffle_xor(top, 2));
    // A row that has seen no key yet: everything stays zero.
    const float base = top == -INFINITY ? 0.0F : top;
    const float shrink = exp2_of((sums.top[half] - base) * scale);
    sums.top[half] = top;
    float sum = 0;
    TANDEM_UNROLL
    for (int n = 0; n < Tiles; ++n) {
      TANDEM_UNROLL
      for (int i = 2 * half; i < 2 * half + 2; ++i) {
        scores[n][i] = exp2_of((scores[n][i] - base) * scale);
        sum += scores[n][i];
      }
    }
    sums.sum[half] = sums.sum[half] * shrink + sum;
    TANDEM_UNROLL
    for (int d = 0; d < S::width / 8; ++d) {
      sums.out[d][2 * half] *= shrink;
      sums.out[d][2 * half + 1] *= shrink;
    }
  }
}

/// One step: the warp's rows against its keys of one stage, which begin at key `first`.
template <class S>
TANDEM_DEVICE void step(const AttendArgs& args, const Walk& walk, int first, int warp_row,
                        int warp_key, const std::uint32_t (&query)[S::width / 16][4],
                        const std::uint16_t* stage, Accumulator<S>& sums) {
  constexpr int tiles = S::keys_of_warp / 8;
  const int lane = lane_index();
  float scores[tiles][4] = {};
  TANDEM_UNROLL
  for (int pair = 0; pair < tiles / 2; ++pair) {
    TANDEM_UNROLL
    for (int k = 0; k < S::width / 16; ++k) {
      const auto from = key_operand(lane, warp_key + pair * 16, 2 * k);
      std::uint32_t right[4];
      load_tiles(right, stage + tile_at(from.row, from.chunk, S::chunks));
      multiply_tiles(scores[2 * pair], query[k], right[0], right[1]);
      multiply_tiles(scores[2 * pair + 1], query[k], right[2], right[3]);
    }
  }
  // Only the last steps of a walk meet keys that some row does not see.
  if (first + keys > walk.position(0) + 1 || first + keys > walk.item.key_end) {
    TANDEM_UNROLL
    for (int i = 0; i < 4; ++i) {
      const int position = walk.position(warp_row + fragment_row(lane, i));
      TANDEM_UNROLL
      for (int n = 0; n < tiles; ++n) {
        const int key = first + warp_key + n * 8 + fragment_column(lane, i);
        if (key > position || key >= walk.item.key_end) scores[n][i] = -INFINITY;
      }
    }
  }
  soften<S, tiles>(scores, args.scale * log2_e, sums);
  TANDEM_UNROLL
  for (int pair = 0; pair < tiles / 2; ++pair) {
    const auto& a = scores[2 * pair];
    const auto& b = scores[2 * pair + 1];
    const std::uint32_t weights[4] = {pack_bf16(a[0], a[1]), pack_bf16(a[2], a[3]),
                                      pack_bf16(b[0], b[1]), pack_bf16(b[2], b[3])};
    TANDEM_UNROLL
    for (int d = 0; d < S::width / 16; ++d) {
      const auto from = value_operand(lane, warp_key + pair * 16, 2 * d);
      std::uint32_t right[4];
      load_tiles_transposed(right,
                            stage + S::stage_elements + tile_at(from.row, from.chunk, S::chunks));
      multiply_tiles(sums.out[2 * d], weights, right[0], right[1]);
      multiply_tiles(sums.out[2 * d + 1], weights, right[2], right[3]);
    }
  }
}

/// Writes two neighbouring elements of packed row `row` of the tile: the result, or a part of it.
template <class S>
TANDEM_DEVICE void store(const AttendArgs& args, const Walk& walk, int row, int element, float a,
                         float b) {
  if (!walk.exists(row) || element >= args.head_dim) return;
  if (walk.item.partial < 0) {
    auto* to = args.out + walk.row_head(row, args.heads) * args.head_dim + element;
    *reinterpret_cast<std::uint32_t*>(to) = pack_bf16(a, b);
    return;
  }
  const std::int64_t partial =
      (static_cast<std::int64_t>(walk.item.partial) * args.kv_heads + walk.kv_head) * S::tile_rows +
      row;
  float* to = args.partial_out + partial * args.head_dim + element;
  to[0] = a;
  to[1] = b;
}

/// The logarithm (base 2) of a row's sum of weights, for the merge.
template <class S>
TANDEM_DEVICE void store_lse(const AttendArgs& args, const Walk& walk, int row, float top,
                             float sum) {
  if (walk.item.partial < 0 || !walk.exists(row)) return;
  const std::int64_t partial =
      (static_cast<std::int64_t>(walk.item.partial) * args.kv_heads + walk.kv_head) * S::tile_rows +
      row;
  args.partial_lse[partial] = sum > 0 ? top * args.scale * log2_e + log2_of(sum) : -INFINITY;
}

template <class S>
TANDEM_DEVICE void finish_rows(const AttendArgs& args, const Walk& walk, int warp_row,
                               const Accumulator<S>& sums) {
  const int lane = lane_index();
  TANDEM_UNROLL
  for (int half = 0; half < 2; ++half) {
    const int row = warp_row + fragment_row(lane, 2 * half);
    const float inverse = sums.sum[half] > 0 ? 1.0F / sums.sum[half] : 0.0F;
    TANDEM_UNROLL
    for (int d = 0; d < S::width / 8; ++d)
      store<S>(args, walk, row, d * 8 + fragment_column(lane, 0), sums.out[d][2 * half] * inverse,
               sums.out[d][2 * half + 1] * inverse);
    if (lane % 4 == 0) store_lse<S>(args, walk, row, sums.top[half], sums.sum[half]);
  }
}

/// The four warps have the same rows and different keys. `memory` holds what each found; nobody
/// reads what was there before.
template <class S>
TANDEM_DEVICE void finish_keys(const AttendArgs& args, const Walk& walk, const Accumulator<S>& sums,
                               float* memory) {
  constexpr int rows = S::tile_rows;
  float* tops = memory;                 // [warp][row]
  float* totals = tops + warps * rows;  // [warp][row]
  float* outs = totals + warps * rows;  // [warp][row][width]
  const int lane = lane_index(), warp = warp_index();
  TANDEM_UNROLL
  for (int half = 0; half < 2; ++half) {
    const int row = fragment_row(lane, 2 * half);
    if (lane % 4 == 0) {
      tops[warp * rows + row] = sums.top[half];
      totals[warp * rows + row] = sums.sum[half];
    }
    TANDEM_UNROLL
    for (int d = 0; d < S::width / 8; ++d) {
      float* to = outs + (warp * rows + row) * S::width + d * 8 + fragment_column(lane, 0);
      to[0] = sums.out[d][2 * half];
      to[1] = sums.out[d][2 * half + 1];
    }
  }
  block_barrier();
  for (int i = thread_index(); i < rows * S::width / 2; i += attend_threads) {
    const int row = i / (S::width / 2), element = i % (S::width / 2) * 2;
    float top = -INFINITY;
    for (int w = 0; w < warps; ++w) top = fmaxf(top, tops[w * rows + row]);
    float sum = 0, a = 0, b = 0;
    for (int w = 0; w < warps; ++w) {
      if (tops[w * rows + row] == -INFINITY) continue;  // saw none of the keys
      const float weight = exp2_of((tops[w * rows + row] - top) * args.scale * log2_e);
      const float* from = outs + (w * rows + row) * S::width + element;
      sum += weight * totals[w * rows + row];
      a += weight * from[0];
      b += weight * from[1];
    }
    const float inverse = sum > 0 ? 1.0F / sum : 0.0F;
    store<S>(args, walk, row, element, a * inverse, b * inverse);
    if (element == 0) store_lse<S>(args, walk, row, top, sum);
  }
}

template <int Width, bool SplitKeys>
TANDEM_KERNEL void TANDEM_LAUNCH_BOUNDS(attend_threads) attend_kernel(AttendArgs args) {
  using S = Shape<Width, SplitKeys>;
  wait_for_stream();
  if (block_x() >= static_cast<int>(*args.num_items)) return;
  const Walk walk(args);
  auto* queries = reinterpret_cast<std::uint16_t*>(shared_memory());
  auto* ring = queries + S::query_elements;
  const int warp_row = SplitKeys ? 0 : warp_index() * 16;
  const int warp_key = SplitKeys ? warp_index() * S::keys_of_warp : 0;

  load_queries<S>(args, walk, queries);
  load_keys<S>(args, walk, walk.item.key_begin, ring);
  copy_async_commit();
  std::uint32_t query[Width / 16][4];
  Accumulator<S> sums;
  int turn = 0;
  for (int first = walk.item.key_begin; first < walk.item.key_end; first += keys, turn ^= 1) {
    if (first + keys < walk.item.key_end)
      load_keys<S>(args, walk, first + keys, ring + (turn ^ 1) * 2 * S::stage_elements);
    copy_async_commit();
    copy_async_wait<1>();
    block_barrier();
    if (first == walk.item.key_begin) {
      TANDEM_UNROLL
      for (int k = 0; k < Width / 16; ++k) {
        const auto from = left_operand(lane_index(), warp_row, 2 * k);
        load_tiles(query[k], queries + tile_at(from.row, from.chunk, S::chunks));
      }
    }
    step<S>(args, walk, first, warp_row, warp_key, query, ring + turn * 2 * S::stage_elements,
            sums);
    block_barrier();  // Before this stage is written again.
  }
  TANDEM_UNROLL
  for (int half = 0; half < 2; ++half) {
    sums.sum[half] += shuffle_xor(sums.sum[half], 1);
    sums.sum[half] += shuffle_xor(sums.sum[half], 2);
  }
  if constexpr (SplitKeys)
    finish_keys<S>(args, walk, sums, reinterpret_cast<float*>(ring));
  else
    finish_rows<S>(args, walk, warp_row, sums);
}

TANDEM_KERNEL void merge_kernel(MergeArgs args) {
  wait_for_stream();
  if (block_x() >= static_cast<int>(*args.num_items)) return;
  const MergeItem item = args.items[block_x()];
  const SequenceInput sequence = args.sequences[item.sequence];
  const int group = args.heads / args.kv_heads, kv_head = block_y();
  for (int i = thread_index(); i < args.tile_rows * args.head_dim; i += num_threads()) {
    const int row = i / args.head_dim, element = i % args.head_dim;
    const int packed = item.first + row;
    if (packed >= sequence.num_tokens * group) return;
    const auto at = [&](int piece) {
      return (static_cast<std::int64_t>(item.first_partial + piece) * args.kv_heads + kv_head) *
                 args.tile_rows +
             row;
    };
    float top = -INFINITY;
    for (int p = 0; p < item.num_partials; ++p) top = fmaxf(top, args.partial_lse[at(p)]);
    float total = 0, mixed = 0;
    for (int p = 0; p < item.num_partials; ++p) {
      const float weight = exp2_of(args.partial_lse[at(p)] - top);
      total += weight;
      mixed += weight * args.partial_out[at(p) * args.head_dim + element];
    }
    const std::int64_t token = sequence.first_row + packed / group;
    args.out[(token * args.heads + kv_head * group + packed % group) * args.head_dim + element] =
        bf16_of_float(mixed / total);
  }
}

template <Launching how, int Width, bool SplitKeys>
void attend_of_width(const AttendArgs& args, std::int64_t items, Stream stream) {
  launch<how, attend_kernel<Width, SplitKeys>>(items, args.kv_heads, attend_threads,
                                               Shape<Width, SplitKeys>::bytes, stream, args);
}

template <Launching how, bool SplitKeys>
void attend(const AttendArgs& args, std::int64_t items, Stream stream) {
  if (args.stored_head_dim <= 32) return attend_of_width<how, 32, SplitKeys>(args, items, stream);
  if (args.stored_head_dim <= 64) return attend_of_width<how, 64, SplitKeys>(args, items, stream);
  attend_of_width<how, 128, SplitKeys>(args, items, stream);
}

template <Launching how>
void merge(const MergeArgs& args, std::int64_t items, Stream stream) {
  launch<how, merge_kernel>(items, args.kv_heads, attend_threads, 0, stream, args);
}

}  // namespace

template <Launching how>
void add_attend_kernels(KernelTable& table) {
  table.attend_decode = attend<how, true>;
  table.attend_prefill = attend<how, false>;
  table.merge = merge<how>;
}
template void add_attend_kernels<Launching::serial>(KernelTable&);
template void add_attend_kernels<Launching::dependent>(KernelTable&);

}  // namespace tandem::gpu::cuda::TANDEM_KERNEL_BUILD
