// The kernels that work row by row, on the emulated device, against plain loops in double
// precision. Outputs begin as NaN, and rows beyond the iteration's stay so.
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <random>

#include "model/float_formats.hpp"
#include "tests/cuda/emulated_kernels.hpp"

using namespace tandem;
using namespace tandem::gpu::cuda;

namespace {

constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();
const std::uint16_t nan_bits = model::bf16_of_f32(not_a_number);

double number(std::uint16_t bits) { return static_cast<double>(model::f32_of_bf16(bits)); }
bool is_unwritten(std::uint16_t bits) { return std::isnan(number(bits)); }

std::mt19937 random_source(17);
std::vector<float> floats(std::size_t count) {
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (auto& value : values) value = normal(random_source);
  return values;
}
std::vector<std::uint16_t> halves(std::size_t count) {
  std::vector<std::uint16_t> values;
  for (const float value : floats(count)) values.push_back(model::bf16_of_f32(value));
  return values;
}
std::vector<std::uint16_t> unwritten(std::size_t count) {
  return std::vector<std::uint16_t>(count, nan_bits);
}

/// Half a unit in the last place of bf16, and what f32 sums lose.
bool near(double ours, double truth) {
  return std::abs(ours - truth) <= std::abs(truth) * 5e-3 + 1e-4;
}

}  // namespace

TEST_CASE("rows begin as the embeddings of their tokens, the host's or the device's") {
  for (const int hidden : {1, 64, 300}) {
    const auto table = halves(static_cast<std::size_t>(7 * hidden));
    const std::int32_t given[] = {6, ~2, 3}, drawn[] = {5, 6, 1};
    const std::int32_t tokens[] = {6, 1, 3};
    const IterationHeader header{.rows = 3};
    std::vector<float> residual(static_cast<std::size_t>(4 * hidden), not_a_number);
    tests::emulated_kernels().embed({&header, given, drawn, table.data(), residual.data(), hidden},
                                    4, nullptr);
    for (int row = 0; row < 4; ++row)
      for (int i = 0; i < hidden; ++i) {
        const float ours = residual[static_cast<std::size_t>(row * hidden + i)];
        if (row == 3)
          REQUIRE(std::isnan(ours));
        else
          REQUIRE(static_cast<double>(ours) ==
                  number(table[static_cast<std::size_t>(tokens[row] * hidden + i)]));
      }
  }
}

TEST_CASE("rows are normalised by their root mean square, all of them or those that sample") {
  for (const int hidden : {8, 47, 48, 1000}) {
    const auto x = floats(static_cast<std::size_t>(5 * hidden));
    const auto weight = floats(static_cast<std::size_t>(hidden));
    const IterationHeader header{.rows = 5, .sampled = 3};
    const std::int32_t sampled[] = {4, 1, 2};
    for (const bool all : {true, false}) {
      auto out = unwritten(static_cast<std::size_t>(6 * hidden));
      tests::emulated_kernels().norm({&header, x.data(), weight.data(), out.data(),
                                      all ? nullptr : sampled, all ? 0 : 1, hidden, 1e-5F},
                                     6, nullptr);
      const int written = all ? 5 : 2;
      for (int i = 0; i < 6; ++i) {
        if (i >= written) {
          CHECK(is_unwritten(out[static_cast<std::size_t>(i * hidden)]));
          continue;
        }
        const auto* from = &x[static_cast<std::size_t>((all ? i : sampled[1 + i]) * hidden)];
        double squares = 0;
        for (int j = 0; j < hidden; ++j)
          squares += static_cast<double>(from[j]) * static_cast<double>(from[j]);
        for (int j = 0; j < hidden; ++j)
          REQUIRE(near(number(out[static_cast<std::size_t>(i * hidden + j)]),
                       static_cast<double>(from[j] * weight[static_cast<std::size_t>(j)]) /
                           std::sqrt(squares / hidden + 1e-5)));
      }
    }
  }
}

TEST_CASE("gate and up become silu(gate) * up") {
  for (const int width : {1, 72, 500, 2200, 4096}) {
    const auto gate_up = halves(static_cast<std::size_t>(3 * 2 * width));
    auto active = unwritten(static_cast<std::size_t>(4 * width));
    const IterationHeader header{.rows = 3};
    tests::emulated_kernels().swiglu({&header, gate_up.data(), active.data(), width}, 4, nullptr);
    for (int row = 0; row < 3; ++row)
      for (int i = 0; i < width; ++i) {
        const double gate = number(gate_up[static_cast<std::size_t>(row * 2 * width + i)]);
        const double up = number(gate_up[static_cast<std::size_t>((row * 2 + 1) * width + i)]);
        REQUIRE(near(number(active[static_cast<std::size_t>(row * width + i)]),
                     gate / (1 + std::exp(-gate)) * up));
      }
    CHECK(is_unwritten(active[static_cast<std::size_t>(3 * width)]));
  }
}

TEST_CASE("heads get bias, norm and rotation, and land in the query rows and the pool") {
  for (const int head_dim : {2, 12, 24, 64, 128})
    for (const bool extras : {false, true}) {
      ModelShape shape;
      shape.layers = 3;
      shape.heads = 3;
      shape.kv_heads = 2;
      shape.head_dim = head_dim;
      shape.stored_head_dim = round_up(head_dim, head_dim_multiple);
      const auto stored = static_cast<int>(shape.stored_head_dim);
      constexpr int rows = 3, blocks = 4, heads = 3 + 2 * 2;
      const KvStrides strides(shape, blocks);
      const auto width = static_cast<std::size_t>(heads * head_dim);
      const auto qkv = halves(rows * width);
      const auto bias = floats(width), angles = floats(static_cast<std::size_t>(50 * head_dim));
      const auto q_norm = floats(static_cast<std::size_t>(head_dim));
      const auto k_norm = floats(static_cast<std::size_t>(head_dim));
      const std::int32_t positions[] = {40, 41, 7}, kv_slots[] = {2 * 16 + 8, 2 * 16 + 9, 7};
      const IterationHeader header{.rows = rows};
      auto query = unwritten(static_cast<std::size_t>((rows + 1) * 3 * stored));
      auto pool = unwritten(static_cast<std::size_t>(kv_block_bytes(shape).value() / 2 * blocks));
      tests::emulated_kernels().rotate({.header = &header,
                                        .positions = positions,
                                        .kv_slots = kv_slots,
                                        .qkv = qkv.data(),
                                        .bias = extras ? bias.data() : nullptr,
                                        .q_norm = extras ? q_norm.data() : nullptr,
                                        .k_norm = extras ? k_norm.data() : nullptr,
                                        .angles = angles.data(),
                                        .query = query.data(),
                                        .pool = pool.data(),
                                        .strides = strides,
                                        .layer = 2,
                                        .heads = 3,
                                        .kv_heads = 2,
                                        .head_dim = head_dim,
                                        .stored_head_dim = stored,
                                        .epsilon = 1e-6F},
                                       rows + 1, nullptr);
      std::size_t written = 0;
      for (int row = 0; row < rows; ++row)
        for (int head = 0; head < heads; ++head) {
          std::vector<double> x(static_cast<std::size_t>(head_dim));
          double squares = 0;
          for (int i = 0; i < head_dim; ++i) {
            auto& value = x[static_cast<std::size_t>(i)];
            value = number(qkv[static_cast<std::size_t>(row) * width +
                               static_cast<std::size_t>(head * head_dim + i)]);
            if (extras)
              value += static_cast<double>(bias[static_cast<std::size_t>(head * head_dim + i)]);
            squares += value * value;
          }
          const auto& norm = head < 3 ? q_norm : k_norm;
          if (extras && head < 5)
            for (int i = 0; i < head_dim; ++i)
              x[static_cast<std::size_t>(i)] *=
                  static_cast<double>(norm[static_cast<std::size_t>(i)]) /
                  std::sqrt(squares / head_dim + 1e-6);
          const int half = head_dim / 2;
          for (int i = 0; head < 5 && i < half; ++i) {
            const auto* angle = &angles[static_cast<std::size_t>(positions[row] * head_dim)];
            auto &a = x[static_cast<std::size_t>(i)], &b = x[static_cast<std::size_t>(half + i)];
            const double c = static_cast<double>(angle[i]),
                         s = static_cast<double>(angle[half + i]);
            const double turned = a * c - b * s;
            b = b * c + a * s;
            a = turned;
          }
          const auto* ours = &query[static_cast<std::size_t>((row * 3 + head % 3) * stored)];
          if (head >= 3)
            ours = pool.data() +
                   strides.key_at(kv_slots[row] / 16, 2, (head - 3) % 2, kv_slots[row] % 16) +
                   (head >= 5 ? strides.value : 0);
          for (int i = 0; i < stored; ++i)
            REQUIRE(near(number(ours[i]), i < head_dim ? x[static_cast<std::size_t>(i)] : 0.0));
          if (head >= 3) written += static_cast<std::size_t>(stored);
        }
      CHECK(static_cast<std::size_t>(std::count_if(pool.begin(), pool.end(), [](auto bits) {
              return !is_unwritten(bits);
            })) == written);
      CHECK(is_unwritten(query[static_cast<std::size_t>(rows * 3 * stored)]));
    }
}

TEST_CASE("blocks are copied whole to where they should go, and nothing else is touched") {
  constexpr std::size_t block = (64 << 10) + 48;
  std::vector<std::byte> source(4 * block), target(5 * block, std::byte{9});
  for (auto& byte : source) byte = static_cast<std::byte>(random_source() & 0xFF);
  const std::uint32_t from[] = {3, 0}, to[] = {1, 4};
  tests::emulated_kernels().copy_blocks(
      {from, to, source.data(), target.data(), static_cast<std::int64_t>(block), 2}, nullptr);
  for (std::size_t i = 0; i < target.size(); ++i) {
    auto expected = std::byte{9};
    if (i / block == 1) expected = source[3 * block + i % block];
    if (i / block == 4) expected = source[i % block];
    REQUIRE(target[i] == expected);
  }
}
