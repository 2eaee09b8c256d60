// What the CUDA backend plans on the host, against references written to be obviously right: where
// keys lie, which thread block attends to what, buckets, and how memory is divided.
#include <catch2/catch.hpp>
#include <map>
#include <random>
#include <set>

#include "gpu/cuda/attend_schedule.hpp"
#include "gpu/cuda/buckets.hpp"
#include "gpu/cuda/memory_plan.hpp"
#include "gpu/cuda/model_shape.hpp"

using namespace tandem;
using namespace tandem::gpu::cuda;

namespace {

ModelShape small_shape() {
  ModelShape shape;
  shape.layers = 3;
  shape.hidden = 48;
  shape.intermediate = 72;
  shape.vocab = 203;
  shape.heads = 6;
  shape.kv_heads = 2;
  shape.head_dim = 24;
  shape.stored_head_dim = 32;
  return shape;
}

}  // namespace

TEST_CASE("the KV pool in either order holds every key and value once, in the stated nesting") {
  const auto shape = small_shape();
  constexpr std::int64_t blocks = 5;
  for (const auto order : {KvOrder::block_major, KvOrder::layer_major}) {
    const KvStrides strides(shape, blocks, order);
    const bool by_block = order == KvOrder::block_major;
    std::int64_t next = 0;
    for (std::int64_t outer = 0; outer < (by_block ? blocks : shape.layers); ++outer)
      for (std::int64_t inner = 0; inner < (by_block ? shape.layers : blocks); ++inner)
        for (std::int64_t which = 0; which < 2; ++which)
          for (std::int64_t head = 0; head < shape.kv_heads; ++head)
            for (std::int64_t token = 0; token < key_block; ++token) {
              const auto block = by_block ? outer : inner;
              const auto layer = by_block ? inner : outer;
              REQUIRE(strides.key_at(block, layer, head, token) + which * strides.value == next);
              next += shape.stored_head_dim;
            }
    CHECK(next * 2 == kv_block_bytes(shape).value() * blocks);
  }
}

TEST_CASE("a block of Llama-3.1-8B is 2 MiB in one piece") {
  ModelShape shape;
  shape.layers = 32;
  shape.kv_heads = 8;
  shape.head_dim = shape.stored_head_dim = 128;
  CHECK(kv_block_bytes(shape) == Bytes(2 << 20));
  CHECK(KvStrides(shape, 100, KvOrder::block_major).block == 1048576);
}

TEST_CASE("heads are stored in whole tiles of the matrix instructions") {
  model::ModelConfig config;
  config.num_heads = config.num_kv_heads = 1;
  for (const auto& [head_dim, stored] :
       {std::pair{8, 16}, {12, 16}, {16, 16}, {24, 32}, {128, 128}}) {
    config.head_dim = head_dim;
    CHECK(ModelShape(config).stored_head_dim == stored);
  }
}

TEST_CASE("row buckets are 1, 2, 4, the multiples of 8 to 256, then those of 128") {
  const std::vector<std::int64_t> first{1, 2, 4, 8, 16, 24, 32};
  const auto buckets = buckets_up_to(2048);
  REQUIRE(buckets.size() == 3 + 32 + 14);
  CHECK(std::vector(buckets.begin(), buckets.begin() + 7) == first);
  CHECK(buckets[34] == 256);
  CHECK(buckets[35] == 384);
  CHECK(buckets.back() == 2048);
  for (std::int64_t rows = 1; rows <= 2048; ++rows)
    REQUIRE(bucket_of(rows) == *std::lower_bound(buckets.begin(), buckets.end(), rows));
  CHECK(buckets_up_to(300).back() == 384);
}

TEST_CASE("every packed row meets every key that it sees in exactly one item") {
  std::mt19937 random(71);
  const auto number = [&](int least, int most) {
    return std::uniform_int_distribution(least, most)(random);
  };
  AttendSchedule schedule;
  for (int round = 0; round < 300; ++round) {
    const std::int64_t group = number(1, 9), extra = number(8, 60);
    const auto tile_rows = round % 2 == 0 ? decode_tile_rows : prefill_tile_rows;
    std::vector<SequenceInput> sequences;
    std::vector<std::int32_t> chosen;
    std::int64_t tiles = 0;
    for (int i = number(1, 12); i > 0; --i) {
      const auto tokens = round % 2 == 0 ? 1 : number(2, 150);
      sequences.push_back({0, tokens, number(0, number(0, 1) ? 40 : 9000), 0});
      if (number(0, 3) == 0) continue;  // belongs to the other schedule
      chosen.push_back(static_cast<std::int32_t>(sequences.size()) - 1);
      tiles += tiles_of(tokens, group, tile_rows);
    }
    plan_attention(sequences, chosen, group, tile_rows, extra, schedule);
    CHECK(static_cast<std::int64_t>(schedule.items.size()) <= tiles + extra);
    CHECK(static_cast<std::int64_t>(schedule.merges.size()) <= extra);

    // Pieces of each tile, by their begin.
    std::map<std::pair<int, int>, std::map<int, AttendItem>> walks;
    std::set<int> partials;
    for (const auto& item : schedule.items) {
      walks[{item.sequence, item.first}][item.key_begin] = item;
      CHECK(item.key_begin % key_tile == 0);
      if (item.partial >= 0) CHECK(partials.insert(item.partial).second);
    }
    CHECK(static_cast<std::int64_t>(partials.size()) <= 2 * extra);
    if (!partials.empty()) CHECK(*partials.rbegin() == static_cast<int>(partials.size()) - 1);
    CHECK(static_cast<std::int64_t>(walks.size()) == tiles);
    std::size_t merged = 0;
    for (const auto& [tile, pieces] : walks) {
      const auto& one = sequences[static_cast<std::size_t>(tile.first)];
      // The last row of the tile that exists sees the most.
      int most = 0;
      for (auto row = tile.second; row < tile.second + tile_rows; ++row)
        if (row < one.num_tokens * group)
          most = std::max(most, one.context + static_cast<int>(row / group) + 1);
      int next = 0;
      for (const auto& [begin, item] : pieces) {
        CHECK(begin == next);
        next = item.key_end;
        CHECK((item.partial < 0) == (pieces.size() == 1));
      }
      CHECK(next == most);
      if (pieces.size() == 1) continue;
      const auto merge = std::find_if(
          schedule.merges.begin(), schedule.merges.end(),
          [&](const MergeItem& m) { return m.sequence == tile.first && m.first == tile.second; });
      REQUIRE(merge != schedule.merges.end());
      ++merged;
      CHECK(merge->num_partials == static_cast<int>(pieces.size()));
      int partial = merge->first_partial;
      for (const auto& [begin, item] : pieces) CHECK(item.partial == partial++);
    }
    CHECK(merged == schedule.merges.size());
    for (std::size_t i = 1; i < schedule.items.size(); ++i)
      CHECK(schedule.items[i - 1].key_end - schedule.items[i - 1].key_begin >=
            schedule.items[i].key_end - schedule.items[i].key_begin);
  }
}

TEST_CASE("one long sequence alone gets a few thread blocks on each multiprocessor") {
  AttendSchedule schedule;
  const auto extra = extra_items_for(132, 8);
  CHECK(extra == 33);
  const SequenceInput one{0, 1, 8191, 0};
  const std::int32_t index = 0;
  plan_attention({&one, 1}, {&index, 1}, 4, decode_tile_rows, extra, schedule);
  CHECK(schedule.items.size() == 32);
  CHECK(schedule.merges.size() == 1);
}

TEST_CASE("many sequences of one length are not cut into pieces") {
  AttendSchedule schedule;
  std::vector<SequenceInput> sequences(256, {0, 1, 2047, 0});
  std::vector<std::int32_t> chosen(256);
  for (int i = 0; i < 256; ++i) chosen[static_cast<std::size_t>(i)] = i;
  plan_attention(sequences, chosen, 4, decode_tile_rows, extra_items_for(132, 8), schedule);
  CHECK(schedule.items.size() == 256);
  CHECK(schedule.merges.empty());
}

TEST_CASE("parts of the workspace do not overlap and end where it ends") {
  const auto shape = small_shape();
  const IterationCapacity capacity{
      .rows = 300, .sequences = 20, .context = 640, .extra_items = 9, .group = shape.group()};
  const WorkspacePlan plan(shape, capacity);
  CHECK(plan.logit_stride() == 208);
  CHECK(plan.logit_rows_at_once() == 24);
  const auto parts = plan.carve(nullptr);
  const auto at = [](const void* p) { return reinterpret_cast<std::int64_t>(p); };
  const std::int64_t rows = 384;
  const std::vector<std::pair<std::int64_t, std::int64_t>> expected{
      {at(parts.residual), rows * 48 * 4},
      {at(parts.normed), rows * 48 * 2},
      {at(parts.qkv), rows * 10 * 24 * 2},
      {at(parts.query), rows * 6 * 32 * 2},
      {at(parts.attended), rows * 6 * 24 * 2},
      {at(parts.gate_up), rows * 144 * 2},
      {at(parts.active), rows * 72 * 2},
      {at(parts.logits), 24 * 208 * 4},
      {at(parts.partial_out), 18LL * 2 * 64 * 24 * 4},
      {at(parts.partial_lse), 18LL * 2 * 64 * 4},
      {at(parts.counts), 20LL * 203 * 4},
      {at(parts.angles), 640LL * 24 * 4},
      {at(parts.drawn), 2LL * 20 * 4},
      {at(parts.gemm), gemm_workspace_bytes},
      {at(parts.iteration), IterationLayout(capacity).bytes().value()}};
  for (std::size_t i = 0; i < expected.size(); ++i) {
    CHECK(expected[i].first % 256 == 0);
    const auto end = i + 1 < expected.size() ? expected[i + 1].first : plan.bytes().value();
    CHECK(expected[i].first + expected[i].second <= end);
    CHECK(end - expected[i].first - expected[i].second < 256);
  }
}

TEST_CASE("KV blocks fill what the fraction leaves beside weights and workspaces") {
  const MemoryInfo memory{.free = Bytes(60'000'000'000), .total = Bytes(80'000'000'000)};
  const auto blocks = kv_blocks_for(memory, 0.9, Bytes(2 << 20));
  REQUIRE(blocks.has_value());
  CHECK(blocks->value() == (60'000'000'000 - 8'000'000'000) / (2 << 20));
  const auto refused = kv_blocks_for(memory, 0.2, Bytes(2 << 20));
  REQUIRE(refused.has_error());
  CHECK(refused.error().param == "gpu_memory_fraction");
  CHECK(refused.error().message.find("0.2") != std::string::npos);
  CHECK(kv_blocks_for({Bytes(5 << 20), Bytes(5 << 20)}, 1.0, Bytes(2 << 20))->value() == 2);
  CHECK(kv_blocks_for({Bytes(3 << 20), Bytes(5 << 20)}, 1.0, Bytes(2 << 20)).has_error());
}
