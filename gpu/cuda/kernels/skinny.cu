// Products of few rows: out (rows, n) = a (rows, k) times weights (n, k) transposed, for 1 to 64
// rows. Bound by the bytes of the weights, which are read once: they are the 16-row side of the
// matrix instructions, the activations the 8-column side. One thread block per multiprocessor walks
// its share of the units of skinny_plan.hpp, which arrive by asynchronous copies several units
// ahead, across the ends of tiles as well. Of its eight warps four have 32 of a tile's 128 rows
// each, and two share those rows, each taking half of k: so a byte of weights costs three bytes of
// shared memory read at 64 rows, not five. Sums are added in an order that depends on n, k and the
// number of blocks alone: equal inputs give equal bits, and a row's do not depend on the others.
#include "gpu/cuda/kernels/arithmetic.cuh"
#include "gpu/cuda/kernels/families.hpp"
#include "gpu/cuda/kernels/tile_index.hpp"
#include "gpu/cuda/skinny_plan.hpp"

namespace tandem::gpu::cuda::TANDEM_KERNEL_BUILD {
namespace {

constexpr int skinny_threads = 8 * warp_size;
constexpr int skinny_chunks = skinny_step / chunk_elements;
constexpr int weight_elements = skinny_tile * skinny_step;
constexpr int warp_rows = 32;
/// Warps from this one on have the second half of a unit's k.
constexpr int second_half = skinny_tile / warp_rows;

/// Sums of a warp: its rows of weights in two fragments, by eight rows of activations each.
template <int Columns>
using Sums = float[2][Columns / 8][4];

/// A unit, by its place.
struct Place {
  int tile, step;

  TANDEM_DEVICE Place(const SkinnyPlan& plan, int unit)
      : tile(unit / plan.steps), step(unit % plan.steps) {}
  TANDEM_DEVICE void advance(const SkinnyPlan& plan) {
    if (++step < plan.steps) return;
    step = 0;
    ++tile;
  }
};

/// Calls copy(to, from, valid) for every chunk of up to `most_rows` rows of one unit's k. Chunks
/// beyond k are zero in both operands; rows beyond the last are left as they are, since each
/// touches results of its own alone, which nobody stores.
template <class Copy>
TANDEM_DEVICE void for_chunks(const std::uint16_t* matrix, int first_row, int rows, int k, int step,
                              int most_rows, std::uint16_t* to, const Copy& copy) {
  for (int i = thread_index(); i < most_rows * skinny_chunks; i += skinny_threads) {
    const int row = i / skinny_chunks, chunk = i % skinny_chunks;
    if (first_row + row >= rows) return;
    const int first = step * skinny_step + chunk * chunk_elements;
    const bool valid = first < k;
    const auto* from = matrix + static_cast<std::int64_t>(first_row + row) * k;
    copy(to + tile_at(row, chunk, skinny_chunks), valid ? from + first : from, valid);
  }
}

TANDEM_DEVICE void load_weights(const SkinnyArgs& args, Place at, std::uint16_t* stage) {
  for_chunks(args.weights, at.tile * skinny_tile, args.n, args.k, at.step, skinny_tile, stage,
             [](auto* to, const auto* from, bool valid) { copy_async(to, from, valid); });
}

template <int Columns, class Copy>
TANDEM_DEVICE void for_activations(const SkinnyArgs& args, Place at, std::uint16_t* stage,
                                   const Copy& copy) {
  for_chunks(args.a, 0, args.rows, args.k, at.step, Columns, stage + weight_elements, copy);
}

template <int Columns>
TANDEM_DEVICE void load_unit(const SkinnyArgs& args, Place at, std::uint16_t* stage) {
  load_weights(args, at, stage);
  for_activations<Columns>(args, at, stage, [](auto* to, const auto* from, bool valid) {
    copy_async(to, from, valid);
  });
}

/// Those of a unit whose weights were asked for before. Not asynchronous: they would stand behind
/// all those weights.
template <int Columns>
TANDEM_DEVICE void copy_activations(const SkinnyArgs& args, Place at, std::uint16_t* stage) {
  struct alignas(16) Chunk {
    std::uint16_t elements[chunk_elements];
  };
  for_activations<Columns>(args, at, stage, [](auto* to, const auto* from, bool valid) {
    *reinterpret_cast<Chunk*>(to) = valid ? *reinterpret_cast<const Chunk*>(from) : Chunk{};
  });
}

/// Adds the products of one unit to the warp's sums.
template <int Columns>
TANDEM_DEVICE void multiply_unit(const std::uint16_t* stage, Sums<Columns>& sums) {
  const int lane = lane_index();
  const int first_row = warp_index() % second_half * warp_rows;
  const int first_chunk = warp_index() / second_half * (skinny_chunks / 2);
  std::uint32_t weights[2][2][4];  // [fragment of rows][16 elements of k]
  TANDEM_UNROLL
  for (int m = 0; m < 2; ++m) {
    TANDEM_UNROLL
    for (int k = 0; k < 2; ++k) {
      const auto from = left_operand(lane, first_row + 16 * m, first_chunk + 2 * k);
      load_tiles(weights[m][k], stage + tile_at(from.row, from.chunk, skinny_chunks));
    }
  }
  TANDEM_UNROLL
  for (int column = 0; column < Columns / 8; ++column) {
    const auto from = long_right_operand(lane, 8 * column, first_chunk);
    std::uint32_t right[4];
    load_tiles(right, stage + weight_elements + tile_at(from.row, from.chunk, skinny_chunks));
    TANDEM_UNROLL
    for (int k = 0; k < 2; ++k) {
      TANDEM_UNROLL
      for (int m = 0; m < 2; ++m)
        multiply_tiles(sums[m][column], weights[m][k], right[2 * k], right[2 * k + 1]);
    }
  }
}

/// Writes one result to where the caller of the product wants it.
TANDEM_DEVICE void store_result(const SkinnyArgs& args, int column, int row, float value) {
  if (column >= args.n) return;
  const std::int64_t at = row * args.out_stride + column;
  if (args.output == GemmOutput::bf16) {
    static_cast<std::uint16_t*>(args.out)[at] = bf16_of_float(value);
    return;
  }
  float* out = static_cast<float*>(args.out) + at;
  *out = args.output == GemmOutput::f32_added ? *out + value : value;
}

/// Adds up what the two halves of the warps have, a few rows of activations at a time, and gives
/// each result to `take`(row, column of the tile, value): neighbours of a thread have neighbouring
/// columns.
template <int Columns, class Take>
TANDEM_DEVICE void gather(const Sums<Columns>& sums, float* scratch, int rows, const Take& take) {
  constexpr int pass = skinny_pass_columns(Columns);
  const int lane = lane_index(), first = warp_index() % second_half * warp_rows;
  const auto at = [&](int m, int column, int i) {
    return scratch + (8 * column + fragment_column(lane, i)) * skinny_pass_stride + first + 16 * m +
           fragment_row(lane, i);
  };
  TANDEM_UNROLL
  for (int begin = 0; begin < Columns; begin += pass) {
    if (begin >= rows) return;
    block_barrier();  // the pass before was read
    TANDEM_UNROLL
    for (int half = 1; half >= 0; --half) {
      if (warp_index() / second_half == half) {
        TANDEM_UNROLL
        for (int m = 0; m < 2; ++m) {
          TANDEM_UNROLL
          for (int column = 0; column < pass / 8; ++column) {
            TANDEM_UNROLL
            for (int i = 0; i < 4; ++i) {
              const float own = sums[m][begin / 8 + column][i];
              float* to = at(m, column, i);
              *to = half == 1 ? own : own + *to;
            }
          }
        }
      }
      block_barrier();
    }
    for (int i = thread_index(); i < pass * skinny_tile; i += skinny_threads) {
      const int row = begin + i / skinny_tile, column = i % skinny_tile;
      if (row >= rows) break;
      take(row, column, scratch[(row - begin) * skinny_pass_stride + column]);
    }
  }
}

/// Puts a shared tile together from the partial sums of all its blocks, by the last to arrive.
template <int Columns>
TANDEM_DEVICE void merge_tile(const SkinnyArgs& args, const SkinnyPlan& plan, int tile) {
  const auto first_block = plan.first_block(tile), last_block = plan.last_block(tile);
  for (int i = thread_index(); i < args.rows * skinny_tile; i += skinny_threads) {
    float sum = 0;
    for (auto block = first_block; block <= last_block; ++block)
      sum += args.partials[plan.slot(tile, block) * skinny_slot_floats(Columns) + i];
    store_result(args, tile * skinny_tile + i % skinny_tile, i / skinny_tile, sum);
  }
}

/// A block's part of a tile is summed: stores it if it is the whole tile; else leaves it to the
/// last of the tile's blocks.
template <int Columns>
TANDEM_DEVICE void finish_tile(const SkinnyArgs& args, const SkinnyPlan& plan, int tile,
                               const Sums<Columns>& sums, float* scratch, std::uint32_t* last) {
  const auto others = static_cast<std::uint32_t>(plan.last_block(tile) - plan.first_block(tile));
  if (others == 0) {
    gather<Columns>(sums, scratch, args.rows, [&](int row, int column, float value) {
      store_result(args, tile * skinny_tile + column, row, value);
    });
    return;
  }
  float* partial = args.partials + plan.slot(tile, block_x()) * skinny_slot_floats(Columns);
  gather<Columns>(sums, scratch, args.rows, [&](int row, int column, float value) {
    partial[row * skinny_tile + column] = value;
  });
  block_barrier();
  if (thread_index() == 0)
    *last = count_arrival(args.counters + plan.counter(tile), others) == others ? 1 : 0;
  block_barrier();
  if (*last != 0) merge_tile<Columns>(args, plan, tile);
}

template <int Columns>
TANDEM_KERNEL void TANDEM_LAUNCH_BOUNDS(skinny_threads, 1) skinny_kernel(SkinnyArgs args) {
  constexpr int stage_elements = skinny_stage_elements(Columns);
  auto* ring = reinterpret_cast<std::uint16_t*>(shared_memory());
  auto* scratch = reinterpret_cast<float*>(ring + skinny_stages * stage_elements);
  auto* last = reinterpret_cast<std::uint32_t*>(scratch + skinny_pass_columns(Columns) *
                                                              skinny_pass_stride);
  const SkinnyPlan plan(args.n, args.k, args.blocks);
  int unit = plan.first_unit(block_x());
  const int end = plan.first_unit(block_x() + 1);
  Place at(plan, unit), loading = at;
  // No kernel writes weights: they are asked for while the kernel before comes to its end.
  TANDEM_UNROLL
  for (int stage = 0; stage < skinny_stages - 1; ++stage) {
    if (unit + stage < end) load_weights(args, loading, ring + stage * stage_elements);
    loading.advance(plan);
    copy_async_commit();
  }
  wait_for_stream();
  Place activations = at;
  TANDEM_UNROLL
  for (int stage = 0; stage < skinny_stages - 1; ++stage) {
    if (unit + stage < end)
      copy_activations<Columns>(args, activations, ring + stage * stage_elements);
    activations.advance(plan);
  }
  Sums<Columns> sums = {};
  for (int stage = 0; unit < end; ++unit) {
    copy_async_wait<skinny_stages - 2>();
    // All threads' copies have arrived, and the unit before was used: its stage is free.
    block_barrier();
    const int free = stage == 0 ? skinny_stages - 1 : stage - 1;
    if (unit + skinny_stages - 1 < end)
      load_unit<Columns>(args, loading, ring + free * stage_elements);
    loading.advance(plan);
    copy_async_commit();
    multiply_unit<Columns>(ring + stage * stage_elements, sums);
    if (at.step + 1 == plan.steps || unit + 1 == end) {
      finish_tile<Columns>(args, plan, at.tile, sums, scratch, last);
      TANDEM_UNROLL
      for (int m = 0; m < 2; ++m) {
        TANDEM_UNROLL
        for (int column = 0; column < Columns / 8; ++column) {
          TANDEM_UNROLL
          for (int i = 0; i < 4; ++i) sums[m][column][i] = 0;
        }
      }
    }
    at.advance(plan);
    stage = stage + 1 == skinny_stages ? 0 : stage + 1;
  }
}

template <Launching how, int Columns>
void skinny_of_columns(const SkinnyArgs& args, Stream stream) {
  launch<how, skinny_kernel<Columns>>(args.blocks, 1, skinny_threads, skinny_shared_bytes(Columns),
                                 stream, args);
}

template <Launching how>
void skinny(const SkinnyArgs& args, Stream stream) {
  switch (skinny_columns(args.rows)) {
    case 8: return skinny_of_columns<how, 8>(args, stream);
    case 16: return skinny_of_columns<how, 16>(args, stream);
    case 32: return skinny_of_columns<how, 32>(args, stream);
    default: return skinny_of_columns<how, 64>(args, stream);
  }
}

}  // namespace

template <Launching how>
void add_skinny_kernels(KernelTable& table) {
  table.skinny = skinny<how>;
}
template void add_skinny_kernels<Launching::serial>(KernelTable&);
template void add_skinny_kernels<Launching::dependent>(KernelTable&);

}  // namespace tandem::gpu::cuda::TANDEM_KERNEL_BUILD
