// See written_out_flashinfer.hpp.
#include "tests/cuda/written_out_flashinfer.hpp"

#include <algorithm>
#include <cmath>

#include "gpu/cuda/model_shape.hpp"
#include "model/float_formats.hpp"
#include "tests/cuda/device_emulation.hpp"

namespace tandem::tests {

using namespace gpu::cuda;
using namespace gpu::cuda::flashinfer;

namespace {

/// Multiprocessors of FakeDriver: FA3 runs one thread block on each.
constexpr int multiprocessors = 4;

const std::int32_t* array(const RunArgs& args, std::int64_t at) {
  return reinterpret_cast<const std::int32_t*>(args.plan + at);
}

int keys_of(const RunArgs& args, int sequence) {
  const int pages = args.page_starts[sequence + 1] - args.page_starts[sequence];
  return (pages - 1) * static_cast<int>(key_block) + args.last_page_keys[sequence];
}

struct RowResult {
  std::vector<double> out;
  double lse = -INFINITY;  ///< natural logarithm of the sum of weights
};

/// One row and head over the keys begin .. end - 1 of the pages that begin at `first_page`.
RowResult attend_row(const RunArgs& args, int row, int head, int first_page, int begin, int end) {
  const int dim = args.heads.dim;
  const auto* query = args.query + (static_cast<std::int64_t>(row) * args.heads.query + head) * dim;
  const int kv_head = head / (args.heads.query / args.heads.kv);
  RowResult result{std::vector<double>(static_cast<std::size_t>(dim))};
  double sum = 0;
  for (int key = begin; key < end; ++key) {
    const auto page = static_cast<std::int64_t>(args.pages[first_page + key / 16]);
    const auto at =
        page * args.page_stride + kv_head * args.head_stride + key % 16 * args.token_stride;
    double dot = 0;
    for (int d = 0; d < dim; ++d)
      dot += static_cast<double>(model::f32_of_bf16(query[d])) *
             static_cast<double>(model::f32_of_bf16(args.keys[at + d]));
    const double weight = std::exp(dot * static_cast<double>(args.scale));
    sum += weight;
    for (int d = 0; d < dim; ++d)
      result.out[static_cast<std::size_t>(d)] +=
          weight * static_cast<double>(model::f32_of_bf16(args.values[at + d]));
  }
  if (sum == 0) return result;
  for (auto& value : result.out) value /= sum;
  result.lse = std::log(sum);
  return result;
}

void store(std::uint16_t* to, const std::vector<double>& values) {
  for (std::size_t d = 0; d < values.size(); ++d)
    to[d] = model::bf16_of_f32(static_cast<float>(values[d]));
}

std::int64_t place(const RunArgs& args, std::int64_t row, int head) {
  return (row * args.heads.query + head) * args.heads.dim;
}

/// Writes the rows of one item to their results, or to a partial result of each.
void run_fa2_item(const RunArgs& args, const Fa2Plan& plan, std::int64_t item) {
  const int group = args.heads.query / args.heads.kv;
  const int sequence = array(args, plan.item_sequences)[item];
  const int tile = array(args, plan.item_tiles)[item];
  const int piece = array(args, plan.item_pieces)[item];
  const int piece_keys = *array(args, plan.piece_keys);
  const int first_row = args.query_starts[sequence];
  const int rows = args.query_starts[sequence + 1] - first_row;
  const int keys = keys_of(args, sequence);
  const int begin = plan.splits_keys ? std::min(piece * piece_keys, keys) : 0;
  const int end = plan.splits_keys ? std::min((piece + 1) * piece_keys, keys) : keys;
  const int pieces = plan.splits_keys ? (keys + piece_keys - 1) / piece_keys : 1;
  const int tile_rows = static_cast<int>(plan.tile_rows);
  for (int packed = tile * tile_rows; packed < std::min((tile + 1) * tile_rows, rows * group);
       ++packed) {
    const int token = packed / group;
    const int sees = std::min(end, keys - rows + token + 1);
    for (int kv_head = 0; kv_head < args.heads.kv; ++kv_head) {
      const int head = kv_head * group + packed % group;
      const auto result =
          attend_row(args, first_row + token, head, args.page_starts[sequence], begin, sees);
      const std::int64_t row = array(args, plan.out_starts)[sequence] +
                               static_cast<std::int64_t>(token) * pieces + piece;
      if (!plan.splits_keys) {
        emulation_require(row == first_row + token, "a row that lands where another belongs");
        store(args.out + place(args, row, head), result.out);
        continue;
      }
      emulation_require(row == array(args, plan.merge_starts)[first_row + token] + piece,
                        "a partial result that the merge does not find");
      auto* partials = reinterpret_cast<std::uint16_t*>(args.partials + plan.partial_out);
      store(partials + place(args, row, head), result.out);
      reinterpret_cast<float*>(args.partials + plan.partial_lse)[row * args.heads.query + head] =
          static_cast<float>(result.lse);
    }
  }
}

void merge_fa2(const RunArgs& args, const Fa2Plan& plan) {
  const auto* starts = array(args, plan.merge_starts);
  const auto* partials = reinterpret_cast<const std::uint16_t*>(args.partials + plan.partial_out);
  const auto* lse = reinterpret_cast<const float*>(args.partials + plan.partial_lse);
  for (int row = 0; row < args.rows; ++row)
    for (int head = 0; head < args.heads.query; ++head) {
      std::vector<double> out(static_cast<std::size_t>(args.heads.dim));
      double total = 0;
      for (int p = starts[row]; p < starts[row + 1]; ++p) {
        const double weight = std::exp(static_cast<double>(lse[p * args.heads.query + head]));
        if (weight == 0) continue;
        total += weight;
        for (std::size_t d = 0; d < out.size(); ++d)
          out[d] += weight * static_cast<double>(model::f32_of_bf16(
                                 partials[place(args, p, head) + static_cast<std::int64_t>(d)]));
      }
      for (auto& value : out) value /= total;
      store(args.out + place(args, row, head), out);
    }
}

Result<void> run_fa2(const RunArgs& args, const Fa2Plan& plan, Stream stream) {
  reinterpret_cast<EmulatedStream*>(stream)->enqueue([args, plan] {
    for (std::int64_t item = 0; item < plan.items; ++item) run_fa2_item(args, plan, item);
    if (plan.splits_keys) merge_fa2(args, plan);
  });
  return {};
}

Result<void> run_fa3(const RunArgs& args, const Fa3Plan& plan, Stream stream) {
  reinterpret_cast<EmulatedStream*>(stream)->enqueue([args, plan] {
    const int tile_rows = args.heads.dim == 64 ? 192 : 128;
    const auto* starts = array(args, plan.work_starts);
    for (int work = starts[0]; work < starts[multiprocessors]; ++work) {
      const int first = array(args, plan.query_starts)[work];
      const int rows = array(args, plan.query_counts)[work];
      const int keys = array(args, plan.key_counts)[work];
      const int head = array(args, plan.heads)[work];
      const int tile = array(args, plan.tiles)[work];
      for (int token = tile * tile_rows; token < std::min((tile + 1) * tile_rows, rows); ++token)
        store(args.out + place(args, first + token, head),
              attend_row(args, first + token, head, array(args, plan.page_starts)[work], 0,
                         keys - rows + token + 1)
                  .out);
    }
  });
  return {};
}

/// Writes arrays one after another and says where.
class Writer {
 public:
  explicit Writer(const PlanMemory& memory) : memory_(memory) {}
  std::int64_t write(const std::vector<std::int32_t>& values) {
    const auto at = static_cast<std::int64_t>(used_);
    emulation_require(used_ + values.size() * 4 <= memory_.bytes, "a plan beyond its memory");
    std::copy(values.begin(), values.end(), reinterpret_cast<std::int32_t*>(memory_.host + used_));
    used_ += (values.size() * 4 + 15) / 16 * 16;
    return at;
  }
  [[nodiscard]] std::int64_t used() const { return static_cast<std::int64_t>(used_); }

 private:
  const PlanMemory& memory_;
  std::size_t used_ = 0;
};

Result<Fa2Plan> plan_fa2(const PlanInput& input, const PlanMemory& memory) {
  Fa2Plan plan{.tile_rows = 64};
  const int group = input.heads.query / input.heads.kv;
  std::vector<std::int32_t> sequences, tiles, pieces, starts{0};
  for (int s = 0; s < input.sequences; ++s) {
    const int rows = input.query_starts[s + 1] - input.query_starts[s];
    for (int tile = 0; tile * 64 < rows * group; ++tile) {
      sequences.push_back(s);
      tiles.push_back(tile);
      pieces.push_back(0);
    }
    starts.push_back(starts.back() + rows);
  }
  plan.items = static_cast<std::int64_t>(sequences.size());
  Writer writer(memory);
  plan.item_sequences = writer.write(sequences);
  plan.item_tiles = writer.write(tiles);
  plan.item_pieces = writer.write(pieces);
  plan.out_starts = writer.write(starts);
  plan.piece_keys = writer.write({0});
  plan.used_bytes = writer.used();
  return plan;
}

Result<Fa3Plan> plan_fa3(const PlanInput& input, const PlanMemory& memory) {
  std::vector<std::int32_t> works{0}, tiles, firsts, pages, rows, keys, heads, sequences;
  const int tile_rows = input.heads.dim == 64 ? 192 : 128;
  for (int s = 0; s < input.sequences; ++s)
    for (int head = 0; head < input.heads.query; ++head) {
      const int count = input.query_starts[s + 1] - input.query_starts[s];
      for (int tile = 0; tile * tile_rows < count; ++tile) {
        tiles.push_back(tile);
        firsts.push_back(input.query_starts[s]);
        pages.push_back(input.page_starts[s]);
        rows.push_back(count);
        keys.push_back(input.key_counts[s]);
        heads.push_back(head);
        sequences.push_back(s);
      }
    }
  // All of it on the first multiprocessor.
  for (int m = 0; m < input.multiprocessors; ++m)
    works.push_back(static_cast<std::int32_t>(tiles.size()));
  Writer writer(memory);
  Fa3Plan plan;
  plan.tiles = writer.write(tiles);
  plan.query_starts = writer.write(firsts);
  plan.page_starts = writer.write(pages);
  plan.query_counts = writer.write(rows);
  plan.key_counts = writer.write(keys);
  plan.heads = writer.write(heads);
  plan.work_starts = writer.write(works);
  plan.sequences = writer.write(sequences);
  plan.used_bytes = writer.used();
  return plan;
}

}  // namespace

std::vector<FlashInferPlanners> flashinfer_planners() {
  if (built_in()) return {FlashInferPlanners::plain, FlashInferPlanners::built_in};
  return {FlashInferPlanners::plain};
}

Functions written_out_flashinfer(FlashInferPlanners planners) {
  Functions functions{plan_fa2, plan_fa3, run_fa2, run_fa3};
  if (planners == FlashInferPlanners::built_in) {
    functions.plan_fa2 = built_in()->plan_fa2;
    functions.plan_fa3 = built_in()->plan_fa3;
  }
  return functions;
}

}  // namespace tandem::tests
