// The forward pass of every kernel set against transformers' logits, and against itself: a row's
// result must be the same bits however its prompt was cut and whatever shares the pass.
#include "gpu/host/forward.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <numeric>

#include "model/reference.hpp"
#include "tests/support/golden.hpp"

using namespace tandem;
using gpu::Forward;
using gpu::HostDtype;

namespace {

constexpr std::int64_t blocks = 96;

/// A device to run rows on, with block tables that no two sequences share unless the test says so.
struct Device {
  gpu::ThreadPool pool;
  Forward forward;

  Device(const model::WeightsPtr& weights, const gpu::Kernels& kernels, HostDtype dtype,
         std::uint32_t threads = 2)
      : pool(threads),
        forward(*weights, kernels, pool,
                {.dtype = dtype, .num_blocks = blocks, .max_rows = 256, .max_context = 256}) {}

  /// Logits of all rows, row by row.
  std::vector<std::vector<float>> run(const std::vector<Forward::Row>& rows) {
    forward.begin(rows);
    forward.run_layers(0, forward.num_layers());
    std::vector<std::uint32_t> all(rows.size());
    std::iota(all.begin(), all.end(), 0);
    std::vector<std::vector<float>> result(rows.size());
    forward.logits(all, [&](std::int64_t i, std::span<float> logits) {
      result[static_cast<std::size_t>(i)].assign(logits.begin(), logits.end());
    });
    return result;
  }
};

/// Rows of `tokens` from position `first` on, in the block table `table`.
std::vector<Forward::Row> rows_of(const std::vector<TokenId>& tokens, std::size_t first,
                                  std::size_t end, const std::vector<std::uint32_t>& table) {
  std::vector<Forward::Row> rows;
  for (auto i = first; i < end; ++i)
    rows.push_back({tokens[i], static_cast<std::int64_t>(i), table.data()});
  return rows;
}

/// Feeds `tokens` in pieces of `chunk`; returns the logits after each token.
std::vector<std::vector<float>> feed(Device& device, const std::vector<TokenId>& tokens,
                                     std::size_t chunk, const std::vector<std::uint32_t>& table,
                                     std::size_t first = 0) {
  std::vector<std::vector<float>> logits;
  for (auto i = first; i < tokens.size(); i += chunk) {
    auto part = device.run(rows_of(tokens, i, std::min(tokens.size(), i + chunk), table));
    logits.insert(logits.end(), part.begin(), part.end());
  }
  return logits;
}

float worst_difference(const std::vector<std::vector<float>>& logits, const float* golden) {
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

std::vector<std::uint32_t> table(std::uint32_t first) {
  std::vector<std::uint32_t> result(16);
  for (std::uint32_t i = 0; i < 16; ++i) result[i] = (first + i * 5) % blocks;
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
    for (const auto* kernels : gpu::supported_kernels()) {
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
  for (const auto* kernels : gpu::supported_kernels()) {
    INFO(kernels->name << (dtype == HostDtype::f32 ? " f32" : " bf16"));
    Device alone(weights, *kernels, dtype, 1);
    const auto expected = feed(alone, tokens, 75, table(0));

    Device shared(weights, *kernels, dtype, 3);
    std::vector<std::vector<float>> mixed;
    std::size_t fed = 0;
    for (std::size_t chunk : {1U, 6U, 13U, 16U, 2U, 30U, 7U}) {  // 75 in all
      auto rows = rows_of(tokens, fed, fed + chunk, table(0));
      const auto own_table = table(0);
      for (auto& row : rows) row.blocks = own_table.data();
      const auto other_table = table(47);
      const auto others = some_tokens(31, 200, static_cast<std::uint32_t>(fed));
      auto company = rows_of(others, 0, 17 + chunk % 14, other_table);
      company.insert(company.end(), rows.begin(), rows.end());  // never at the front
      const auto logits = shared.run(company);
      mixed.insert(mixed.end(), logits.end() - static_cast<std::ptrdiff_t>(chunk), logits.end());
      fed += chunk;
    }
    REQUIRE(fed == tokens.size());
    CHECK(mixed == expected);
  }
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
  for (const auto* kernels : gpu::supported_kernels()) {
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
