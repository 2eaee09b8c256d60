// The attention kernels, on the emulated device, against attention written out in double precision:
// heads of all widths, groups, histories, split walks, many sequences at once. Outputs begin as
// NaN.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <random>

#include "gpu/cuda/iteration.hpp"
#include "gpu/cuda/kernels/tile_index.hpp"
#include "model/float_formats.hpp"
#include "tests/cuda/emulated_kernels.hpp"

using namespace tandem;
using namespace tandem::gpu::cuda;

namespace {

constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();

struct Part {
  std::uint32_t context, tokens;
};

/// A pool, queries, and what the kernels make of them.
class World {
 public:
  World(std::int64_t kv_heads, std::int64_t group, std::int64_t head_dim, unsigned seed)
      : random_(seed) {
    shape_.layers = 2;
    shape_.vocab = 100;
    shape_.kv_heads = kv_heads;
    shape_.heads = kv_heads * group;
    shape_.head_dim = head_dim;
    shape_.stored_head_dim = round_up(head_dim, head_dim_multiple);
  }

  /// The largest difference from the truth over all rows.
  double run(const std::vector<Part>& parts, std::int64_t extra_items) {
    IterationCapacity capacity{.rows = 0,
                               .sequences = static_cast<std::int64_t>(parts.size()),
                               .context = 0,
                               .extra_items = extra_items,
                               .group = shape_.group()};
    std::int64_t num_blocks = 3;
    for (const auto& part : parts) {
      capacity.rows += part.tokens;
      capacity.context = std::max<std::int64_t>(capacity.context, part.context + part.tokens);
      num_blocks += blocks_for(Tokens(part.context + part.tokens)).value();
    }
    const auto plan = plan_of(parts, num_blocks);
    const IterationLayout layout(capacity);
    std::vector<std::byte> buffer(static_cast<std::size_t>(layout.bytes().value()));
    const auto view = layout.view(buffer.data());
    IterationPacker packer(shape_, capacity, num_blocks);
    const std::vector<SlotState> slots(parts.size());
    packer.pack(plan, {}, slots, {}, view);
    fill(capacity.rows, num_blocks);

    const KvStrides strides(shape_, num_blocks);
    const auto partial_rows =
        static_cast<std::size_t>(2 * extra_items * shape_.kv_heads * prefill_tile_rows);
    std::vector<float> partial_out(partial_rows * static_cast<std::size_t>(shape_.head_dim),
                                   not_a_number);
    std::vector<float> partial_lse(partial_rows, not_a_number);
    AttendArgs args{.num_items = &view.header->decode_items,
                    .items = view.decode_items,
                    .sequences = view.sequences,
                    .tables = view.tables,
                    .query = query_.data(),
                    .pool = pool_.data(),
                    .out = out_.data(),
                    .partial_out = partial_out.data(),
                    .partial_lse = partial_lse.data(),
                    .strides = strides,
                    .layer = 1,
                    .heads = static_cast<std::int32_t>(shape_.heads),
                    .kv_heads = static_cast<std::int32_t>(shape_.kv_heads),
                    .head_dim = static_cast<std::int32_t>(shape_.head_dim),
                    .stored_head_dim = static_cast<std::int32_t>(shape_.stored_head_dim),
                    .scale = 1.0F / std::sqrt(static_cast<float>(shape_.head_dim))};
    MergeArgs merge{.num_items = &view.header->decode_merges,
                    .items = view.decode_merges,
                    .sequences = view.sequences,
                    .partial_out = partial_out.data(),
                    .partial_lse = partial_lse.data(),
                    .out = out_.data(),
                    .heads = args.heads,
                    .kv_heads = args.kv_heads,
                    .head_dim = args.head_dim,
                    .tile_rows = static_cast<std::int32_t>(decode_tile_rows)};
    const auto& kernels = tests::emulated_kernels();
    // Grids as a graph has them: larger than what there is to do.
    kernels.attend_decode(args, view.header->decode_items + 2, nullptr);
    kernels.merge(merge, view.header->decode_merges + 1, nullptr);
    std::fill(partial_out.begin(), partial_out.end(), not_a_number);
    std::fill(partial_lse.begin(), partial_lse.end(), not_a_number);
    args.num_items = &view.header->prefill_items;
    args.items = view.prefill_items;
    merge.num_items = &view.header->prefill_merges;
    merge.items = view.prefill_merges;
    merge.tile_rows = static_cast<std::int32_t>(prefill_tile_rows);
    kernels.attend_prefill(args, view.header->prefill_items, nullptr);
    kernels.merge(merge, view.header->prefill_merges, nullptr);
    merges_seen += view.header->decode_merges + view.header->prefill_merges;
    return worst(plan, view, strides);
  }

  std::uint32_t merges_seen = 0;

 private:
  Plan plan_of(const std::vector<Part>& parts, std::int64_t num_blocks) {
    std::vector<std::uint32_t> ids(static_cast<std::size_t>(num_blocks));
    for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<std::uint32_t>(i);
    std::shuffle(ids.begin(), ids.end(), random_);
    Plan plan;
    std::uint32_t slot = 0;
    for (const auto& part : parts) {
      BlockTable table;
      for (auto b = blocks_for(Tokens(part.context + part.tokens)).value(); b > 0; --b) {
        table.push_back(BlockId(ids.back()));
        ids.pop_back();
      }
      plan.slices.push_back(
          {.slot = SlotId(slot++),
           .context = part.context,
           .num_tokens = part.tokens,
           .tokens = {static_cast<std::uint32_t>(plan.token_ids.size()), part.tokens},
           .blocks = std::make_shared<const BlockTable>(table)});
      plan.token_ids.resize(plan.token_ids.size() + part.tokens);
    }
    return plan;
  }

  void fill(std::int64_t rows, std::int64_t num_blocks) {
    std::normal_distribution<float> normal;
    const auto random_bf16 = [&] { return model::bf16_of_f32(normal(random_)); };
    query_.assign(static_cast<std::size_t>(rows * shape_.heads * shape_.stored_head_dim), 0);
    for (std::size_t i = 0; i < query_.size(); ++i)
      if (static_cast<std::int64_t>(i) % shape_.stored_head_dim < shape_.head_dim)
        query_[i] = random_bf16();
    pool_.assign(static_cast<std::size_t>(kv_block_bytes(shape_).value() / 2 * num_blocks), 0);
    for (std::size_t i = 0; i < pool_.size(); ++i)
      if (static_cast<std::int64_t>(i) % shape_.stored_head_dim < shape_.head_dim)
        pool_[i] = random_bf16();
    out_.assign(static_cast<std::size_t>(rows * shape_.query_width()),
                model::bf16_of_f32(not_a_number));
  }

  double worst(const Plan& plan, const IterationView& view, const KvStrides& strides) const {
    double largest = 0;
    for (std::size_t s = 0; s < plan.slices.size(); ++s) {
      const auto& slice = plan.slices[s];
      for (std::uint32_t t = 0; t < slice.num_tokens; ++t) {
        const std::int64_t row = view.sequences[s].first_row + t;
        for (std::int64_t head = 0; head < shape_.heads; ++head) {
          const auto truth = attended(row, head, slice.context + t, *slice.blocks, strides);
          for (std::int64_t d = 0; d < shape_.head_dim; ++d) {
            const auto at = row * shape_.query_width() + head * shape_.head_dim + d;
            const double ours =
                static_cast<double>(model::f32_of_bf16(out_[static_cast<std::size_t>(at)]));
            const double difference = std::abs(ours - truth[static_cast<std::size_t>(d)]);
            if (!(difference <= largest)) largest = difference;
          }
        }
      }
    }
    return largest;
  }

  std::vector<double> attended(std::int64_t row, std::int64_t head, std::int64_t position,
                               const BlockTable& table, const KvStrides& strides) const {
    const auto number = [](std::uint16_t bits) {
      return static_cast<double>(model::f32_of_bf16(bits));
    };
    const auto* q =
        &query_[static_cast<std::size_t>((row * shape_.heads + head) * shape_.stored_head_dim)];
    std::vector<double> weights;
    std::vector<const std::uint16_t*> values;
    double sum = 0;
    for (std::int64_t key = 0; key <= position; ++key) {
      const auto block = static_cast<std::int64_t>(raw(table[static_cast<std::size_t>(key / 16)]));
      const auto* k = pool_.data() + strides.key_at(block, 1, head / shape_.group(), key % 16);
      double dot = 0;
      for (std::int64_t d = 0; d < shape_.head_dim; ++d) dot += number(q[d]) * number(k[d]);
      weights.push_back(std::exp(dot / std::sqrt(static_cast<double>(shape_.head_dim))));
      values.push_back(k + strides.value);
      sum += weights.back();
    }
    std::vector<double> result(static_cast<std::size_t>(shape_.head_dim));
    for (std::size_t key = 0; key < weights.size(); ++key)
      for (std::size_t d = 0; d < result.size(); ++d)
        result[d] += weights[key] / sum * number(values[key][d]);
    return result;
  }

  std::mt19937 random_;
  ModelShape shape_;
  std::vector<std::uint16_t> query_, pool_, out_;
};

/// Values are normal with deviation 1; weights and results are rounded to bf16.
constexpr double tolerance = 2e-2;

}  // namespace

TEST_CASE("attention of decode rows is the written-out one, for every width of heads") {
  for (const std::int64_t head_dim : {8, 12, 24, 32, 40, 64, 80, 128}) {
    World world(2, 3, head_dim, static_cast<unsigned>(head_dim));
    INFO("head_dim " << head_dim);
    CHECK(world.run({{0, 1}, {5, 1}, {63, 1}, {64, 1}, {200, 1}}, 8) < tolerance);
  }
}

TEST_CASE("attention of prefill chunks is the written-out one, with and without history") {
  for (const std::int64_t head_dim : {16, 64, 128}) {
    World world(2, 2, head_dim, static_cast<unsigned>(head_dim));
    INFO("head_dim " << head_dim);
    CHECK(world.run({{0, 2}, {0, 33}, {17, 50}, {130, 7}}, 8) < tolerance);
  }
}

TEST_CASE("groups of any size share their keys, tiles that end inside a token included") {
  for (const std::int64_t group : {1, 5, 7, 8, 17}) {
    World world(1, group, 32, static_cast<unsigned>(group));
    INFO("group " << group);
    CHECK(world.run({{70, 1}, {3, 21}, {100, 1}, {0, 1}}, 8) < tolerance);
  }
}

TEST_CASE("walks that are split into pieces and merged give the same") {
  World world(2, 4, 64, 3);
  CHECK(world.run({{1500, 1}, {700, 1}, {10, 1}, {900, 40}, {256, 1}, {400, 3}}, 8) < tolerance);
  CHECK(world.merges_seen >= 3);
}

TEST_CASE("a chunk of a tile's rows may see none of the keys of a piece") {
  // 40 tokens after 600: pieces of 256 keys, of which the last begins inside the chunk.
  World world(1, 1, 32, 9);
  CHECK(world.run({{490, 60}}, 8) < tolerance);
  CHECK(world.merges_seen == 1);
}

TEST_CASE("chunks of shared memory are exchanged so that eight rows lie in eight bank groups") {
  for (const int chunks : {4, 8, 16}) {
    std::vector<bool> used(static_cast<std::size_t>(64 * chunks));
    for (int row = 0; row < 64; ++row)
      for (int chunk = 0; chunk < chunks; ++chunk) {
        const int at = tile_at(row, chunk, chunks);
        REQUIRE(at % chunk_elements == 0);
        REQUIRE(at / chunk_elements < 64 * chunks);
        REQUIRE_FALSE(used[static_cast<std::size_t>(at / chunk_elements)]);
        used[static_cast<std::size_t>(at / chunk_elements)] = true;
      }
    for (int row = 0; row < 64; row += 8)
      for (int chunk = 0; chunk < chunks; ++chunk) {
        unsigned groups = 0;
        for (int r = row; r < row + 8; ++r)
          groups |= 1U << tile_at(r, chunk, chunks) / chunk_elements % 8;
        CHECK(groups == 0xFF);
      }
  }
}
