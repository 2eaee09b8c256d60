// Kernels against plain loops, over shapes that leave every kind of rest.
#include "gpu/host/kernels.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <random>
#include <vector>

#include "gpu/host/bf16.hpp"
#include "gpu/host/thread_pool.hpp"

using namespace tandem::gpu;

namespace {

std::vector<float> random_floats(std::size_t count, std::uint32_t seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (auto& value : values) value = normal(engine);
  return values;
}

float from_bf16(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

}  // namespace

TEST_CASE("the GEMM of every set equals a plain product, and adds where it is told to") {
  const std::int64_t k = GENERATE(2, 34, 256);
  const std::int64_t rows = GENERATE(1, 2, 3, 4, 5, 6, 7, 12, 23);
  const auto a = random_floats(static_cast<std::size_t>(rows * k), 1);
  const auto panel = random_floats(static_cast<std::size_t>(k * panel_columns + 4096), 2);
  std::vector<std::uint16_t> a16(a.size()), panel16(panel.size());
  for (std::size_t i = 0; i < a.size(); ++i) a16[i] = round_to_bf16(a[i]);
  for (std::int64_t i = 0; i < k; ++i)
    for (std::int64_t c = 0; c < panel_columns; ++c)
      panel16[static_cast<std::size_t>((i / 2) * panel_columns * 2 + c * 2 + i % 2)] =
          round_to_bf16(panel[static_cast<std::size_t>(i * panel_columns + c)]);
  for (const auto* kernels : supported_kernels()) {
    for (const bool add : {false, true}) {
      INFO(kernels->name << " rows " << rows << " k " << k << " add " << add);
      std::vector<float> out(static_cast<std::size_t>(rows * 80), 2.0F), out16 = out;
      kernels->gemm_f32(a.data(), k, panel.data(), k, out.data(), 80, rows, add);
      kernels->gemm_bf16(a16.data(), k, panel16.data(), k, out16.data(), 80, rows, add);
      double worst = 0, worst16 = 0;
      for (std::int64_t r = 0; r < rows; ++r)
        for (std::int64_t c = 0; c < panel_columns; ++c) {
          double sum = add ? 2 : 0, sum16 = sum;
          for (std::int64_t i = 0; i < k; ++i) {
            const auto at = static_cast<std::size_t>(r * k + i);
            const auto weight = panel[static_cast<std::size_t>(i * panel_columns + c)];
            sum += static_cast<double>(a[at]) * static_cast<double>(weight);
            sum16 += static_cast<double>(from_bf16(a16[at])) *
                     static_cast<double>(from_bf16(round_to_bf16(weight)));
          }
          const auto place = static_cast<std::size_t>(r * 80 + c);
          worst = std::max(worst, std::abs(sum - static_cast<double>(out[place])));
          worst16 = std::max(worst16, std::abs(sum16 - static_cast<double>(out16[place])));
        }
      CHECK(worst < 1e-4);
      CHECK(worst16 < 1e-4);
      CHECK(out[64] == 2.0F);  // beyond the panel nothing is touched
    }
  }
}

TEST_CASE("rows of a GEMM have the same bits in every tile") {
  const std::int64_t k = 130, rows = 23;
  const auto a = random_floats(static_cast<std::size_t>(rows * k), 3);
  const auto panel = random_floats(static_cast<std::size_t>(k * panel_columns + 4096), 4);
  for (const auto* kernels : supported_kernels()) {
    INFO(kernels->name);
    std::vector<float> together(static_cast<std::size_t>(rows * 64)), alone(64);
    kernels->gemm_f32(a.data(), k, panel.data(), k, together.data(), 64, rows, false);
    for (std::int64_t r = 0; r < rows; ++r) {
      kernels->gemm_f32(a.data() + r * k, k, panel.data(), k, alone.data(), 64, 1, false);
      CHECK(std::equal(alone.begin(), alone.end(), together.begin() + r * 64));
    }
  }
}

TEST_CASE("norm, rotation and activation equal their formulas") {
  const std::int64_t n = GENERATE(1, 15, 16, 64, 100);
  const auto x = random_floats(static_cast<std::size_t>(2 * n), 5);
  const auto y = random_floats(static_cast<std::size_t>(2 * n), 6);
  for (const auto* kernels : supported_kernels()) {
    INFO(kernels->name << " n " << n);
    std::vector<float> out(static_cast<std::size_t>(n));
    kernels->rmsnorm(out.data(), x.data(), y.data(), n, 1e-5F);
    double squares = 0;
    for (std::int64_t i = 0; i < n; ++i)
      squares += static_cast<double>(x[static_cast<std::size_t>(i)]) *
                 static_cast<double>(x[static_cast<std::size_t>(i)]);
    const double scale = 1 / std::sqrt(squares / static_cast<double>(n) + 1e-5);
    for (std::size_t i = 0; i < out.size(); ++i)
      CHECK(static_cast<double>(out[i]) ==
            Approx(static_cast<double>(x[i]) * scale * static_cast<double>(y[i])).margin(1e-6));

    kernels->swiglu(out.data(), x.data(), y.data(), n);
    for (std::size_t i = 0; i < out.size(); ++i) {
      const auto gate = static_cast<double>(x[i]);
      CHECK(static_cast<double>(out[i]) ==
            Approx(gate / (1 + std::exp(-gate)) * static_cast<double>(y[i])).margin(1e-6));
    }

    auto turned = x;
    std::vector<float> cosines(static_cast<std::size_t>(n), 0.6F),
        sines(static_cast<std::size_t>(n), 0.8F);
    kernels->rope(turned.data(), cosines.data(), sines.data(), n);
    for (std::size_t i = 0; i < out.size(); ++i) {
      const auto high = static_cast<std::size_t>(n) + i;
      CHECK(turned[i] == Approx(x[i] * 0.6F - x[high] * 0.8F).margin(1e-6));
      CHECK(turned[high] == Approx(x[high] * 0.6F + x[i] * 0.8F).margin(1e-6));
    }
  }
}

TEST_CASE("rounding to bf16 is to nearest even, and a NaN stays one") {
  const std::vector<float> values{0.0F,    -0.0F,  1.0F,     1.00390625F, 1.01171875F,
                                  3.4e38F, 1e-40F, INFINITY, NAN};
  for (const auto* kernels : supported_kernels()) {
    std::vector<std::uint16_t> out(values.size());
    kernels->to_bf16(out.data(), values.data(), static_cast<std::int64_t>(values.size()));
    CHECK(from_bf16(out[2]) == 1.0F);
    CHECK(from_bf16(out[3]) == 1.0F);       // a tie goes to the even neighbour, down here
    CHECK(from_bf16(out[4]) == 1.015625F);  // and up here
    CHECK(std::isinf(from_bf16(out[7])));
    CHECK(std::isnan(from_bf16(out[8])));
    for (std::size_t i = 0; i + 1 < values.size(); ++i) CHECK(out[i] == round_to_bf16(values[i]));
  }
}

TEST_CASE("the pool runs every piece once, job after job, with any number of threads") {
  const std::uint32_t threads = GENERATE(1, 2, 5);
  ThreadPool pool(threads);
  CHECK(pool.threads() == threads);
  for (int job = 0; job < 2000; ++job) {
    const std::int64_t count = job % 37;
    std::vector<std::atomic<int>> hits(static_cast<std::size_t>(count));
    pool.run(count, [&](std::int64_t i) { ++hits[static_cast<std::size_t>(i)]; });
    for (const auto& hit : hits) REQUIRE(hit == 1);
  }
}
