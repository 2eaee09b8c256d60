// FlashInfer's attention without a device: the arrays of a batch and the bounds of its plans
// against naive references; its own planners, where they are built in, on random batches; and a
// backend that is asked for it and cannot have it.
#include <catch2/catch.hpp>
#include <map>
#include <random>
#include <set>
#include <tuple>

#include "gpu/cuda/cuda_backend.hpp"
#include "gpu/cuda/flashinfer/batch.hpp"
#include "gpu/cuda/flashinfer/flashinfer_attention.hpp"
#include "model/weights.hpp"
#include "tests/cuda/emulated_kernels.hpp"
#include "tests/cuda/fake_driver.hpp"
#include "tests/cuda/written_out_flashinfer.hpp"

using namespace tandem;
using namespace tandem::gpu::cuda;
using flashinfer::BatchCapacity;
using flashinfer::Kernel;

namespace {

/// Sequences as the packer leaves them: some decodes, then some prefills, at any place in the plan.
struct RandomIteration {
  RandomIteration(std::mt19937& random, int most_sequences, int most_tokens, int most_context) {
    const auto number = [&](int least, int most) {
      return std::uniform_int_distribution(least, most)(random);
    };
    const int count = number(1, most_sequences);
    std::vector<std::int32_t> order(static_cast<std::size_t>(count));
    for (int i = 0; i < count; ++i) order[static_cast<std::size_t>(i)] = i;
    std::shuffle(order.begin(), order.end(), random);
    sequences.resize(order.size());
    const int num_decodes = number(0, count - 1);
    int row = 0, table = 0;
    for (int i = 0; i < count; ++i) {
      const bool is_decode = i < num_decodes;
      auto& one = sequences[static_cast<std::size_t>(order[static_cast<std::size_t>(i)])];
      one = {row, is_decode ? 1 : number(2, most_tokens), number(0, most_context), table};
      (is_decode ? decodes : prefills).push_back(order[static_cast<std::size_t>(i)]);
      row += one.num_tokens;
      table += (one.context + one.num_tokens + 15) / 16;
    }
  }
  std::vector<SequenceInput> sequences;
  std::vector<std::int32_t> decodes, prefills;
};

const std::int32_t* array(const std::vector<std::byte>& buffer, std::int64_t at) {
  return reinterpret_cast<const std::int32_t*>(buffer.data() + at);
}

ModelShape shape_of(std::int64_t heads, std::int64_t kv_heads, std::int64_t head_dim) {
  ModelShape shape;
  shape.layers = 4;
  shape.heads = heads;
  shape.kv_heads = kv_heads;
  shape.head_dim = shape.stored_head_dim = head_dim;
  return shape;
}

}  // namespace

TEST_CASE("a batch says of each sequence its rows, its pages and how full the last one is") {
  std::mt19937 random(11);
  const BatchCapacity capacity{{8, 2, 64}, 4000, 40, 10};
  const flashinfer::BatchLayout layout(capacity, Kernel::fa3);
  std::vector<std::byte> buffer(static_cast<std::size_t>(layout.total_bytes));
  for (int round = 0; round < 200; ++round) {
    const RandomIteration iteration(random, 40, 90, 500);
    for (const auto& slices : {iteration.decodes, iteration.prefills}) {
      if (slices.empty()) continue;
      std::fill(buffer.begin(), buffer.end(), std::byte{0xEE});
      const auto batch =
          flashinfer::write_batch(iteration.sequences, slices, layout, buffer.data());
      CHECK(batch.sequences == static_cast<int>(slices.size()));
      const auto* rows = array(buffer, layout.query_starts);
      const auto* pages = array(buffer, layout.page_starts);
      int total = 0;
      for (std::size_t i = 0; i < slices.size(); ++i) {
        const auto& one = iteration.sequences[static_cast<std::size_t>(slices[i])];
        CHECK(batch.first_row + rows[i] == one.first_row);
        CHECK(rows[i + 1] - rows[i] == one.num_tokens);
        CHECK(pages[i] == one.table);
        const int keys = one.context + one.num_tokens;
        CHECK(array(buffer, layout.key_counts)[i] == keys);
        const int last = array(buffer, layout.last_page_keys)[i];
        CHECK((last >= 1 && last <= 16));
        CHECK((pages[i + 1] - pages[i] - 1) * 16 + last == keys);
        total += one.num_tokens;
      }
      CHECK(batch.rows == total);
    }
  }
}

TEST_CASE("FlashInfer's planners fit their memory and plan every tile of rows and keys once") {
  const auto* functions = flashinfer::built_in();
  if (!functions) {
    WARN("built without FlashInfer: its planners are not tested");
    return;
  }
  std::mt19937 random(12);
  int num_split = 0;
  std::set<std::int64_t> tiles_seen;
  for (int round = 0; round < 150; ++round) {
    const auto pick = [&](std::initializer_list<int> from) {
      return *(from.begin() +
               std::uniform_int_distribution<int>(0, static_cast<int>(from.size()) - 1)(random));
    };
    const int kv_heads = pick({1, 2, 8}), group = pick({1, 4, 7, 16}), dim = pick({64, 128});
    const RandomIteration iteration(random, pick({1, 3, 60}), pick({3, 40, 900}),
                                    pick({10, 3000, 60000}));
    for (const auto* slices : {&iteration.decodes, &iteration.prefills}) {
      if (slices->empty()) continue;
      BatchCapacity capacity{{kv_heads * group, kv_heads, dim}, 0, 0, pick({4, 108, 132})};
      capacity.sequences = static_cast<std::int64_t>(slices->size());
      for (const auto s : *slices)
        capacity.rows += iteration.sequences[static_cast<std::size_t>(s)].num_tokens;
      for (const auto kernel : {Kernel::fa2, Kernel::fa3}) {
        const flashinfer::BatchLayout layout(capacity, kernel);
        std::vector<std::byte> buffer(static_cast<std::size_t>(layout.total_bytes) + 256);
        auto* base = buffer.data();
        const auto batch = flashinfer::write_batch(iteration.sequences, *slices, layout, base);
        const auto* starts = array(buffer, layout.query_starts);
        const auto* counts = array(buffer, layout.key_counts);
        const flashinfer::PlanInput input{
            .heads = capacity.heads,
            .sequences = batch.sequences,
            .query_starts = starts,
            .page_starts = array(buffer, layout.page_starts),
            .key_counts = counts,
            .multiprocessors = static_cast<std::int32_t>(capacity.multiprocessors),
            .compute_major = 9,
            .compute_minor = 0};
        const auto partial_bytes = flashinfer::fa2_partial_bytes(capacity);
        // Device memory begins at multiples of 256.
        const flashinfer::PlanMemory memory{base + layout.plan, reinterpret_cast<std::byte*>(4096),
                                            static_cast<std::size_t>(layout.plan_bytes),
                                            static_cast<std::size_t>(partial_bytes)};
        const auto planned = [&](std::int64_t at) { return array(buffer, layout.plan + at); };
        // (head, sequence, tile, piece) of everything that is computed; FA2 takes all heads at
        // once.
        std::set<std::tuple<int, int, int, int>> seen;
        std::size_t expected = 0;
        if (kernel == Kernel::fa2) {
          const auto made = functions->plan_fa2(input, memory);
          REQUIRE(made.has_value());
          CHECK(made->used_bytes <= layout.plan_bytes);
          CHECK(made->items <= flashinfer::most_fa2_items(capacity));
          tiles_seen.insert(made->tile_rows);
          num_split += made->splits_keys ? 1 : 0;
          const int piece_keys = *planned(made->piece_keys);
          const auto pieces_of = [&](int s) {
            return made->splits_keys ? (counts[s] + piece_keys - 1) / piece_keys : 1;
          };
          const int tile = static_cast<int>(made->tile_rows);
          for (std::int64_t i = 0; i < made->items; ++i) {
            const int s = planned(made->item_sequences)[i];
            const int rows = (starts[s + 1] - starts[s]) * group;
            const int at = planned(made->item_tiles)[i], piece = planned(made->item_pieces)[i];
            CHECK((at >= 0 && at * tile < rows && piece >= 0 && piece < pieces_of(s)));
            CHECK(seen.insert({0, s, at, piece}).second);
          }
          for (int s = 0; s < batch.sequences; ++s)
            expected += static_cast<std::size_t>(tiles_of(starts[s + 1] - starts[s], group, tile) *
                                                 pieces_of(s));
          if (made->splits_keys) {
            const std::int64_t partials = planned(made->merge_starts)[batch.rows];
            const auto out_bytes = partials * capacity.heads.query * dim * 2;
            CHECK(made->partial_out + out_bytes <= partial_bytes);
            CHECK(made->partial_lse + partials * capacity.heads.query * 4 <= partial_bytes);
            CHECK(made->partial_out + out_bytes <= made->partial_lse);
          }
        } else {
          const auto made = functions->plan_fa3(input, memory);
          REQUIRE(made.has_value());
          CHECK(made->used_bytes <= layout.plan_bytes);
          const int tile = dim == 64 ? 192 : 128;
          for (int w = 0; w < planned(made->work_starts)[capacity.multiprocessors]; ++w) {
            const int s = planned(made->sequences)[w];
            CHECK(planned(made->query_starts)[w] == starts[s]);
            CHECK(planned(made->page_starts)[w] == input.page_starts[s]);
            CHECK(planned(made->key_counts)[w] == counts[s]);
            const int rows = planned(made->query_counts)[w];
            CHECK(rows == starts[s + 1] - starts[s]);
            const int at = planned(made->tiles)[w], head = planned(made->heads)[w];
            CHECK((at >= 0 && at * tile < rows && head >= 0 && head < capacity.heads.query));
            CHECK(seen.insert({head, s, at, 0}).second);
          }
          for (int s = 0; s < batch.sequences; ++s)
            expected += static_cast<std::size_t>(tiles_of(starts[s + 1] - starts[s], 1, tile) *
                                                 capacity.heads.query);
        }
        CHECK(seen.size() == expected);
      }
    }
  }
  CHECK(num_split > 20);
  CHECK(tiles_seen == std::set<std::int64_t>{16, 64, 128});
}

TEST_CASE("a planner that has too little memory says so, and throws nothing") {
  const auto* functions = flashinfer::built_in();
  if (!functions) {
    WARN("built without FlashInfer: its planners are not tested");
    return;
  }
  const std::int32_t starts[] = {0, 300}, pages[] = {0, 20}, keys[] = {320};
  const flashinfer::PlanInput input{.heads = {8, 2, 128},
                                    .sequences = 1,
                                    .query_starts = starts,
                                    .page_starts = pages,
                                    .key_counts = keys,
                                    .multiprocessors = 4,
                                    .compute_major = 9};
  std::vector<std::byte> buffer(64);
  const flashinfer::PlanMemory memory{buffer.data(), reinterpret_cast<std::byte*>(4096), 64, 0};
  for (const auto& failure :
       {functions->plan_fa2(input, memory).error(), functions->plan_fa3(input, memory).error()}) {
    CHECK(failure.code == Errc::device_failed);
    CHECK(failure.message.find("planner") != std::string::npos);
    CHECK(failure.message.find("only") != std::string::npos);
  }
}

TEST_CASE("what FlashInfer cannot take is named, and FA3 is chosen where it can run") {
  const DeviceProperties hopper{.name = "H", .compute_major = 9, .multiprocessors = 132};
  const DeviceProperties ampere{.name = "A", .compute_major = 8, .multiprocessors = 108};
  const IterationCapacity capacity{
      .rows = 8192, .sequences = 256, .context = 131072, .extra_items = 10, .group = 4};
  const auto shape = shape_of(32, 8, 128);
  CHECK_FALSE(flashinfer::refusal(shape, capacity, KvStrides(shape, 1), hopper));
  const auto narrow = shape_of(32, 8, 80);
  CHECK(flashinfer::refusal(narrow, capacity, KvStrides(narrow, 1), hopper)->find("have 80") !=
        std::string::npos);
  auto many = capacity;
  many.sequences = 65536;
  many.rows = 65536;
  CHECK(flashinfer::refusal(shape, many, KvStrides(shape, 1), hopper)->find("32 bits") !=
        std::string::npos);

  auto functions = tests::written_out_flashinfer(tests::FlashInferPlanners::plain);
  const BatchCapacity usual{{32, 8, 128}, 8192, 256, 132};
  CHECK(flashinfer::best_kernel(functions, usual, hopper) == Kernel::fa3);
  CHECK(flashinfer::best_kernel(functions, usual, ampere) == Kernel::fa2);
  const BatchCapacity huge{{32, 8, 128}, 1 << 20, 256, 132};  // heads would share a schedule
  CHECK(flashinfer::best_kernel(functions, huge, hopper) == Kernel::fa2);
  functions.run_fa3 = nullptr;
  CHECK(flashinfer::best_kernel(functions, usual, hopper) == Kernel::fa2);
}

// ---- a backend that is asked for it
// --------------------------------------------------------------

namespace {

model::ModelConfig tiny_config(std::int64_t head_dim) {
  model::ModelConfig config;
  config.vocab_size = 100;
  config.hidden_size = 32;
  config.intermediate_size = 32;
  config.num_layers = 2;
  config.num_heads = 2;
  config.num_kv_heads = 1;
  config.head_dim = head_dim;
  config.max_position = 256;
  return config;
}

struct Made {
  tests::FakeDriver* driver = nullptr;
  Result<std::unique_ptr<gpu::Backend>> backend = Error{};
};

Made make(std::int64_t head_dim, const flashinfer::Functions* functions,
          const std::string& attention) {
  const auto weights = model::dummy_weights(tiny_config(head_dim), model::Dtype::bf16, 1);
  gpu::CudaOptions options;
  options.max_iteration_tokens = Tokens(64);
  options.max_sequences = 4;
  options.attention = attention;
  auto driver = std::make_unique<tests::FakeDriver>();
  Made made{.driver = driver.get()};
  made.backend = make_backend({std::move(driver), &tests::emulated_kernels(),
                               std::make_unique<tests::FakeGemm>(), functions},
                              *weights, options);
  return made;
}

/// Runs `tokens` tokens after `context` in one iteration and returns the one that is drawn.
TokenId run_chunk(Made& made, std::uint64_t id, std::uint32_t context, std::uint32_t tokens) {
  auto plan = std::make_shared<Plan>();
  plan->id = IterationId(id);
  auto request = std::make_shared<Request>();
  request->prompt.assign(tokens, 7);
  request->sampling.temperature = 0;
  plan->bindings.push_back({SlotId(0), request, {}});
  for (std::uint32_t i = 0; i < tokens; ++i)
    plan->token_ids.push_back(static_cast<TokenId>(context + i));
  BlockTable table;
  for (std::uint32_t i = 0; i * 16 < context + tokens; ++i) table.push_back(BlockId(i + 3));
  plan->slices.push_back({.slot = SlotId(0),
                          .samples = true,
                          .context = context,
                          .num_tokens = tokens,
                          .tokens = {0, tokens},
                          .blocks = std::make_shared<const BlockTable>(table)});
  auto& backend = **made.backend;
  for (std::uint32_t s = 0; s < backend.num_segments(*plan); ++s) {
    backend.start_segment(plan, s, [](const Result<void>& r) { REQUIRE(r.has_value()); });
    made.driver->run_all();
  }
  return backend.collect(*plan)->front().token;
}

TokenId run_prefill(Made& made, std::uint32_t tokens) { return run_chunk(made, 1, 0, tokens); }

int planner_calls = 0, kernel_calls = 0;

}  // namespace

TEST_CASE("attention: flashinfer needs it built in; auto and own do not") {
  for (const auto* attention : {"auto", "own"}) {
    const auto made = make(64, nullptr, attention);
    REQUIRE(made.backend.has_value());
    CHECK((*made.backend)->limits().kernels.find("paged_mma+written_out") == 0);
    CHECK((*made.backend)->limits().remark.empty());
  }
  const auto refused = make(64, nullptr, "flashinfer");
  REQUIRE_FALSE(refused.backend.has_value());
  CHECK(refused.backend.error().param == "attention");
  CHECK(refused.backend.error().message.find("scripts/deps.sh --flashinfer") != std::string::npos);
  CHECK(make(64, nullptr, "cudnn").backend.error().message.find("allowed are auto, own") !=
        std::string::npos);
  // As the program says it before any device is looked at.
  CHECK(gpu::check_attention("own").has_value());
  CHECK(gpu::check_attention("flashinfer").has_value() == (flashinfer::built_in() != nullptr));
}

TEST_CASE("FlashInfer's attention is named, and draws what our own does") {
  auto own = make(64, nullptr, "own");
  const auto expected = run_prefill(own, 40);
  for (const auto planners : tests::flashinfer_planners()) {
    const auto functions = tests::written_out_flashinfer(planners);
    auto made = make(64, &functions, "flashinfer");
    REQUIRE(made.backend.has_value());
    CHECK((*made.backend)->limits().kernels == "paged_mma+flashinfer_fa3+written_out bfloat16");
    CHECK((*made.backend)->limits().remark.empty());
    CHECK(run_prefill(made, 40) == expected);
    CHECK_FALSE((*made.backend)->take_warning());
  }
}

TEST_CASE("captured decode graphs hold none of FlashInfer's kernels") {
  auto functions = tests::written_out_flashinfer(tests::FlashInferPlanners::plain);
  static const auto run_fa3 = functions.run_fa3;
  kernel_calls = 0;
  functions.run_fa3 = [](const flashinfer::RunArgs& args, const flashinfer::Fa3Plan& plan,
                         Stream stream) {
    ++kernel_calls;
    return run_fa3(args, plan, stream);
  };
  auto own = make(64, nullptr, "own");
  auto made = make(64, &functions, "flashinfer");
  REQUIRE(made.backend.has_value());
  CHECK(kernel_calls == 3);  // tried at start, and not once while graphs were captured
  CHECK(run_chunk(made, 1, 0, 30) == run_chunk(own, 1, 0, 30));
  CHECK(kernel_calls == 3 + 2);  // layers
  const auto launched = made.driver->graphs_launched();
  CHECK(run_chunk(made, 2, 30, 1) == run_chunk(own, 2, 30, 1));
  CHECK(made.driver->graphs_launched() == launched + 1);
  CHECK(run_chunk(made, 3, 31, 17) == run_chunk(own, 3, 31, 17));
  CHECK(kernel_calls == 3 + 2 + 2);
}

TEST_CASE("what FlashInfer has no kernel for runs on our own, and the start says why") {
  const auto functions = tests::written_out_flashinfer(tests::FlashInferPlanners::plain);
  const auto made = make(32, &functions, "flashinfer");
  REQUIRE(made.backend.has_value());
  CHECK((*made.backend)->limits().kernels == "paged_mma+written_out bfloat16");
  CHECK((*made.backend)->limits().remark.find("this model's have 32") != std::string::npos);
}

TEST_CASE("a kernel of FlashInfer that fails at start leaves the work to our own") {
  auto functions = tests::written_out_flashinfer(tests::FlashInferPlanners::plain);
  functions.run_fa3 = [](const flashinfer::RunArgs&, const flashinfer::Fa3Plan&,
                         Stream) -> Result<void> {
    return error(Errc::device_failed, "no kernel image", "attention");
  };
  auto own = make(64, nullptr, "own");
  auto made = make(64, &functions, "flashinfer");
  REQUIRE(made.backend.has_value());
  CHECK((*made.backend)->limits().kernels == "paged_mma+written_out bfloat16");
  CHECK((*made.backend)->limits().remark.find("no kernel image") != std::string::npos);
  CHECK(run_prefill(made, 20) == run_prefill(own, 20));
}

TEST_CASE("an iteration that FlashInfer's planner refuses runs on our own, with a warning") {
  auto functions = tests::written_out_flashinfer(tests::FlashInferPlanners::plain);
  static const auto plan_fa3 = functions.plan_fa3;
  planner_calls = 0;
  functions.plan_fa3 = [](const flashinfer::PlanInput& input,
                          const flashinfer::PlanMemory& memory) -> Result<flashinfer::Fa3Plan> {
    ++planner_calls;
    if (planner_calls > 3) return error(Errc::device_failed, "refused by the planner", "attention");
    return plan_fa3(input, memory);  // at start
  };
  auto own = make(64, nullptr, "own");
  auto made = make(64, &functions, "flashinfer");
  REQUIRE(made.backend.has_value());
  CHECK(planner_calls == 3);
  CHECK(run_prefill(made, 40) == run_prefill(own, 40));
  CHECK(planner_calls == 4);
  const auto warning = (*made.backend)->take_warning();
  REQUIRE(warning);
  CHECK(warning->find("refused by the planner; our own kernel") != std::string::npos);
  CHECK_FALSE((*made.backend)->take_warning());
}
