// gpu_check: what can be said of the CUDA backend only on a GPU. Needs no Boost library and no CAF.
//   usage: gpu_check [--device N] [--json FILE] [--tuning FILE] [--attention NAME] [--shape NAME]
//                    [--kernel-launch NAME] COMMAND…
//   commands: correctness attention gemm-tune gemm graph copy preempt decode prefill all
// Prints a table and `N passed, N failed`; exits 0 if nothing failed, 1 if something did, 2 without
// a device or with a wrong command line.
#include <algorithm>
#include <chrono>

#include "bench/gpu_check/lab.hpp"
#include "bench/gpu_check/model_runner.hpp"
#include "gpu/cuda/cublas_gemm.hpp"
#include "gpu/cuda/cuda_driver.hpp"
#include "gpu/cuda/memory_plan.hpp"
#include "gpu/cuda/start_checks.hpp"

namespace tandem::gpu_check {
namespace {

constexpr const char* commands[] = {"correctness", "attention", "gemm-tune", "gemm",    "graph",
                                    "copy",        "preempt",   "decode",    "prefill", "all"};
constexpr const char* usage =
    "usage: gpu_check [--device N] [--json FILE] [--tuning FILE] [--attention NAME] "
    "[--shape NAME] [--kernel-launch NAME] COMMAND…\n"
    "commands: correctness attention gemm-tune gemm graph copy preempt decode prefill all\n"
    "  --device N     which NVIDIA device (default 0)\n"
    "  --json FILE    also write what was found as JSON\n"
    "  --tuning FILE  where gemm-tune writes its choices (default gemm_tuning.txt); without that\n"
    "                 command, where they are read\n"
    "  --attention NAME  of the large model: own (default) or flashinfer, where it is built in;\n"
    "                 the attention commands take all there are\n"
    "  --kernel-launch NAME  of our own kernels: serial (default), or dependent, which begin\n"
    "                 while the one before ends; gemm-tune, alone or in all, takes serial, since\n"
    "                 in a row of equal products ours would hide more than in a model\n"
    "  --shape NAME   of the model that is measured: llama-3.1-8b (default), llama-3.2-1b,\n"
    "                 qwen3-0.6b, qwen2.5-0.5b; its weights are random\n"
    "  --small        the same as --shape qwen2.5-0.5b\n";

struct Arguments {
  std::uint32_t device = 0;
  std::string json, tuning, shape = "llama-3.1-8b", attention = "own";
  std::string kernel_launch = "serial";
  std::vector<std::string> commands;

  /// Where choices of products are written by gemm-tune.
  [[nodiscard]] std::string tuning_file() const {
    return tuning.empty() ? "gemm_tuning.txt" : tuning;
  }
  /// What measured models take their products by; empty: the library's own choice.
  [[nodiscard]] std::string tuning_to_read() const {
    return wants("gemm-tune") ? tuning_file() : tuning;
  }
  [[nodiscard]] bool wants(const std::string& command) const {
    return std::any_of(commands.begin(), commands.end(),
                       [&](const auto& one) { return one == command || one == "all"; });
  }
  /// Anything whose share of the device's ceilings is told.
  [[nodiscard]] bool wants_measurement() const {
    return wants("gemm") || wants("decode") || wants("prefill");
  }
};

struct Shape {
  const char* name;
  std::int64_t vocab, hidden, intermediate, layers, heads, kv_heads, head_dim;
  bool tied_head, qkv_bias, qk_norm;
};
constexpr Shape shapes[] = {
    {"llama-3.1-8b", 128256, 4096, 14336, 32, 32, 8, 128, false, false, false},
    {"llama-3.2-1b", 128256, 2048, 8192, 16, 32, 8, 64, true, false, false},
    {"qwen3-0.6b", 151936, 1024, 3072, 28, 16, 8, 128, true, false, true},
    {"qwen2.5-0.5b", 151936, 896, 4864, 24, 14, 2, 64, true, true, false}};

bool is_shape(const std::string& name) {
  return std::any_of(std::begin(shapes), std::end(shapes),
                     [&](const Shape& one) { return one.name == name; });
}

bool parse(int count, char** values, Arguments& arguments) {
  for (int i = 1; i < count; ++i) {
    const std::string word = values[i];
    if (word == "--small") {
      arguments.shape = "qwen2.5-0.5b";
    } else if (word == "--device" || word == "--json" || word == "--tuning" || word == "--shape" ||
               word == "--attention" || word == "--kernel-launch") {
      if (++i == count) return false;
      if (word == "--shape" && !is_shape(values[i])) return false;
      if (word == "--shape") arguments.shape = values[i];
      if (word == "--json") arguments.json = values[i];
      if (word == "--tuning") arguments.tuning = values[i];
      if (word == "--attention") arguments.attention = values[i];
      if (word == "--kernel-launch") arguments.kernel_launch = values[i];
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
  const bool tunes_dependent =
      arguments.kernel_launch == "dependent" && arguments.wants("gemm-tune");
  return !arguments.commands.empty() && !tunes_dependent;
}

ModelSize model_size(const std::string& name) {
  const auto& shape = *std::find_if(std::begin(shapes), std::end(shapes),
                                    [&](const Shape& one) { return one.name == name; });
  model::ModelConfig config;
  config.vocab_size = shape.vocab;
  config.hidden_size = shape.hidden;
  config.intermediate_size = shape.intermediate;
  config.num_layers = shape.layers;
  config.num_heads = shape.heads;
  config.num_kv_heads = shape.kv_heads;
  config.head_dim = shape.head_dim;
  config.max_position = 16384;
  config.tied_head = shape.tied_head;
  config.qkv_bias = shape.qkv_bias;
  config.qk_norm = shape.qk_norm;
  return {config, name};
}

/// Seconds that a command may take, for `all` to end within 8 minutes; whether it does, a GPU has
/// yet to show. Most measurements leave out their rest when their time is over, and say so;
/// attention, graph and the pinned copies are short and run to their end, as checks do.
constexpr struct {
  const char* command;
  int seconds;
} budgets[] = {{"ceilings", 10},  {"gemm-tune", 60}, {"gemm", 30},
               {"attention", 40}, {"decode", 40},    {"prefill", 40},
               {"preempt", 25},   {"graph", 10},     {"copy", 40}};

/// Runs commands that were asked for, one after another, each within its time. What they found is
/// in the file of --json when the next one begins: who ends the program keeps that.
class Program {
 public:
  Program(const Arguments& arguments, Lab& lab, gpu::cuda::CublasGemm& gemm, Report& report)
      : arguments_(arguments),
        lab_(lab),
        gemm_(gemm),
        report_(report),
        size_(model_size(arguments.shape)) {}

  void run() {
    if (arguments_.wants("correctness")) check();
    if (arguments_.wants_measurement())
      timed("ceilings", [&] { ceilings_ = measure_ceilings(lab_, report_); });
    if (arguments_.wants("copy")) timed("copy", [&] { measure_copies(lab_, report_); });
    if (arguments_.wants("attention"))
      timed("attention", [&] { measure_attention(lab_, report_); });
    if (arguments_.wants("gemm-tune"))
      timed("gemm-tune",
            [&] { tune_products(lab_, gemm_, size_, arguments_.tuning_file(), report_); });
    if (arguments_.wants("gemm"))
      timed("gemm", [&] { measure_products(lab_, size_, ceilings_, report_); });
    measure_model();
  }

 private:
  template <class Work>
  void timed(const char* command, const Work& work) {
    const auto start = std::chrono::steady_clock::now();
    const auto* budget = std::find_if(std::begin(budgets), std::end(budgets), [&](const auto& one) {
      return std::string(one.command) == command;
    });
    lab_.deadline = start + std::chrono::seconds(budget->seconds);
    work();
    lab_.deadline = std::chrono::steady_clock::time_point::max();
    report_.figure(std::string(command) + ": taken",
                   std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(),
                   "s");
    save();
  }

  /// Whether it can be written, the end of the program says.
  void save() const { (void)report_.write_json(arguments_.json); }

  void check() {
    check_row_kernels(lab_, report_);
    check_products(lab_, report_);
    check_own_products(lab_, report_);
    check_attention(lab_, report_);
    check_draws(lab_, report_);
    check_models(lab_, report_);
    check_kv_copies(lab_, report_);
    save();
  }

  /// The weights are made once; a backend is made anew where its segments have other lengths.
  void measure_model() {
    const bool preempt = arguments_.wants("preempt");
    const bool others = arguments_.wants("decode") || arguments_.wants("prefill") ||
                        arguments_.wants("graph") || arguments_.wants("copy");
    if (!preempt && !others) return;
    const auto weights = model::dummy_weights(size_.config, model::Dtype::bf16, 1);
    for (const std::uint32_t group : {4U, 2U, 1U}) {
      if (group != 4 && !preempt) continue;
      gpu::CudaOptions options;
      options.max_iteration_tokens = Tokens(8192);
      options.attention = arguments_.attention;
      options.layers_per_segment = group;
      options.gemm_tuning_file = arguments_.tuning_to_read();
      ModelRunner runner(lab_, *weights, options);
      if (group == 4) measure_iterations(runner);
      if (preempt) timed("preempt", [&] { measure_preemption(runner, size_, group, report_); });
    }
  }

  void measure_iterations(ModelRunner& runner) {
    if (arguments_.wants("decode"))
      timed("decode", [&] { measure_decode(runner, size_, ceilings_, report_); });
    if (arguments_.wants("prefill"))
      timed("prefill", [&] { measure_prefill(runner, size_, ceilings_, report_); });
    if (arguments_.wants("graph")) timed("graph", [&] { measure_graphs(runner, size_, report_); });
    if (arguments_.wants("copy")) timed("copy", [&] { measure_kv_copies(runner, size_, report_); });
  }

  const Arguments& arguments_;
  Lab& lab_;
  gpu::cuda::CublasGemm& gemm_;
  Report& report_;
  const ModelSize size_;
  Ceilings ceilings_;
};

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
  if (auto r = gpu::cuda::check_kernel_launch(arguments.kernel_launch, (*driver)->properties());
      !r) {
    std::fprintf(stderr, "gpu_check: %s\n", r.error().message.c_str());
    return 2;
  }
  auto gemm = gpu::cuda::open_cublas();
  if (!gemm) return no_device(gemm.error());
  Report report;
  const auto stream = must(gpu::cuda::make_stream(**driver, gpu::cuda::StreamPriority::normal));
  const auto workspace =
      must(gpu::cuda::DeviceBuffer::make(**driver, Bytes(gpu::cuda::gemm_workspace_bytes)));
  (*gemm)->set_workspace(workspace.data(), workspace.size());
  Lab lab{.driver = driver->get(),
          .kernels = &gpu::cuda::device_kernels(gpu::cuda::launching_of(arguments.kernel_launch)),
          .gemm = gemm->get(),
          .stream = stream.get(),
          .flashinfer = gpu::cuda::flashinfer::built_in()};
  lab.open_parts = [&](const gpu::CudaOptions& options) {
    auto chosen = options;
    chosen.device_index = arguments.device;
    chosen.kernel_launch = arguments.kernel_launch;
    return gpu::cuda::open_parts(chosen);
  };
  report.note("attention", lab.flashinfer ? "our own kernels and FlashInfer's" : "our own kernels");
  report.note("kernel launch", arguments.kernel_launch);
  report.note("device", (*driver)->properties().name + ", " + (*gemm)->name());
  Program(arguments, lab, **gemm, report).run();
  std::fputs(report.table().c_str(), stdout);
  if (!report.write_json(arguments.json)) {
    std::fprintf(stderr, "gpu_check: %s cannot be written\n", arguments.json.c_str());
    return 1;
  }
  return report.failed() == 0 ? 0 : 1;
}

}  // namespace
}  // namespace tandem::gpu_check

int main(int count, char** values) { return tandem::gpu_check::run_program(count, values); }
