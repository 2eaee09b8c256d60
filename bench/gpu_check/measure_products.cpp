// The device's ceilings, and how near to them the products of a model come. Operands are random:
// zeros and constants draw less power and run faster than any model does.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <optional>
#include <random>

#include "bench/gpu_check/attention_case.hpp"
#include "bench/gpu_check/lab.hpp"
#include "gpu/cuda/buckets.hpp"
#include "gpu/cuda/memory_plan.hpp"
#include "gpu/cuda/skinny_plan.hpp"
#include "model/float_formats.hpp"

namespace tandem::gpu_check {
namespace {

using namespace gpu::cuda;

/// Random bf16 numbers of any count: some of them, over and over.
DeviceArray<std::uint16_t> random_there(const Lab& lab, std::int64_t count) {
  std::mt19937 random(1);
  const auto some = random_halves(random, std::min<std::int64_t>(count, (4LL << 20) + 17));
  DeviceArray<std::uint16_t> there(lab, static_cast<std::size_t>(count));
  const auto period = static_cast<std::int64_t>(some.size());
  for (std::int64_t at = 0; at < count; at += period)
    must(lab.driver->copy_to_device(there.data() + at, some.data(),
                                    Bytes(2 * std::min(period, count - at)), lab.stream));
  lab.finish();
  return there;
}

struct Product {
  const char* name;
  std::int64_t n, k, stride;
  GemmOutput output;

  [[nodiscard]] GemmKey key(std::int64_t rows) const { return {rows, n, k, output}; }
  [[nodiscard]] double operations(std::int64_t rows) const {
    return 2.0 * static_cast<double>(rows * n * k);
  }
  /// Weights, what is multiplied with them and what comes out, each once.
  [[nodiscard]] double bytes(std::int64_t rows) const {
    const std::int64_t out = output == GemmOutput::bf16 ? 2 : output == GemmOutput::f32 ? 4 : 8;
    return static_cast<double>(2 * (n * k + rows * k) + out * rows * n);
  }
};

std::vector<Product> products_of(const ModelShape& shape) {
  return {
      {"qkv", shape.qkv_width(), shape.hidden, shape.qkv_width(), GemmOutput::bf16},
      {"out", shape.hidden, shape.query_width(), shape.hidden, GemmOutput::f32_added},
      {"gate_up", 2 * shape.intermediate, shape.hidden, 2 * shape.intermediate, GemmOutput::bf16},
      {"down", shape.hidden, shape.intermediate, shape.hidden, GemmOutput::f32_added},
      {"head", shape.vocab, shape.hidden, round_up(shape.vocab, 8), GemmOutput::f32}};
}

/// Elements of all weights that are used before any is used again: 512 MiB.
constexpr std::int64_t weights_of_a_turn = 1LL << 28;
constexpr std::int64_t few_rows[] = {1, 8, 16, 32, 64};
constexpr std::int64_t many_rows[] = {512, 2048, 8192};

/// Operands for every product of a model. Weights take turns, so that no product finds its own in
/// the L2 cache.
class Operands {
 public:
  Operands(const Lab& lab, const std::vector<Product>& products, std::int64_t most_rows)
      : lab_(lab),
        weight_elements_(
            std::max<std::int64_t>(largest_weight(products), lab.scale < 1 ? 0 : 1LL << 29)),
        a_(random_there(lab, most_rows * widest(products))),
        weights_(random_there(lab, weight_elements_)),
        out_(lab, static_cast<std::size_t>(largest_out(products, most_rows))) {
    // Products are added to it; sums of NaN would switch few bits.
    must(lab.driver->fill(out_.data(), 0, Bytes(4 * largest_out(products, most_rows)), lab.stream));
  }

  /// Seconds of a product as it is prepared now; replayed, if iterations of so many rows are.
  [[nodiscard]] double seconds(Gemm& gemm, const Product& product, std::int64_t rows) const {
    const auto each = product.n * product.k;
    const auto turns = std::max<std::int64_t>(1, weight_elements_ / each);
    // So many that the first one's weights are gone from the cache when it comes again.
    const auto wanted = std::max<std::int64_t>(20, weights_of_a_turn / each);
    const auto times = static_cast<int>(std::clamp<std::int64_t>(turns, 4, wanted));
    std::int64_t turn = 0;
    const auto work = [&] {
      must(gemm.run(
          product.key(rows),
          {a_.data(), weights_.data() + turn++ % turns * each, out_.data(), product.stride},
          lab_.stream));
    };
    return rows <= largest_graph ? replayed_seconds_of(lab_, times, work)
                                 : seconds_of(lab_, times, work);
  }

  /// What a product gives that is added to nothing, without the columns beyond n.
  [[nodiscard]] std::vector<double> results(Gemm& gemm, const Product& product,
                                            std::int64_t rows) const {
    const Bytes size(rows * product.stride * (product.output == GemmOutput::bf16 ? 2 : 4));
    must(lab_.driver->fill(out_.data(), 0, size, lab_.stream));
    must(gemm.run(product.key(rows), {a_.data(), weights_.data(), out_.data(), product.stride},
                  lab_.stream));
    std::vector<std::byte> bytes(static_cast<std::size_t>(size.value()));
    must(lab_.driver->copy_to_host(bytes.data(), out_.data(), size, lab_.stream));
    lab_.finish();
    std::vector<double> values;
    for (std::int64_t row = 0; row < rows; ++row)
      for (std::int64_t column = 0; column < product.n; ++column) {
        const auto at = static_cast<std::size_t>(row * product.stride + column);
        std::uint16_t half = 0;
        float value = 0;
        if (product.output == GemmOutput::bf16) {
          std::memcpy(&half, bytes.data() + 2 * at, 2);
          value = model::f32_of_bf16(half);
        } else {
          std::memcpy(&value, bytes.data() + 4 * at, 4);
        }
        values.push_back(static_cast<double>(value));
      }
    return values;
  }

 private:
  static std::int64_t widest(const std::vector<Product>& products) {
    std::int64_t k = 0;
    for (const auto& one : products) k = std::max(k, one.k);
    return k;
  }
  static std::int64_t largest_weight(const std::vector<Product>& products) {
    std::int64_t elements = 0;
    for (const auto& one : products) elements = std::max(elements, one.n * one.k);
    return elements;
  }
  /// In f32, of which the head has logit_rows rows at most.
  static std::int64_t largest_out(const std::vector<Product>& products, std::int64_t rows) {
    std::int64_t elements = 0;
    for (const auto& one : products)
      elements = std::max(
          elements,
          one.stride * (one.output == GemmOutput::f32 ? std::min(rows, logit_rows) : rows));
    return elements;
  }

  const Lab& lab_;
  std::int64_t weight_elements_;
  DeviceArray<std::uint16_t> a_, weights_;
  DeviceArray<float> out_;
};

bool too_many(const Product& product, std::int64_t rows) {
  return product.output == GemmOutput::f32 && rows > logit_rows;
}

/// The fastest of the library's algorithms, which stays prepared. Nothing if it knows none.
std::optional<TunedGemm> fastest(CublasGemm& gemm, const Product& product, std::int64_t rows,
                                 const Operands& operands, double& first_us) {
  std::optional<TunedGemm> best;
  for (const auto& candidate : must(gemm.candidates(product.key(rows), product.stride, 8))) {
    must(gemm.prepare_with(product.key(rows), product.stride, candidate));
    const double us = 1e6 * operands.seconds(gemm, product, rows);
    if (!best) first_us = us;
    if (best && us >= best->microseconds) continue;
    best = candidate;
    best->microseconds = us;
  }
  if (best) must(gemm.prepare_with(product.key(rows), product.stride, *best));
  return best;
}

/// Whether two results of a product are the same but for rounding: of sums of k products of normal
/// numbers, in f32, and then to bf16.
bool agree(const Product& product, const std::vector<double>& one,
           const std::vector<double>& other) {
  const double relative = product.output == GemmOutput::bf16 ? 1.0 / 128 : 1e-4;
  const double absolute = 1e-4 * std::sqrt(static_cast<double>(product.k));
  for (std::size_t i = 0; i < one.size(); ++i)
    if (!(std::abs(one[i] - other[i]) <= absolute + relative * std::abs(other[i]))) return false;
  return true;
}

/// Microseconds of our own kernel, if it takes the product and gives what the library does, which
/// is checked and reported.
std::optional<double> own_microseconds(Gemm& library, SkinnyGemm& own, const Product& product,
                                       std::int64_t rows, const Operands& operands,
                                       Report& report) {
  if (!own.supports(product.key(rows))) return std::nullopt;
  must(library.prepare(product.key(rows), product.stride));
  const bool right = agree(product, operands.results(own, product, rows),
                           operands.results(library, product, rows));
  report.check("gemm-tune " + std::string(product.name) + " rows " + std::to_string(rows) + ", own",
               right, right ? "" : "other results than the library's");
  if (!right) return std::nullopt;
  return 1e6 * operands.seconds(own, product, rows);
}

}  // namespace

Ceilings measure_ceilings(const Lab& lab, Report& report) {
  Ceilings found;
  {
    const std::int64_t bytes = lab.scale < 1 ? 1 << 16 : 1LL << 30;
    const auto from = random_there(lab, bytes / 2);
    const DeviceArray<std::uint16_t> to(lab, static_cast<std::size_t>(bytes / 2));
    const double seconds = seconds_of(lab, lab.scale < 1 ? 1 : 20, [&] {
      must(lab.driver->copy_on_device(to.data(), from.data(), Bytes(bytes), lab.stream));
    });
    found.bytes_per_second = 2 * static_cast<double>(bytes) / seconds;
  }
  const std::int64_t side = lab.scale < 1 ? 32 : 8192;
  const auto a = random_there(lab, side * side), weights = random_there(lab, side * side);
  const DeviceArray<std::uint16_t> out(lab, static_cast<std::size_t>(side * side));
  const GemmKey key{side, side, side, GemmOutput::bf16};
  must(lab.gemm->prepare(key, side));
  const double seconds = seconds_of(lab, lab.scale < 1 ? 1 : 20, [&] {
    must(lab.gemm->run(key, {a.data(), weights.data(), out.data(), side}, lab.stream));
  });
  found.operations_per_second = 2.0 * static_cast<double>(side * side * side) / seconds;
  report.figure("ceiling: a copy of 1 GiB on the device, read and written",
                found.bytes_per_second / 1e9, "GB/s");
  report.figure("ceiling: a bf16 product of 8192 x 8192 x 8192, random numbers",
                found.operations_per_second / 1e12, "TFLOP/s");
  return found;
}

namespace {

/// Figures of every product of a model at some rows by one Gemm; `suffix` is part of their names.
void measure_rows(const Lab& lab, Gemm& gemm, const std::string& suffix,
                  const std::vector<Product>& products, std::int64_t rows, bool by_bytes,
                  const Operands& operands, const Ceilings& ceilings, Report& report) {
  const double ceiling = by_bytes ? ceilings.bytes_per_second : ceilings.operations_per_second;
  const auto* unit = by_bytes ? "% of the copy's bytes a second" : "% of the large product's rate";
  double seconds = 0, layer = 0;
  for (const auto& product : products) {
    if (too_many(product, rows) || lab.late()) continue;
    if (auto r = gemm.prepare(product.key(rows), product.stride); !r)
      return report.note("gemm" + suffix, r.error().message);
    const double one = operands.seconds(gemm, product, rows);
    const double work = by_bytes ? product.bytes(rows) : product.operations(rows);
    const auto name =
        std::string("gemm ") + product.name + " rows " + std::to_string(rows) + suffix;
    report.figure(name, one * 1e6, "us");
    report.figure(name, 100 * work / one / ceiling, unit);
    if (product.output == GemmOutput::f32) continue;
    seconds += one;
    layer += work;
  }
  if (lab.late()) return report.note("gemm", "the command's time is over");
  report.figure("gemm of a layer rows " + std::to_string(rows) + suffix,
                100 * layer / seconds / ceiling, unit);
}

}  // namespace

void measure_products(const Lab& lab, const ModelSize& size, const Ceilings& ceilings,
                      Report& report) {
  const auto products = products_of(ModelShape(size.config));
  const bool tiny = lab.scale < 1;
  const Operands operands(lab, products, tiny ? 16 : many_rows[std::size(many_rows) - 1]);
  const OwnProducts own(lab);
  const auto measure = [&](Gemm& gemm, const std::string& suffix, std::int64_t rows,
                           bool by_bytes) {
    measure_rows(lab, gemm, suffix, products, rows, by_bytes, operands, ceilings, report);
  };
  for (const auto rows : few_rows) {
    if (tiny && rows > 16) continue;
    measure(*lab.gemm, "", rows, true);
    measure(*own.gemm, ", own", rows, true);
  }
  if (!tiny)
    for (const auto rows : many_rows) measure(*lab.gemm, "", rows, false);
  else
    measure(*lab.gemm, "", 16, false);
}

void tune_products(const Lab& lab, CublasGemm& gemm, const ModelSize& size, const std::string& file,
                   Report& report) {
  const auto products = products_of(ModelShape(size.config));
  const bool tiny = lab.scale < 1;
  const Operands operands(lab, products, tiny ? 16 : many_rows[std::size(many_rows) - 1]);
  const OwnProducts own(lab);
  auto all_rows = buckets_up_to(tiny ? 16 : skinny_rows);
  if (!tiny) all_rows.insert(all_rows.end(), {128, 256, 512, 1024, 2048, 8192});
  GemmTuning tuning{
      .device = lab.driver->properties().name, .library = gemm.library_version(), .choices = {}};
  for (const auto& product : products)
    for (const auto rows : all_rows) {
      if (too_many(product, rows)) continue;
      if (lab.late()) {
        report.note("gemm-tune", "the command's time is over; later products are not tuned");
        break;
      }
      const auto key = product.key(rows);
      const auto name = std::string("gemm-tune ") + product.name + " rows " + std::to_string(rows);
      double first_us = 0;
      const auto best = fastest(gemm, product, rows, operands, first_us);
      if (best) {
        tuning.choices[key] = *best;
        report.figure(name, best->microseconds,
                      "us, the library's own choice " + std::to_string(first_us));
        report.figure(name, product.operations(rows) / best->microseconds / 1e6, "TFLOP/s");
      }
      const auto ours = own_microseconds(gemm, *own.gemm, product, rows, operands, report);
      if (!ours) continue;
      const bool faster = best && *ours < best->microseconds;
      report.figure(name + ", own", *ours, faster ? "us, chosen" : "us");
      if (!faster) continue;
      tuning.choices.erase(key);
      tuning.own[key] = *ours;
    }
  std::ofstream out(file, std::ios::trunc);
  out << to_text(tuning);
  report.check("gemm-tune: " + file + " written", static_cast<bool>(out.flush()), "");
}

}  // namespace tandem::gpu_check
