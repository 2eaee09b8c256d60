// The forward pass of every kernel set against transformers' logits, and against itself: a row's
// result must be the same bits however its prompt was cut and whatever shares the pass.
#include "gpu/host/forward.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <numeric>

#include "model/reference.hpp"
#include "tests/gpu/kernel_sets.hpp"
#include "tests/support/golden.hpp"

using namespace tandem;
using gpu::Forward;
using gpu::HostDtype;

namespace {

constexpr std::int64_t blocks = 96;
using Logits = std::vector<std::vector<float>>;

/// Part of a sequence: its tokens from `first` to `end`, and its block table.
struct Part {
  const std::vector<TokenId>* tokens;
  std::size_t first, end;
  std::vector<BlockId> table;
};

/// A device to run sequences on, with block tables that no two share unless the test says so.
struct Device {
  gpu::ThreadPool pool;
  Forward forward;

  Device(const model::WeightsPtr& weights, const gpu::Kernels& kernels, HostDtype dtype,
         std::uint32_t threads = 2)
      : pool(threads),
        forward(weights, kernels, pool,
                {.dtype = dtype,
                 .num_blocks = blocks,
                 .max_rows = 256,
                 .max_sequences = 32,
                 .max_context = 256}) {}

  /// Logits after each token of each part.
  Logits run(const std::vector<Part>& parts) {
    std::vector<gpu::Chunk> chunks;
    std::size_t rows = 0;
    for (const auto& part : parts) {
      chunks.push_back({std::span(*part.tokens).subspan(part.first, part.end - part.first),
                        static_cast<std::int64_t>(part.first), part.table});
      rows += part.end - part.first;
    }
    forward.begin(chunks);
    forward.run_layers(0, forward.num_layers());
    std::vector<std::uint32_t> all(rows);
    std::iota(all.begin(), all.end(), 0);
    Logits result(rows);
    forward.logits(all, [&](std::int64_t i, std::span<float> logits) {
      result[static_cast<std::size_t>(i)].assign(logits.begin(), logits.end());
    });
    return result;
  }
};

/// Feeds `tokens` in pieces of `chunk`; returns the logits after each token.
Logits feed(Device& device, const std::vector<TokenId>& tokens, std::size_t chunk,
            const std::vector<BlockId>& table, std::size_t first = 0) {
  Logits logits;
  for (auto i = first; i < tokens.size(); i += chunk) {
    const auto part = device.run({{&tokens, i, std::min(tokens.size(), i + chunk), table}});
    logits.insert(logits.end(), part.begin(), part.end());
  }
  return logits;
}

float worst_difference(const Logits& logits, const float* golden) {
  float worst = 0;
  for (const auto& row : logits)
    for (const float value : row) {
      const float difference = std::abs(value - *golden++);
      if (!(difference <= worst)) worst = difference;  // a NaN is the worst there is
    }
  return worst;
}

std::vector<TokenId> some_tokens(std::size_t count, std::int64_t vocab, std::uint32_t salt) {
  std::vector<TokenId> tokens(count);
  for (std::size_t i = 0; i < count; ++i)
    tokens[i] =
        static_cast<TokenId>((i * 2654435761U + salt * 97) % static_cast<std::size_t>(vocab));
  return tokens;
}

std::vector<BlockId> table(std::uint32_t first, std::uint32_t count = 16) {
  std::vector<BlockId> result(count);
  for (std::uint32_t i = 0; i < count; ++i) result[i] = BlockId((first + i * 5) % blocks);
  return result;
}

model::WeightsPtr small_model(std::int64_t heads, std::int64_t kv_heads, std::int64_t head_dim) {
  model::ModelConfig config;
  config.vocab_size = 200;
  config.hidden_size = 72;
  config.intermediate_size = 100;
  config.num_layers = 2;
  config.num_heads = heads;
  config.num_kv_heads = kv_heads;
  config.head_dim = head_dim;
  config.max_position = 256;
  config.tied_head = true;
  return model::dummy_weights(config, model::Dtype::f32, 5);
}

}  // namespace

TEST_CASE(
    "every kernel set computes transformers' logits, whole, in chunks of 7 and over a shared "
    "prefix") {
  for (const auto& name : tests::golden_model_names()) {
    const auto folder = tests::golden_models / name;
    const auto config = model::load_config(folder);
    const auto golden = tests::load_golden(folder);
    const auto weights = *model::load_weights(folder, *config);
    for (const auto* kernels : tests::kernel_sets()) {
      INFO(name << " on " << kernels->name);
      Device device(weights, *kernels, HostDtype::f32);
      const auto own = table(3);
      const auto whole = feed(device, golden.prompt, golden.prompt.size(), own);
      CHECK(worst_difference(whole, golden.logits.data()) <= 1e-4F);
      const auto chunked = feed(device, golden.prompt, 7, table(40));
      CHECK(chunked == whole);
      // A second sequence takes the first one's full blocks and computes the rest into its own.
      const std::size_t shared = (golden.prompt.size() - 1) / 16;
      REQUIRE(shared >= 1);
      auto second = table(60);
      std::copy(own.begin(), own.begin() + static_cast<std::ptrdiff_t>(shared), second.begin());
      const auto rest = feed(device, golden.prompt, 5, second, shared * 16);
      CHECK(std::equal(rest.begin(), rest.end(),
                       whole.begin() + static_cast<std::ptrdiff_t>(shared * 16)));
    }
  }
}

TEST_CASE("a row's bits do not depend on what shares its pass, on the threads or on the chunking") {
  const auto dtype = GENERATE(HostDtype::f32, HostDtype::bf16);
  const auto weights = small_model(6, 2, 24);
  const auto tokens = some_tokens(75, 200, 1);
  const auto mine = table(0, 5);  // 0, 5, .. 20; the others take blocks from 21 on
  for (const auto* kernels : tests::kernel_sets()) {
    INFO(kernels->name << (dtype == HostDtype::f32 ? " f32" : " bf16"));
    Device alone(weights, *kernels, dtype, 1);
    const auto expected = feed(alone, tokens, 75, mine);

    // The same tokens in uneven chunks, each among 16 other sequences: decodes and prefills.
    Device shared(weights, *kernels, dtype, 3);
    Logits mixed;
    std::size_t fed = 0;
    for (const std::size_t chunk : {1U, 6U, 13U, 16U, 2U, 30U, 7U}) {  // 75 in all
      std::vector<std::vector<TokenId>> others;
      for (std::uint32_t i = 0; i < 16; ++i)
        others.push_back(some_tokens(i % 3 == 0 ? 1 : 3 + i, 200, i + 100));
      std::vector<Part> parts;
      for (std::uint32_t i = 0; i < 16; ++i) {
        if (i == 9) parts.push_back({&tokens, fed, fed + chunk, mine});
        parts.push_back(
            {&others[i], 0, others[i].size(), {BlockId(21 + 2 * i), BlockId(22 + 2 * i)}});
      }
      const auto logits = shared.run(parts);
      std::size_t before = 0;
      for (std::uint32_t i = 0; i < 9; ++i) before += others[i].size();
      const auto from = logits.begin() + static_cast<std::ptrdiff_t>(before);
      mixed.insert(mixed.end(), from, from + static_cast<std::ptrdiff_t>(chunk));
      fed += chunk;
    }
    REQUIRE(fed == tokens.size());
    CHECK(mixed == expected);
  }
}

TEST_CASE("a pass that was left between its layers leaves nothing behind") {
  const auto weights = small_model(4, 2, 16);
  const auto tokens = some_tokens(40, 200, 3);
  const auto other = some_tokens(23, 200, 4);
  Device plain(weights, *gpu::supported_kernels().front(), HostDtype::f32);
  const auto expected = feed(plain, tokens, 40, table(0));
  Device left(weights, *gpu::supported_kernels().front(), HostDtype::f32);
  const auto mine = table(0);
  const gpu::Chunk chunk{tokens, 0, mine};
  left.forward.begin(std::span(&chunk, 1));
  left.forward.run_layers(0, 1);
  feed(left, other, 10, table(3));
  CHECK(feed(left, tokens, 40, table(0)) == expected);
}

TEST_CASE("odd shapes agree with the reference") {
  struct Shape {
    std::int64_t heads, kv_heads, head_dim;
  };
  const auto shape =
      GENERATE(Shape{1, 1, 2}, Shape{3, 3, 18}, Shape{8, 1, 16}, Shape{7, 1, 40}, Shape{4, 2, 130});
  const auto weights = small_model(shape.heads, shape.kv_heads, shape.head_dim);
  const auto tokens = some_tokens(50, 200, 9);
  model::Reference reference(weights);
  const auto expected = reference.forward(tokens);
  for (const auto* kernels : tests::kernel_sets()) {
    INFO(kernels->name << " heads " << shape.heads << "/" << shape.kv_heads << " of "
                       << shape.head_dim);
    Device exact(weights, *kernels, HostDtype::f32);
    CHECK(worst_difference(feed(exact, tokens, 50, table(0)), expected.data()) <= 1e-4F);
    // bf16 keeps 8 bits: the logits of this model are of order 1, and stay within a few percent of
    // that.
    Device rounded(weights, *kernels, HostDtype::bf16);
    CHECK(worst_difference(feed(rounded, tokens, 50, table(0)), expected.data()) <= 0.15F);
  }
}
