// Kernels of every set that this CPU runs or emulates, against plain loops in double, over shapes
// that leave every kind of rest.
#include "gpu/host/kernels.hpp"

#include <bit>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "model/float_formats.hpp"
#include "tests/gpu/kernel_sets.hpp"

using namespace tandem::gpu;
using tandem::model::bf16_of_f32;
using tandem::model::f32_of_bf16;

namespace {

using Floats = std::vector<float>;
using Words = std::vector<std::uint32_t>;

Floats random_floats(std::int64_t count, std::uint32_t seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal;
  Floats values(static_cast<std::size_t>(count));
  for (auto& value : values) value = normal(engine);
  return values;
}

/// What the format keeps of a number.
double kept(float value, HostDtype dtype) {
  return static_cast<double>(dtype == HostDtype::f32 ? value : f32_of_bf16(bf16_of_f32(value)));
}

void put(Words& words, std::int64_t word, std::int64_t part, float value, HostDtype dtype) {
  auto& to = words[static_cast<std::size_t>(word)];
  if (dtype == HostDtype::f32)
    to = std::bit_cast<std::uint32_t>(value);
  else
    to |= static_cast<std::uint32_t>(bf16_of_f32(value)) << (16 * part);
}

std::int64_t per_word(HostDtype dtype) { return dtype == HostDtype::f32 ? 1 : 2; }

/// Element `index` of a row of words.
double element(const std::uint32_t* row, std::int64_t index, HostDtype dtype) {
  if (dtype == HostDtype::f32) return static_cast<double>(std::bit_cast<float>(row[index]));
  return static_cast<double>(
      f32_of_bf16(static_cast<std::uint16_t>(row[index / 2] >> (index % 2 * 16))));
}

/// The largest error that rounding a result of size `value` to the format may make.
double rounding(double value, HostDtype dtype) {
  return 2e-5 + std::abs(value) * (dtype == HostDtype::f32 ? 1e-6 : 1.0 / 256);
}

/// A product's operands, plain and packed.
struct Product {
  std::int64_t rows, k, words, stride;
  HostDtype dtype;
  Floats a, weights;  ///< (rows, k), (k, 64)
  Words packed_a, panel;

  Product(std::int64_t row_count, std::int64_t depth, HostDtype format)
      : rows(row_count),
        k(depth),
        words(pad_to(words_of(depth, format), word_multiple)),
        stride(words + word_multiple),
        dtype(format),
        a(random_floats(rows * k, 1)),
        weights(random_floats(k * panel_columns, 2)),
        packed_a(static_cast<std::size_t>(rows * stride)),
        panel(static_cast<std::size_t>(words * panel_columns + 4096)) {
    for (std::int64_t i = 0; i < k; ++i) {
      const auto word = i / per_word(dtype), part = i % per_word(dtype);
      for (std::int64_t r = 0; r < rows; ++r)
        put(packed_a, r * stride + word, part, a[static_cast<std::size_t>(r * k + i)], dtype);
      for (std::int64_t c = 0; c < panel_columns; ++c)
        put(panel, word * panel_columns + c, part,
            weights[static_cast<std::size_t>(i * panel_columns + c)], dtype);
    }
  }

  [[nodiscard]] double at(std::int64_t row, std::int64_t column) const {
    double sum = 0;
    for (std::int64_t i = 0; i < k; ++i)
      sum += kept(a[static_cast<std::size_t>(row * k + i)], dtype) *
             kept(weights[static_cast<std::size_t>(i * panel_columns + column)], dtype);
    return sum;
  }

  [[nodiscard]] GemmArgs args(std::int64_t first = 0) const {
    return {.a = packed_a.data() + first * stride,
            .a_stride = stride,
            .rows = rows - first,
            .panel = panel.data(),
            .words = words};
  }
};

double silu(double x) { return x / (1 + std::exp(-x)); }

}  // namespace

TEST_CASE("GEMMs store, add and activate the plain product, rows and depths of every kind") {
  const auto dtype = GENERATE(HostDtype::f32, HostDtype::bf16);
  const std::int64_t k = GENERATE(2, 34, 256, 777);
  const std::int64_t rows = GENERATE(1, 2, 3, 4, 5, 6, 7, 12, 16, 17, 23, 32, 33, 96, 150);
  const Product product(rows, k, dtype);
  const auto bias = random_floats(panel_columns, 3);
  Floats expected(static_cast<std::size_t>(rows * panel_columns));
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t c = 0; c < panel_columns; ++c)
      expected[static_cast<std::size_t>(r * 64 + c)] = static_cast<float>(product.at(r, c));
  for (const auto* set : tandem::tests::kernel_sets()) {
    INFO(set->name << (dtype == HostDtype::f32 ? " f32" : " bf16") << " rows " << rows << " k "
                   << k);
    const auto& kernels = kernels_of(*set, dtype);
    constexpr std::int64_t stride = 80;
    Floats stored(static_cast<std::size_t>(rows * stride), 2.0F), added = stored;
    Words active(static_cast<std::size_t>(rows * 48));
    auto args = product.args();
    args.out_stride = stride;
    args.bias = bias.data();
    args.out = stored.data();
    kernels.gemm_store(args);
    args.out = added.data();
    kernels.gemm_add(args);
    args.active = active.data();
    args.active_stride = 48;
    args.bias = nullptr;
    kernels.gemm_swiglu(args);
    double worst = 0;
    for (std::int64_t r = 0; r < rows; ++r) {
      const auto* row = expected.data() + r * 64;
      for (std::int64_t c = 0; c < panel_columns; ++c) {
        const auto place = static_cast<std::size_t>(r * stride + c);
        const auto want = static_cast<double>(row[c]);
        const auto with_bias = want + static_cast<double>(bias[static_cast<std::size_t>(c)]);
        worst = std::max(worst, std::abs(static_cast<double>(stored[place]) - with_bias));
        worst = std::max(worst, std::abs(static_cast<double>(added[place]) - want - 2));
      }
      for (std::int64_t c = 0; c < 32; ++c) {
        const auto gate = static_cast<double>(row[c]), up = static_cast<double>(row[32 + c]);
        const double want = silu(gate) * up;
        const double error = std::abs(element(active.data() + r * 48, c, dtype) - want);
        // The error of either product is multiplied by the other. Partial sums are of order 30, so
        // one rounding of them is worth 2e-6, and some tens of roundings add up by chance.
        CHECK(error <= rounding(want, dtype) + 3e-5 * (std::abs(gate) + 1) * (std::abs(up) + 1));
      }
      CHECK(stored[static_cast<std::size_t>(r * stride + 64)] == 2.0F);  // nothing beyond a panel
      CHECK(active[static_cast<std::size_t>(r * 48 + words_of(32, dtype))] == 0);
    }
    CHECK(worst < 2e-4);
  }
}

TEST_CASE("rows of a GEMM have the same bits in every tile") {
  const auto dtype = GENERATE(HostDtype::f32, HostDtype::bf16);
  const std::int64_t k = GENERATE(130, 1030);
  const std::int64_t rows = 50;
  const Product product(rows, k, dtype);
  for (const auto* set : tandem::tests::kernel_sets()) {
    INFO(set->name);
    const auto& kernels = kernels_of(*set, dtype);
    Floats together(static_cast<std::size_t>(rows * 64));
    auto args = product.args();
    args.out = together.data();
    args.out_stride = 64;
    kernels.gemm_store(args);
    for (std::int64_t first = 0; first < rows; ++first)
      for (const std::int64_t count : {1, 2, 3, 4, 5, 6, 11, 16, 17}) {
        if (first + count > rows) continue;
        Floats alone(static_cast<std::size_t>(count * 64));
        args = product.args(first);
        args.rows = count;
        args.out = alone.data();
        args.out_stride = 64;
        kernels.gemm_store(args);
        CHECK(std::equal(alone.begin(), alone.end(), together.begin() + first * 64));
      }
  }
}

TEST_CASE("the norm equals its formula") {
  const auto dtype = GENERATE(HostDtype::f32, HostDtype::bf16);
  const std::int64_t count = GENERATE(1, 15, 16, 64, 100, 768);
  const std::int64_t padded = pad_to(count, panel_columns), rows = 3;
  Floats x(static_cast<std::size_t>(rows * padded)), weight(static_cast<std::size_t>(padded));
  const auto values = random_floats(rows * count, 5), weights = random_floats(count, 6);
  std::copy(weights.begin(), weights.end(), weight.begin());
  for (std::int64_t r = 0; r < rows; ++r)
    std::copy_n(values.begin() + r * count, count, x.begin() + r * padded);
  for (const auto* set : tandem::tests::kernel_sets()) {
    INFO(set->name << " count " << count);
    Words out(static_cast<std::size_t>(rows * padded), 7);
    kernels_of(*set, dtype)
        .norm({.x = x.data(),
               .x_stride = padded,
               .rows = rows,
               .count = count,
               .padded = padded,
               .weight = weight.data(),
               .epsilon = 1e-5F,
               .out = out.data(),
               .out_stride = padded});
    for (std::int64_t r = 0; r < rows; ++r) {
      double squares = 0;
      for (std::int64_t i = 0; i < count; ++i)
        squares +=
            std::pow(static_cast<double>(values[static_cast<std::size_t>(r * count + i)]), 2);
      const double scale = 1 / std::sqrt(squares / static_cast<double>(count) + 1e-5);
      for (std::int64_t i = 0; i < padded; ++i) {
        const auto at = static_cast<std::size_t>(r * padded + i);
        const double want = static_cast<double>(x[at]) * scale *
                            static_cast<double>(weight[static_cast<std::size_t>(i)]);
        CHECK(std::abs(element(out.data() + r * padded, i, dtype) - want) <= rounding(want, dtype));
      }
    }
  }
}

namespace {

/// A paged cache of one layer and the rows of one sequence in it.
struct Cache {
  std::int64_t heads, kv_heads, dim, padded_dim, head_words;
  HostDtype dtype;
  std::int64_t value_offset, head_stride, block_stride;
  Words memory;
  std::vector<std::uint32_t> blocks{5, 1, 9, 0, 3, 11, 7, 2, 10, 4};

  Cache(std::int64_t head_count, std::int64_t kv_head_count, std::int64_t head_dim,
        HostDtype format)
      : heads(head_count),
        kv_heads(kv_head_count),
        dim(head_dim),
        padded_dim(pad_to(head_dim, 16)),
        head_words(words_of(head_dim, format)),
        dtype(format),
        value_offset(head_words * 16),
        head_stride(value_offset + words_of(16, format) * padded_dim),
        block_stride(head_stride * kv_heads),
        // All ones is a NaN in both formats: what nobody wrote must not be used.
        memory(static_cast<std::size_t>(12 * block_stride), 0xffffffffU) {
    // Padding columns of V are never written; the device's memory starts as zeros.
    for (std::int64_t i = 0; i < 12 * kv_heads; ++i)
      for (std::int64_t w = value_offset; w < head_stride; ++w)
        if ((w - value_offset) % padded_dim >= dim)
          memory[static_cast<std::size_t>(i * head_stride + w)] = 0;
  }

  [[nodiscard]] std::int64_t width() const { return (heads + 2 * kv_heads) * dim; }
  [[nodiscard]] std::int64_t query_words() const { return heads * head_words; }

  /// Rows [first, end) of `qkv` through `rotate`, block by block.
  void append(const FormatKernels& kernels, const Floats& qkv, const Floats& angles,
              std::int64_t first, std::int64_t end, const float* norm, Words& query) {
    while (first < end) {
      const auto next = std::min(end, (first / 16 + 1) * 16);
      kernels.rotate(
          {.qkv = qkv.data() + first * width(),
           .qkv_stride = width(),
           .rows = next - first,
           .heads = heads,
           .kv_heads = kv_heads,
           .head_dim = dim,
           .angles = angles.data() + first * dim,
           .angle_stride = dim,
           .q_norm = norm,
           .k_norm = norm,
           .epsilon = 1e-6F,
           .query = query.data() + first * query_words(),
           .query_stride = query_words(),
           .block = memory.data() + blocks[static_cast<std::size_t>(first / 16)] * block_stride,
           .head_stride = head_stride,
           .value_offset = value_offset,
           .first = first % 16});
      first = next;
    }
  }

  /// Rows [first, end) x heads of the group of each KV head, in calls of up to `most` packed rows
  /// and `heads_each` KV heads, which divides their number.
  void attend(const FormatKernels& kernels, const Words& query, std::int64_t first,
              std::int64_t end, std::int64_t most, std::int64_t heads_each, Words& out) const {
    const auto group = heads / kv_heads, packed = (end - first) * group;
    for (std::int64_t h = 0; h < kv_heads; h += heads_each)
      for (std::int64_t p = 0; p < packed; p += most) {
        const auto offset = first * query_words() + h * group * head_words;
        kernels.attend({.query = query.data() + offset,
                        .query_stride = query_words(),
                        .head_words = head_words,
                        .head_dim = dim,
                        .group = group,
                        .heads = heads_each,
                        .first = p,
                        .rows = std::min(most, packed - p),
                        .position = first,
                        .cache = memory.data() + h * head_stride,
                        .head_stride = head_stride,
                        .block_stride = block_stride,
                        .value_offset = value_offset,
                        .blocks = blocks.data(),
                        .scale = 0.3F,
                        .out = out.data() + offset,
                        .out_stride = query_words()});
      }
  }
};

/// One head of `row`, normed and rotated in double.
std::vector<double> turned(const float* from, const float* angles, const float* norm,
                           std::int64_t dim) {
  std::vector<double> head(from, from + dim);
  if (norm) {
    double squares = 0;
    for (const double x : head) squares += x * x;
    const double scale = 1 / std::sqrt(squares / static_cast<double>(dim) + 1e-6);
    for (std::size_t i = 0; i < head.size(); ++i) head[i] *= scale * static_cast<double>(norm[i]);
  }
  auto result = head;
  const auto half = static_cast<std::size_t>(dim / 2);
  for (std::size_t i = 0; i < half; ++i) {
    const auto c = static_cast<double>(angles[i]), s = static_cast<double>(angles[half + i]);
    result[i] = head[i] * c - head[half + i] * s;
    result[half + i] = head[half + i] * c + head[i] * s;
  }
  return result;
}

struct AttendShape {
  std::int64_t heads, kv_heads, dim;
  bool norm;
};

}  // namespace

TEST_CASE("rotation, cache and attention equal the plain formulas, in every chunking to the bit") {
  const auto dtype = GENERATE(HostDtype::f32, HostDtype::bf16);
  const auto shape = GENERATE(AttendShape{1, 1, 2, false}, AttendShape{4, 2, 16, true},
                              AttendShape{7, 1, 24, false}, AttendShape{3, 3, 64, true},
                              AttendShape{60, 1, 40, false}, AttendShape{2, 1, 130, false},
                              AttendShape{20, 2, 32, false});
  const std::int64_t length = 150;
  for (const auto* set : tandem::tests::kernel_sets()) {
    INFO(set->name << (dtype == HostDtype::f32 ? " f32" : " bf16") << " heads " << shape.heads
                   << "/" << shape.kv_heads << " of " << shape.dim);
    const auto& kernels = kernels_of(*set, dtype);
    Cache whole(shape.heads, shape.kv_heads, shape.dim, dtype);
    const auto qkv = random_floats(length * whole.width(), 8);
    const auto angles = random_floats(length * shape.dim, 9);
    const auto norm_weight = random_floats(shape.dim, 10);
    const float* norm = shape.norm ? norm_weight.data() : nullptr;
    const auto words = static_cast<std::size_t>(length * whole.query_words());
    Words query(words), out(words);
    whole.append(kernels, qkv, angles, 0, length, norm, query);
    whole.attend(kernels, query, 0, length, max_attend_rows, shape.kv_heads, out);

    Cache pieces(shape.heads, shape.kv_heads, shape.dim, dtype);
    Words piece_query(words), piece_out(words);
    for (std::int64_t first = 0; first < length;) {
      const auto end = std::min(length, first + 1 + first % 7 * 5);
      pieces.append(kernels, qkv, angles, first, end, norm, piece_query);
      pieces.attend(kernels, piece_query, first, end, 1 + first % 13, 1, piece_out);
      first = end;
    }
    CHECK(piece_query == query);
    CHECK(piece_out == out);

    // In double, over what the format keeps. bf16 rounds the weights of the softmax as well.
    const auto group = shape.heads / shape.kv_heads;
    const double tolerance = dtype == HostDtype::f32 ? 1e-4 : 0.04;
    double worst = 0;
    for (const std::int64_t row : {0L, 1L, 15L, 16L, 63L, 64L, 100L, 149L})
      for (std::int64_t h = 0; h < shape.heads; ++h) {
        std::vector<std::vector<double>> keys;
        const auto q = turned(qkv.data() + row * whole.width() + h * shape.dim,
                              angles.data() + row * shape.dim, norm, shape.dim);
        std::vector<double> weights, mixed(static_cast<std::size_t>(shape.dim));
        double total = 0;
        for (std::int64_t t = 0; t <= row; ++t) {
          const float* kv = qkv.data() + t * whole.width() + shape.heads * shape.dim;
          const auto k =
              turned(kv + h / group * shape.dim, angles.data() + t * shape.dim, norm, shape.dim);
          double dot = 0;
          for (std::size_t i = 0; i < k.size(); ++i)
            dot += kept(static_cast<float>(q[i]), dtype) * kept(static_cast<float>(k[i]), dtype);
          weights.push_back(std::exp(dot * static_cast<double>(0.3F)));
          total += weights.back();
          const float* value = kv + (shape.kv_heads + h / group) * shape.dim;
          for (std::size_t i = 0; i < mixed.size(); ++i)
            mixed[i] += weights.back() * kept(value[i], dtype);
        }
        const auto* result = out.data() + row * whole.query_words() + h * whole.head_words;
        for (std::int64_t i = 0; i < shape.dim; ++i) {
          const double want = mixed[static_cast<std::size_t>(i)] / total;
          const double error = std::abs(element(result, i, dtype) - want);
          if (!(error <= worst)) worst = error;  // a NaN is the worst there is
        }
      }
    CHECK(worst <= tolerance);
  }
}

TEST_CASE("what an earlier owner of a block left does not reach the next one") {
  for (const auto dtype : {HostDtype::f32, HostDtype::bf16})
    for (const auto* set : tandem::tests::kernel_sets()) {
      INFO(set->name);
      const auto& kernels = kernels_of(*set, dtype);
      Cache clean(2, 1, 16, dtype), used(2, 1, 16, dtype);
      const auto qkv = random_floats(20 * clean.width(), 12);
      const auto angles = random_floats(20 * 16, 13);
      const auto words = static_cast<std::size_t>(20 * clean.query_words());
      Words query(words), out(words), other_out(words);
      Floats poison(qkv.size(), std::numeric_limits<float>::infinity());
      used.append(kernels, poison, angles, 0, 20, nullptr, query);
      for (auto* cache : {&clean, &used}) {
        cache->append(kernels, qkv, angles, 0, 3, nullptr, query);
        cache->append(kernels, qkv, angles, 3, 4, nullptr, query);
        cache->attend(kernels, query, 0, 4, 3, 1, cache == &clean ? out : other_out);
      }
      CHECK(out == other_out);
      for (std::int64_t i = 0; i < 16; ++i) CHECK(std::isfinite(element(out.data(), i, dtype)));
    }
}

TEST_CASE("bf16 rounds to nearest even, and a NaN stays one") {
  // Through the norm with a weight of the value over an x of equal ones: scale is 1.
  const Floats values{0.0F,    -0.0F,    1.0F,     1.00390625F, 1.01171875F,
                      3.4e38F, 65504.0F, INFINITY, NAN};
  Floats x(64), weight(64);
  std::fill_n(x.begin(), values.size(), 1.0F);
  std::copy(values.begin(), values.end(), weight.begin());
  for (const auto* set : tandem::tests::kernel_sets()) {
    INFO(set->name);
    Words out(64);
    set->bf16.norm({.x = x.data(),
                    .x_stride = 64,
                    .rows = 1,
                    .count = static_cast<std::int64_t>(values.size()),
                    .padded = 64,
                    .weight = weight.data(),
                    .out = out.data(),
                    .out_stride = 64});
    for (std::size_t i = 0; i < values.size(); ++i) {
      const auto got =
          static_cast<float>(element(out.data(), static_cast<std::int64_t>(i), HostDtype::bf16));
      INFO(values[i] << " became " << got);
      CHECK((std::isnan(values[i]) ? std::isnan(got) : got == f32_of_bf16(bf16_of_f32(values[i]))));
    }
  }
}
