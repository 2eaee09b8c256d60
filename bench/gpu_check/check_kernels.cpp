// Each kernel against a reference in double precision over a table of shapes, on fresh random
// inputs and poisoned outputs.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

#include "bench/gpu_check/attention_case.hpp"
#include "bench/gpu_check/lab.hpp"
#include "model/float_formats.hpp"
#include "model/sampler.hpp"

namespace tandem::gpu_check {

using namespace gpu::cuda;

namespace {

double number(std::uint16_t bits) { return static_cast<double>(model::f32_of_bf16(bits)); }

std::string text_of(double worst) {
  char text[64];
  std::snprintf(text, sizeof text, "largest difference %.3g", worst);
  return text;
}

/// NaN is the largest difference there is.
void widen(double& worst, double difference) {
  if (!(difference <= worst)) worst = difference;
}

void check_norm(const Lab& lab, std::mt19937& random, std::int64_t rows, std::int64_t hidden,
                Report& report) {
  const auto x = random_floats(random, rows * hidden), weight = random_floats(random, hidden);
  const DeviceArray<IterationHeader> header(
      lab, {IterationHeader{.rows = static_cast<std::uint32_t>(rows)}});
  const DeviceArray<float> x_there(lab, x), weight_there(lab, weight);
  const DeviceArray<std::uint16_t> out(lab, x.size());
  lab.kernels->norm({header.data(), x_there.data(), weight_there.data(), out.data(), nullptr, 0,
                     static_cast<std::int32_t>(hidden), 1e-5F},
                    rows, lab.stream);
  const auto ours = out.read();
  double worst = 0;
  for (std::int64_t row = 0; row < rows; ++row) {
    double squares = 0;
    const auto* from = &x[static_cast<std::size_t>(row * hidden)];
    for (std::int64_t i = 0; i < hidden; ++i)
      squares += static_cast<double>(from[i]) * static_cast<double>(from[i]);
    const double scale = 1 / std::sqrt(squares / static_cast<double>(hidden) + 1e-5);
    for (std::int64_t i = 0; i < hidden; ++i) {
      const double truth = static_cast<double>(from[i]) * scale *
                           static_cast<double>(weight[static_cast<std::size_t>(i)]);
      widen(worst, std::abs(number(ours[static_cast<std::size_t>(row * hidden + i)]) - truth) /
                       (1 + std::abs(truth)));
    }
  }
  report.check("norm " + std::to_string(rows) + " x " + std::to_string(hidden), worst < 5e-3,
               text_of(worst));
}

void check_swiglu(const Lab& lab, std::mt19937& random, std::int64_t rows, std::int64_t width,
                  Report& report) {
  const auto gate_up = random_halves(random, rows * 2 * width);
  const DeviceArray<IterationHeader> header(
      lab, {IterationHeader{.rows = static_cast<std::uint32_t>(rows)}});
  const DeviceArray<std::uint16_t> there(lab, gate_up);
  const DeviceArray<std::uint16_t> out(lab, static_cast<std::size_t>(rows * width));
  lab.kernels->swiglu({header.data(), there.data(), out.data(), static_cast<std::int32_t>(width)},
                      rows, lab.stream);
  const auto ours = out.read();
  double worst = 0;
  for (std::int64_t row = 0; row < rows; ++row)
    for (std::int64_t i = 0; i < width; ++i) {
      const double gate = number(gate_up[static_cast<std::size_t>(row * 2 * width + i)]);
      const double up = number(gate_up[static_cast<std::size_t>((row * 2 + 1) * width + i)]);
      const double truth = gate / (1 + std::exp(-gate)) * up;
      widen(worst, std::abs(number(ours[static_cast<std::size_t>(row * width + i)]) - truth) /
                       (1 + std::abs(truth)));
    }
  report.check("swiglu " + std::to_string(rows) + " x " + std::to_string(width), worst < 5e-3,
               text_of(worst));
}

}  // namespace

void check_row_kernels(const Lab& lab, Report& report) {
  std::mt19937 random(std::random_device{}());
  for (const std::int64_t rows : {1, 7, 200})
    for (const std::int64_t hidden : {8, 1000, 4096}) {
      check_norm(lab, random, rows, hidden, report);
      check_swiglu(lab, random, rows, hidden, report);
    }
}

void check_attention(const Lab& lab, Report& report) {
  std::mt19937 random(std::random_device{}());
  const auto far = lab.scale < 1 ? 300U : 1500U;  // references take their time
  const std::vector<std::vector<AttentionPart>> shapes{{{0, 1}},
                                                       {{0, 1}, {63, 1}, {64, 1}, {700, 1}},
                                                       {{0, 40}, {17, 65}},
                                                       {{far, 1}, {far / 2, 70}, {5, 1}, {300, 2}}};
  for (const std::int64_t head_dim : {16, 64, 80, 128})
    for (const std::int64_t group : {1, 4, 7})
      for (std::size_t i = 0; i < shapes.size(); ++i) {
        AttentionCase one(lab, 2, group, head_dim, shapes[i], random);
        for (const auto& kind : attention_kinds(lab, head_dim)) {
          one.prepare(lab, kind);
          one.run(lab);
          const double worst = one.worst();
          report.check("attention " + kind.name + "head_dim " + std::to_string(head_dim) +
                           " group " + std::to_string(group) + " shape " + std::to_string(i),
                       worst < 2e-2, text_of(worst));
        }
      }
}

void check_draws(const Lab& lab, Report& report) {
  std::mt19937 random(std::random_device{}());
  constexpr std::int64_t vocab = 5000;
  constexpr std::size_t rows = 16;
  std::vector<SampleInput> inputs(rows);
  std::vector<SamplingParams> params(rows);
  const auto logits = random_floats(random, vocab * static_cast<std::int64_t>(rows));
  for (std::size_t i = 0; i < rows; ++i) {
    params[i] = {.temperature = i % 4 == 0 ? 0.0F : 0.3F + 0.1F * static_cast<float>(i),
                 .top_k = i % 3 == 0 ? 0 : static_cast<std::int32_t>(5 * i),
                 .top_p = i % 2 == 0 ? 1.0F : 0.8F,
                 .min_p = i % 5 == 0 ? 0.02F : 0.0F,
                 .seed = random(),
                 .logprobs = 5U};
    inputs[i] = {.seed = params[i].seed,
                 .temperature = params[i].temperature,
                 .top_p = params[i].top_p,
                 .min_p = params[i].min_p,
                 .top_k = params[i].top_k,
                 .num_logprobs = 5};
  }
  const DeviceArray<IterationHeader> header(
      lab, {IterationHeader{.rows = rows, .sampled = rows, .ticket = 9}});
  const DeviceArray<SampleInput> samples(lab, inputs);
  const DeviceArray<float> logits_there(lab, logits);
  const DeviceArray<SampleOutput> outputs(lab, rows);
  const DeviceArray<std::int32_t> tokens(lab, rows);
  lab.kernels->draw({.header = header.data(),
                     .samples = samples.data(),
                     .biases = nullptr,
                     .logits = logits_there.data(),
                     .counts = nullptr,
                     .outputs = outputs.data(),
                     .drawn = tokens.data(),
                     .first = 0,
                     .vocab = vocab,
                     .stride = vocab},
                    rows, lab.stream);
  const auto drawn = outputs.read();
  const auto for_next = tokens.read();
  for (std::size_t i = 0; i < rows; ++i) {
    model::SamplerState host(params[i], {}, {});
    std::vector<float> row(logits.begin() + static_cast<std::ptrdiff_t>(i) * vocab,
                           logits.begin() + static_cast<std::ptrdiff_t>(i + 1) * vocab);
    const auto truth = host.sample(row);
    const bool same = drawn[i].token == truth.token && drawn[i].ticket == 9 &&
                      for_next[i] == truth.token &&
                      std::abs(drawn[i].logprob - truth.logprob) < 1e-3F;
    report.check(
        "draw row " + std::to_string(i), same,
        "token " + std::to_string(drawn[i].token) + ", the host's " + std::to_string(truth.token));
  }
}

namespace {

/// A product on fresh operands, against the written-out one. What is added to begins as zero;
/// everything else is poisoned. Run again `again` times it must give the same bits.
void check_product(const Lab& lab, Gemm& gemm, const GemmKey& key, int again,
                   const std::string& name, std::mt19937& random, Report& report) {
  const auto stride = round_up(key.n, 8);
  const auto a = random_halves(random, key.rows * key.k), w = random_halves(random, key.n * key.k);
  const DeviceArray<std::uint16_t> a_there(lab, a), w_there(lab, w);
  must(gemm.prepare(key, stride));
  const auto run = [&] {
    const std::vector<float> zeros(static_cast<std::size_t>(key.rows * stride));
    const DeviceArray<float> out = key.output == GemmOutput::f32_added
                                       ? DeviceArray<float>(lab, zeros)
                                       : DeviceArray<float>(lab, zeros.size());
    must(gemm.run(key, {a_there.data(), w_there.data(), out.data(), stride}, lab.stream));
    return out.read();
  };
  const auto ours = run();
  const auto* halves = reinterpret_cast<const std::uint16_t*>(ours.data());
  double worst = 0;
  for (std::int64_t row = 0; row < key.rows; ++row)
    for (std::int64_t column = 0; column < key.n; ++column) {
      double truth = 0;
      for (std::int64_t i = 0; i < key.k; ++i)
        truth += number(a[static_cast<std::size_t>(row * key.k + i)]) *
                 number(w[static_cast<std::size_t>(column * key.k + i)]);
      const auto at = static_cast<std::size_t>(row * stride + column);
      const double value =
          key.output == GemmOutput::bf16 ? number(halves[at]) : static_cast<double>(ours[at]);
      widen(worst, std::abs(value - truth) / (1 + std::abs(truth)));
    }
  bool same = true;
  for (int i = 0; i < again; ++i)
    same = same && std::memcmp(run().data(), ours.data(), 4 * ours.size()) == 0;
  report.check(name + " " + std::to_string(key.rows) + " x " + std::to_string(key.n) + " output " +
                   std::to_string(static_cast<int>(key.output)),
               worst < 5e-3 && same, text_of(worst) + (same ? "" : ", other bits when run again"));
}

}  // namespace

void check_products(const Lab& lab, Report& report) {
  std::mt19937 random(std::random_device{}());
  for (const auto output : {GemmOutput::bf16, GemmOutput::f32, GemmOutput::f32_added})
    for (const std::int64_t rows : {1, 8, 128})
      for (const std::int64_t n : {56, 171, 256})
        check_product(lab, *lab.gemm, {rows, n, 64, output}, 0, "product", random, report);
}

void check_own_products(const Lab& lab, Report& report) {
  std::mt19937 random(std::random_device{}());
  const OwnProducts own(lab);
  const std::int64_t long_k = lab.scale < 1 ? 328 : 4096;  // references take their time
  for (const auto output : {GemmOutput::bf16, GemmOutput::f32, GemmOutput::f32_added})
    for (const std::int64_t rows : {1, 8, 16, 33, 64})
      for (const auto& [n, k] : {std::pair<std::int64_t, std::int64_t>(171, 72), {1000, long_k}}) {
        const GemmKey key{rows, n, k, output};
        if (auto r = own.gemm->supports(key); !r) {
          report.note("own product", r.error().message);
          continue;
        }
        check_product(lab, *own.gemm, key, lab.scale < 1 ? 1 : 20, "own product", random, report);
      }
}

}  // namespace tandem::gpu_check
