// gpu_check: what can be said of the CUDA backend only on a GPU. Needs no Boost library and no CAF.
//   usage: gpu_check [--device N] [--json FILE] [--tuning FILE] [--attention NAME] [--small]
//                    COMMAND…
//   commands: correctness attention gemm-tune graph copy preempt decode prefill all
// Prints a table and `N passed, N failed`; exits 0 if nothing failed, 1 if something did, 2 without
// a device or with a wrong command line.
#include <algorithm>
#include <cstring>
#include <fstream>

#include "bench/gpu_check/lab.hpp"
#include "bench/gpu_check/model_runner.hpp"
#include "gpu/cuda/buckets.hpp"
#include "gpu/cuda/cublas_gemm.hpp"
#include "gpu/cuda/cuda_driver.hpp"
#include "gpu/cuda/memory_plan.hpp"

namespace tandem::gpu_check {
namespace {

constexpr const char* commands[] = {"correctness", "attention", "gemm-tune", "graph", "copy",
                                    "preempt",     "decode",    "prefill",   "all"};
constexpr const char* usage =
    "usage: gpu_check [--device N] [--json FILE] [--tuning FILE] [--attention NAME] [--small] "
    "COMMAND…\n"
    "commands: correctness attention gemm-tune graph copy preempt decode prefill all\n"
    "  --device N     which NVIDIA device (default 0)\n"
    "  --json FILE    also write what was found as JSON\n"
    "  --tuning FILE  where gemm-tune writes its choices (default gemm_tuning.txt)\n"
    "  --attention NAME  of the large model: own (default) or flashinfer, where it is built in;\n"
    "                 the attention commands take all there are\n"
    "  --small        measure a model of 0.5 instead of 8 billion parameters\n";

struct Arguments {
  std::uint32_t device = 0;
  std::string json, tuning = "gemm_tuning.txt", attention = "own";
  bool small = false;
  std::vector<std::string> commands;

  [[nodiscard]] bool wants(const std::string& command) const {
    return std::any_of(commands.begin(), commands.end(),
                       [&](const auto& one) { return one == command || one == "all"; });
  }
};

bool parse(int count, char** values, Arguments& arguments) {
  for (int i = 1; i < count; ++i) {
    const std::string word = values[i];
    if (word == "--small") {
      arguments.small = true;
    } else if (word == "--device" || word == "--json" || word == "--tuning" ||
               word == "--attention") {
      if (++i == count) return false;
      if (word == "--json") arguments.json = values[i];
      if (word == "--tuning") arguments.tuning = values[i];
      if (word == "--attention") arguments.attention = values[i];
      if (word != "--device") continue;
      char* end = nullptr;
      const auto device = std::strtoul(values[i], &end, 10);
      if (end == values[i] || *end != '\0' || device > 255) return false;
      arguments.device = static_cast<std::uint32_t>(device);
    } else if (std::find(std::begin(commands), std::end(commands), word) != std::end(commands)) {
      arguments.commands.push_back(word);
    } else {
      return false;
    }
  }
  return !arguments.commands.empty();
}

ModelSize model_size(bool small) {
  model::ModelConfig config;
  config.vocab_size = small ? 151936 : 128256;
  config.hidden_size = small ? 896 : 4096;
  config.intermediate_size = small ? 4864 : 14336;
  config.num_layers = small ? 24 : 32;
  config.num_heads = small ? 14 : 32;
  config.num_kv_heads = small ? 2 : 8;
  config.head_dim = small ? 64 : 128;
  config.max_position = 16384;
  config.tied_head = small;
  config.qkv_bias = small;
  return {config, small ? "qwen2.5-0.5b" : "llama-3.1-8b"};
}

/// Weights that take turns, so that no product finds its own in the L2 cache.
struct TuningMemory {
  DeviceArray<std::uint16_t> a, weights;
  DeviceArray<float> out;
  std::int64_t weight_elements;
};

/// Microseconds of a product as it is prepared now.
double product_us(const Lab& lab, const gpu::cuda::GemmKey& key, std::int64_t stride,
                  const TuningMemory& memory) {
  const auto each = key.n * key.k;
  const auto turns = std::max<std::int64_t>(1, memory.weight_elements / each);
  std::int64_t turn = 0;
  return 1e6 * seconds_of(lab, static_cast<int>(std::clamp<std::int64_t>(turns, 4, 20)), [&] {
           const auto* weights = memory.weights.data() + turn++ % turns * each;
           must(lab.gemm->run(key, {memory.a.data(), weights, memory.out.data(), stride},
                              lab.stream));
         });
}

void tune(const Lab& lab, gpu::cuda::CublasGemm& gemm, const ModelSize& size,
          const std::string& file, Report& report) {
  using namespace gpu::cuda;
  const ModelShape shape(size.config);
  constexpr std::int64_t most_rows = 4096;
  const auto widest = std::max({shape.hidden, shape.intermediate, shape.query_width()});
  const auto logit_stride = round_up(shape.vocab, 8);
  const std::int64_t out_elements =
      std::max(most_rows * std::max(2 * shape.intermediate, shape.hidden), 256 * logit_stride);
  const std::int64_t weight_elements =
      std::max<std::int64_t>(shape.vocab * shape.hidden, 1LL << 29);
  const TuningMemory memory{
      DeviceArray<std::uint16_t>(lab, static_cast<std::size_t>(most_rows * widest)),
      DeviceArray<std::uint16_t>(lab, static_cast<std::size_t>(weight_elements)),
      DeviceArray<float>(lab, static_cast<std::size_t>(out_elements)), weight_elements};
  struct Product {
    const char* name;
    std::int64_t n, k, stride;
    GemmOutput output;
  };
  const Product products[] = {
      {"qkv", shape.qkv_width(), shape.hidden, shape.qkv_width(), GemmOutput::bf16},
      {"out", shape.hidden, shape.query_width(), shape.hidden, GemmOutput::f32_added},
      {"gate_up", 2 * shape.intermediate, shape.hidden, 2 * shape.intermediate, GemmOutput::bf16},
      {"down", shape.hidden, shape.intermediate, shape.hidden, GemmOutput::f32_added},
      {"head", shape.vocab, shape.hidden, logit_stride, GemmOutput::f32}};
  GemmTuning tuning{.device = lab.driver->properties().name, .library = gemm.library_version()};
  for (const auto& product : products)
    for (const std::int64_t rows : {1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048}) {
      if (product.output == GemmOutput::f32 && rows > logit_rows) continue;
      const GemmKey key{rows, product.n, product.k, product.output};
      auto& best = tuning.choices[key];
      double first = 0;
      for (const auto& candidate : must(gemm.candidates(key, product.stride, 8))) {
        must(gemm.prepare_with(key, product.stride, candidate));
        const double us = product_us(lab, key, product.stride, memory);
        if (first == 0) first = us;
        if (best.microseconds != 0 && us >= best.microseconds) continue;
        best = candidate;
        best.microseconds = us;
      }
      if (first == 0) {
        tuning.choices.erase(key);
        continue;
      }
      must(gemm.prepare_with(key, product.stride, best));
      const auto name = std::string("gemm ") + product.name + " rows " + std::to_string(rows);
      report.figure(name, best.microseconds,
                    "us, the library's own choice " + std::to_string(first));
      report.figure(
          name, 2.0 * static_cast<double>(rows * product.n * product.k) / best.microseconds / 1e6,
          "TFLOP/s");
    }
  std::ofstream out(file, std::ios::trunc);
  out << to_text(tuning);
  report.check("gemm-tune: " + file + " written", static_cast<bool>(out.flush()), "");
}

/// The weights are uploaded once for all measurements.
void measure_model(const Arguments& arguments, const Lab& lab, const ModelSize& size,
                   Report& report) {
  struct Measurement {
    const char* command;
    void (*measure)(ModelRunner&, const ModelSize&, Report&);
  };
  const Measurement all[] = {{"decode", measure_decode},
                             {"prefill", measure_prefill},
                             {"graph", measure_graphs},
                             {"preempt", measure_preemption}};
  const auto wanted = [&](const Measurement& one) { return arguments.wants(one.command); };
  if (std::none_of(std::begin(all), std::end(all), wanted)) return;
  gpu::CudaOptions options;
  options.max_iteration_tokens = Tokens(8192);
  options.attention = arguments.attention;
  ModelRunner runner(lab, *model::dummy_weights(size.config, model::Dtype::bf16, 1), options);
  for (const auto& one : all)
    if (wanted(one)) one.measure(runner, size, report);
}

void run(const Arguments& arguments, Lab& lab, gpu::cuda::CublasGemm& gemm, Report& report) {
  const auto size = model_size(arguments.small);
  if (arguments.wants("correctness")) {
    check_row_kernels(lab, report);
    check_products(lab, report);
    check_attention(lab, report);
    check_draws(lab, report);
    check_models(lab, report);
  }
  if (arguments.wants("copy")) measure_copies(lab, report);
  if (arguments.wants("attention")) measure_attention(lab, report);
  if (arguments.wants("gemm-tune")) tune(lab, gemm, size, arguments.tuning, report);
  measure_model(arguments, lab, size, report);
}

int no_device(const Error& reason) {
  std::fprintf(stderr, "gpu_check: no device to check: %s\n", reason.message.c_str());
  return 2;
}

int run_program(int count, char** values) {
  Arguments arguments;
  if (!parse(count, values, arguments)) {
    std::fputs(usage, stderr);
    return 2;
  }
  if (auto r = gpu::check_attention(arguments.attention); !r) {
    std::fprintf(stderr, "gpu_check: %s\n", r.error().message.c_str());
    return 2;
  }
  auto driver = gpu::cuda::open_driver(arguments.device);
  if (!driver) return no_device(driver.error());
  if (auto r = (*driver)->make_current(); !r) return no_device(r.error());
  auto gemm = gpu::cuda::open_cublas();
  if (!gemm) return no_device(gemm.error());
  Report report;
  const auto stream = must(gpu::cuda::make_stream(**driver, gpu::cuda::StreamPriority::normal));
  const auto workspace =
      must(gpu::cuda::DeviceBuffer::make(**driver, Bytes(gpu::cuda::gemm_workspace_bytes)));
  (*gemm)->set_workspace(workspace.data(), workspace.size());
  Lab lab{.driver = driver->get(),
          .kernels = &gpu::cuda::device_kernels(),
          .gemm = gemm->get(),
          .stream = stream.get(),
          .flashinfer = gpu::cuda::flashinfer::built_in()};
  lab.make_backend = [&](const model::Weights& weights, const gpu::CudaOptions& options) {
    auto chosen = options;
    chosen.device_index = arguments.device;
    return gpu::make_cuda_backend(weights, chosen);
  };
  report.note("attention", lab.flashinfer ? "our own kernels and FlashInfer's" : "our own kernels");
  report.note("device", (*driver)->properties().name + ", " + (*gemm)->name());
  run(arguments, lab, **gemm, report);
  std::fputs(report.table().c_str(), stdout);
  if (!arguments.json.empty()) {
    std::ofstream out(arguments.json, std::ios::trunc);
    out << report.json();
    if (!out.flush()) {
      std::fprintf(stderr, "gpu_check: %s cannot be written\n", arguments.json.c_str());
      return 1;
    }
  }
  return report.failed() == 0 ? 0 : 1;
}

}  // namespace
}  // namespace tandem::gpu_check

int main(int count, char** values) { return tandem::gpu_check::run_program(count, values); }
