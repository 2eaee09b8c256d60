// Plans packed for the device, read back and compared with the plan.
#include "gpu/cuda/iteration.hpp"

#include <catch2/catch.hpp>
#include <map>
#include <random>
#include <utility>

using namespace tandem;
using namespace tandem::gpu::cuda;

namespace {

ModelShape shape_of_group(std::int64_t group) {
  ModelShape shape;
  shape.vocab = 500;
  shape.kv_heads = 2;
  shape.heads = 2 * group;
  return shape;
}

struct Buffer {
  explicit Buffer(const IterationCapacity& capacity)
      : layout(capacity), bytes(static_cast<std::size_t>(layout.bytes().value())) {}
  IterationView view() { return layout.view(bytes.data()); }
  IterationLayout layout;
  std::vector<std::byte> bytes;
};

}  // namespace

TEST_CASE("a packed plan says of every row its token, its position and its place in the pool") {
  std::mt19937 random(5);
  const auto number = [&](int least, int most) {
    return static_cast<std::uint32_t>(std::uniform_int_distribution(least, most)(random));
  };
  const auto shape = shape_of_group(3);
  const IterationCapacity capacity{
      .rows = 200, .sequences = 16, .context = 400, .extra_items = 10, .group = 3};
  constexpr std::int64_t num_blocks = 1000;
  IterationPacker packer(shape, capacity, num_blocks);
  Buffer buffer(capacity);
  std::vector<SlotState> slots(16);
  for (int round = 0; round < 100; ++round) {
    std::fill(buffer.bytes.begin(), buffer.bytes.end(), std::byte{0xEE});
    Plan plan;
    std::vector<std::int32_t> last(16, -1);
    std::vector<std::vector<TokenId>> tokens;
    std::vector<std::uint32_t> order(16);
    for (std::uint32_t i = 0; i < 16; ++i) order[i] = i;
    std::shuffle(order.begin(), order.end(), random);
    const auto count = number(1, 12);
    for (std::uint32_t i = 0; i < count; ++i) {
      Slice slice{.slot = SlotId(order[i]), .samples = number(0, 2) > 0, .context = number(0, 380)};
      slice.num_tokens = number(0, 1) ? 1 : number(1, 15);
      BlockTable blocks;
      const auto needed = blocks_for(Tokens(slice.context + slice.num_tokens)).value();
      for (std::int64_t b = 0; b < needed + number(0, 1); ++b)
        blocks.push_back(BlockId(number(0, num_blocks - 1)));
      slice.blocks = std::make_shared<const BlockTable>(blocks);
      std::vector<TokenId> own;
      for (std::uint32_t t = 0; t < slice.num_tokens; ++t)
        own.push_back(static_cast<TokenId>(number(0, 499)));
      if (slice.num_tokens == 1 && number(0, 1)) {
        slice.source_slice = number(0, 15);
        if (last[slice.source_slice] < 0) last[slice.source_slice] = own[0];
        own[0] = ~last[slice.source_slice];
      } else {
        slice.tokens = {static_cast<std::uint32_t>(plan.token_ids.size()), slice.num_tokens};
        plan.token_ids.insert(plan.token_ids.end(), own.begin(), own.end());
      }
      tokens.push_back(own);
      plan.slices.push_back(slice);
    }
    const auto& packed = packer.pack(plan, last, slots, {77, 16}, buffer.view());
    const auto view = buffer.view();
    CHECK(view.header->rows == plan.num_rows());
    CHECK(view.header->ticket == 77);
    CHECK(view.header->first_drawn == 16);
    CHECK(packed.rows == plan.num_rows());
    // Rows and tables of single tokens come first, then the others', each in the plan's order.
    std::vector<std::size_t> in_order;
    for (const bool single : {true, false})
      for (std::size_t s = 0; s < plan.slices.size(); ++s)
        if ((plan.slices[s].num_tokens == 1) == single) in_order.push_back(s);
    std::vector<int> first_rows(plan.slices.size()), first_entries(plan.slices.size());
    int next_row = 0, next_entry = 0;
    for (const auto s : in_order) {
      const auto& slice = plan.slices[s];
      first_rows[s] = std::exchange(next_row, next_row + static_cast<int>(slice.num_tokens));
      const auto blocks = blocks_for(Tokens(slice.context + slice.num_tokens)).value();
      first_entries[s] = std::exchange(next_entry, next_entry + static_cast<int>(blocks));
    }
    CHECK(packed.table_entries == next_entry);
    CHECK(packed.decodes.size() + packed.prefills.size() == plan.slices.size());
    for (std::size_t i = 0; i < in_order.size(); ++i)
      CHECK(in_order[i] ==
            static_cast<std::size_t>(i < packed.decodes.size()
                                         ? packed.decodes[i]
                                         : packed.prefills[i - packed.decodes.size()]));
    bool only_single = true;
    std::size_t sampled = 0;
    for (std::size_t s = 0; s < plan.slices.size(); ++s) {
      const auto& slice = plan.slices[s];
      only_single = only_single && slice.num_tokens == 1;
      auto row = static_cast<std::size_t>(first_rows[s]);
      CHECK(view.sequences[s].first_row == first_rows[s]);
      CHECK(view.sequences[s].table == first_entries[s]);
      CHECK(view.sequences[s].num_tokens == static_cast<int>(slice.num_tokens));
      CHECK(view.sequences[s].context == static_cast<int>(slice.context));
      const auto* table = view.tables + view.sequences[s].table;
      for (std::uint32_t t = 0; t < slice.num_tokens; ++t, ++row) {
        const auto position = slice.context + t;
        const auto block = raw((*slice.blocks)[position / 16]);
        CHECK(view.tokens[row] == tokens[s][t]);
        CHECK(view.positions[row] == static_cast<int>(position));
        CHECK(table[position / 16] == block);
        CHECK(view.kv_slots[row] == static_cast<int>(block * 16 + position % 16));
      }
      if (!slice.samples) continue;
      CHECK(view.sampled_rows[sampled] == static_cast<int>(row) - 1);
      CHECK(view.samples[sampled].row == static_cast<int>(row) - 1);
      CHECK(view.samples[sampled].slot == static_cast<int>(raw(slice.slot)));
      CHECK(packed.sampled_slices[sampled] == s);
      ++sampled;
    }
    CHECK(packed.decode_only == only_single);
    CHECK(view.header->sampled == sampled);
    // Every slice is in exactly one of the two schedules.
    std::map<int, int> seen;
    for (std::uint32_t i = 0; i < view.header->decode_items; ++i)
      seen[view.decode_items[i].sequence] |= 1;
    for (std::uint32_t i = 0; i < view.header->prefill_items; ++i)
      seen[view.prefill_items[i].sequence] |= 2;
    for (std::size_t s = 0; s < plan.slices.size(); ++s)
      CHECK(seen[static_cast<int>(s)] == (plan.slices[s].num_tokens == 1 ? 1 : 2));
  }
}

TEST_CASE("the largest iteration fits the arrays it is given") {
  const auto shape = shape_of_group(5);
  const IterationCapacity capacity{
      .rows = 130, .sequences = 64, .context = 3000, .extra_items = 8, .group = 5};
  IterationPacker packer(shape, capacity, 500);
  Buffer buffer(capacity);
  std::vector<SlotState> slots(64);
  SamplingParams biased;
  for (std::size_t i = 0; i < max_logit_bias; ++i)
    biased.logit_bias.emplace_back(static_cast<TokenId>(i % 400), 1.0F);
  for (auto& slot : slots) slot = SlotState(biased, 0);
  Plan plan;
  const auto table = std::make_shared<const BlockTable>(188, BlockId(499));
  for (std::uint32_t i = 0; i < 64; ++i) {
    const std::uint32_t tokens = i < 2 ? 2 : i == 2 ? 65 : 1;
    plan.slices.push_back({.slot = SlotId(i),
                           .samples = true,
                           .context = 2935,
                           .num_tokens = tokens,
                           .tokens = {0, tokens},
                           .blocks = table});
  }
  plan.token_ids.assign(65, 7);
  REQUIRE(plan.num_rows() == 130);
  packer.pack(plan, {}, slots, {}, buffer.view());
  const auto view = buffer.view();
  CHECK(view.header->decode_items <= capacity.decode_items());
  CHECK(view.header->prefill_items <= capacity.prefill_items());
  CHECK(view.header->decode_merges <= capacity.extra_items);
  // What was written to the last array before the tables did not reach them.
  CHECK(view.tables[0] == 499);
  CHECK(view.samples[63].bias_first + view.samples[63].bias_count <= capacity.biases());
}

TEST_CASE("a slot's biases are ascending by token, and equal tokens are one") {
  SamplingParams params;
  params.logit_bias = {{9, 1.5F}, {3, -2.0F}, {9, 0.25F}, {0, 4.0F}};
  const SlotState slot(params, 3);
  REQUIRE(slot.biases.size() == 3);
  CHECK(slot.biases[0].token == 0);
  CHECK(slot.biases[1].token == 3);
  CHECK(slot.biases[2].token == 9);
  CHECK(slot.biases[2].bias == 1.75F);
  CHECK(slot.drawn == 3);
}

TEST_CASE("seen tokens are counted once each, and the prompt only for the repetition penalty") {
  const std::vector<TokenId> prompt{4, 4, 2, 9}, output{2, 7, 2};
  const auto words = [&](SamplingParams params) {
    std::map<int, std::uint32_t> result;
    for (const auto& one : seen_entries(SlotId(6), params, prompt, output)) {
      CHECK(one.slot == 6);
      CHECK(result.emplace(one.token, one.word).second);
    }
    return result;
  };
  CHECK(words({}).empty());
  CHECK(words({.presence_penalty = 0.5F}) == std::map<int, std::uint32_t>{{2, 2}, {7, 1}});
  CHECK(words({.repetition_penalty = 1.1F}) ==
        std::map<int, std::uint32_t>{
            {2, 2 | seen_in_prompt}, {4, seen_in_prompt}, {7, 1}, {9, seen_in_prompt}});
}
