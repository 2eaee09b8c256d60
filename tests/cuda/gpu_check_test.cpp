// gpu_check's own checks on the emulated device: they pass on kernels that are right, and a wrong
// result is noticed.
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <limits>
#include <map>
#include <random>

#include "bench/gpu_check/lab.hpp"
#include "bench/gpu_check/model_runner.hpp"
#include "tests/cuda/emulated_kernels.hpp"
#include "tests/cuda/fake_driver.hpp"
#include "tests/cuda/written_out_flashinfer.hpp"

using namespace tandem;

namespace {

struct FakeLab {
  FakeLab() {
    driver.memory_info = {Bytes(512 << 20), Bytes(512 << 20)};
    stream = gpu_check::must(gpu::cuda::make_stream(driver, gpu::cuda::StreamPriority::normal));
    lab = {.driver = &driver,
           .kernels = &tests::emulated_kernels(),
           .gemm = &gemm,
           .stream = stream.get(),
           .scale = 1.0 / 256};
    lab.open_parts = [this](const gpu::CudaOptions&) -> Result<gpu::cuda::BackendParts> {
      auto own = std::make_unique<tests::FakeDriver>();
      own->lose_a_bit_to_host = lose_bits;
      own->memory_info = {Bytes(100 << 20), Bytes(100 << 20)};
      own->described = driver.described;
      running = own.get();
      auto products = make_gemm(*own);
      return gpu::cuda::BackendParts{std::move(own), lab.kernels, std::move(products),
                                     lab.flashinfer};
    };
    lab.pump = [this] { running->run_all(); };
  }

  tests::FakeDriver driver;
  tests::FakeGemm gemm;
  std::function<std::unique_ptr<gpu::cuda::Gemm>(gpu::cuda::Driver&)> make_gemm =
      [](gpu::cuda::Driver&) { return std::make_unique<tests::FakeGemm>(); };
  tests::FakeDriver* running = nullptr;
  bool lose_bits = false;
  gpu::cuda::OwnedStream stream;
  gpu_check::Lab lab;
  gpu_check::Report report;
};

model::ModelConfig tiny_config() {
  model::ModelConfig config;
  config.vocab_size = 64;
  config.hidden_size = 32;
  config.intermediate_size = 48;
  config.num_layers = 2;
  config.num_heads = 2;
  config.num_kv_heads = 1;
  config.head_dim = 16;
  return config;
}

}  // namespace

TEST_CASE("gpu_check's checks of kernels and products pass on the emulated device") {
  FakeLab fake;
  gpu_check::check_row_kernels(fake.lab, fake.report);
  gpu_check::check_products(fake.lab, fake.report);
  gpu_check::check_own_products(fake.lab, fake.report);
  gpu_check::check_draws(fake.lab, fake.report);
  INFO(fake.report.table());
  CHECK(fake.report.failed() == 0);
  CHECK(fake.report.passed() == 18 + 27 + 30 + 16);
}

TEST_CASE("gpu_check's checks of attention pass on the emulated device") {
  FakeLab fake;
  gpu_check::check_attention(fake.lab, fake.report);
  INFO(fake.report.table());
  CHECK(fake.report.failed() == 0);
  CHECK(fake.report.passed() == 4 * 3 * 4);
}

TEST_CASE("gpu_check's checks of FlashInfer's attention pass with its kernels written out") {
  for (const auto planners : tests::flashinfer_planners()) {
    FakeLab fake;
    const auto functions = tests::written_out_flashinfer(planners);
    fake.lab.flashinfer = &functions;
    gpu_check::check_attention(fake.lab, fake.report);
    INFO(fake.report.table());
    CHECK(fake.report.failed() == 0);
    // Heads of 64 and of 128 elements: by FA2 and by FA3 as well.
    CHECK(fake.report.passed() == 4 * 3 * 4 + 2 * 3 * 4 * 2);
  }
}

TEST_CASE("gpu_check's models with FlashInfer's attention agree with the reference") {
  // FlashInfer's own planners, where they are built in: FA2 on the one device, FA3 on the other.
  const auto functions = tests::written_out_flashinfer(tests::flashinfer_planners().back());
  for (const int major : {8, 9}) {
    FakeLab fake;
    fake.lab.flashinfer = &functions;
    fake.driver.described.compute_major = major;
    gpu_check::check_models(fake.lab, fake.report);
    INFO(fake.report.table());
    CHECK(fake.report.failed() == 0);
    CHECK(fake.report.passed() == 35 + 21);  // mistral's heads have 32 elements here
  }
}

TEST_CASE("gpu_check's measurements run, and copies arrive") {
  FakeLab fake;
  gpu_check::measure_attention(fake.lab, fake.report);
  gpu_check::measure_copies(fake.lab, fake.report);
  INFO(fake.report.table());
  CHECK(fake.report.failed() == 0);
  CHECK(fake.report.passed() == 1);
}

TEST_CASE("gpu_check notices a kernel that is wrong") {
  FakeLab fake;
  auto wrong = tests::emulated_kernels();
  wrong.norm = [](const gpu::cuda::NormArgs& args, std::int64_t rows, gpu::cuda::Stream stream) {
    auto changed = args;
    changed.epsilon = 0.5F;
    tests::emulated_kernels().norm(changed, rows, stream);
  };
  fake.lab.kernels = &wrong;
  gpu_check::check_row_kernels(fake.lab, fake.report);
  CHECK(fake.report.failed() == 9);
  CHECK(fake.report.table().find("FAILED") != std::string::npos);
  CHECK(fake.report.json().find("\"passed\": false") != std::string::npos);
}

TEST_CASE("gpu_check notices a product of ours that gives other bits when it is run again") {
  FakeLab fake;
  auto restless = tests::emulated_kernels();
  restless.skinny = [](const gpu::cuda::SkinnyArgs& args, gpu::cuda::Stream stream) {
    tests::emulated_kernels().skinny(args, stream);
    static float more = 0;
    if (args.output == gpu::cuda::GemmOutput::bf16) return;
    reinterpret_cast<tests::EmulatedStream*>(stream)->enqueue(
        [args] { *static_cast<float*>(args.out) += (more += 1e-5F); });
  };
  fake.lab.kernels = &restless;
  gpu_check::check_own_products(fake.lab, fake.report);
  CHECK(fake.report.passed() == 10);
  CHECK(fake.report.failed() == 20);
  CHECK(fake.report.table().find("other bits when run again") != std::string::npos);
}

TEST_CASE("gpu_check says where a device does not take our own products of few rows") {
  FakeLab fake;
  fake.driver.described.block_memory = Bytes(99 << 10);
  gpu_check::check_own_products(fake.lab, fake.report);
  gpu_check::measure_products(fake.lab, {tiny_config(), "tiny"}, {1e9, 1e9}, fake.report);
  const auto table = fake.report.table();
  CHECK(fake.report.passed() == 0);
  CHECK(table.find("101376") != std::string::npos);
  CHECK(table.find("gemm head rows 8 ") != std::string::npos);
  CHECK(table.find("gemm head rows 8, own ") == std::string::npos);
}

TEST_CASE("gpu_check's models agree with the reference on the emulated device") {
  FakeLab fake;
  gpu_check::check_models(fake.lab, fake.report);
  INFO(fake.report.table());
  CHECK(fake.report.failed() == 0);
  CHECK(fake.report.passed() == 35);
}

namespace {

/// Lowers logits that are low already, of one token: no reported logprob and no greedy token shows
/// it.
class WrongHead final : public gpu::cuda::Gemm {
 public:
  explicit WrongHead(std::int64_t vocab) : vocab_(vocab) {}
  [[nodiscard]] std::string name() const override { return right_.name(); }
  void set_workspace(std::byte* memory, Bytes size) override { right_.set_workspace(memory, size); }
  Result<void> prepare(const gpu::cuda::GemmKey& key, std::int64_t out_stride) override {
    return right_.prepare(key, out_stride);
  }
  Result<void> run(const gpu::cuda::GemmKey& key, const gpu::cuda::GemmOperands& operands,
                   gpu::cuda::Stream stream) override {
    auto result = right_.run(key, operands, stream);
    if (key.n != vocab_ || key.output != gpu::cuda::GemmOutput::f32) return result;
    reinterpret_cast<tests::EmulatedStream*>(stream)->enqueue([key, operands] {
      for (std::int64_t row = 0; row < key.rows; ++row) {
        auto& value = static_cast<float*>(operands.out)[row * operands.out_stride + 571];
        if (value < 0) value -= 0.3F;
      }
    });
    return result;
  }

 private:
  std::int64_t vocab_;
  tests::FakeGemm right_;
};

}  // namespace

TEST_CASE("gpu_check notices one wrong logit that no token and no logprob shows") {
  FakeLab fake;
  fake.make_gemm = [](gpu::cuda::Driver&) { return std::make_unique<WrongHead>(600); };
  gpu_check::check_models(fake.lab, fake.report);
  const auto table = fake.report.table();
  INFO(table);
  CHECK(fake.report.failed() == 8);
  CHECK(fake.report.passed() == 27);
  std::size_t found = 0;
  for (auto at = table.find("FAILED"); at != std::string::npos; at = table.find("FAILED", at + 1)) {
    const auto line = table.rfind('\n', at) + 1;
    found += table.substr(line, at - line).find("all logits") != std::string::npos;
  }
  CHECK(found == 8);
}

TEST_CASE("gpu_check's copies of KV blocks beside a decode arrive, and lost bits are noticed") {
  FakeLab fake;
  gpu_check::check_kv_copies(fake.lab, fake.report);
  INFO(fake.report.table());
  CHECK(fake.report.failed() == 0);
  CHECK(fake.report.passed() == 2);
  fake.lose_bits = true;
  gpu_check::check_kv_copies(fake.lab, fake.report);
  CHECK(fake.report.failed() > 0);
}

TEST_CASE("gpu_check's measurements of ceilings and products run on the emulated device") {
  FakeLab fake;
  const auto config = tiny_config();
  const auto ceilings = gpu_check::measure_ceilings(fake.lab, fake.report);
  CHECK(ceilings.bytes_per_second > 0);
  CHECK(ceilings.operations_per_second > 0);
  gpu_check::measure_products(fake.lab, {config, "tiny"}, ceilings, fake.report);
  const auto table = fake.report.table();
  for (const auto* name : {"gemm qkv rows 1 ", "gemm head rows 8 ", "gemm of a layer rows 16 ",
                           "gemm head rows 8, own ", "gemm of a layer rows 16, own ",
                           "% of the copy's bytes a second", "% of the large product's rate"}) {
    INFO(name);
    CHECK(table.find(name) != std::string::npos);
  }
  fake.lab.deadline = std::chrono::steady_clock::now();
  gpu_check::measure_products(fake.lab, {config, "tiny"}, ceilings, fake.report);
  CHECK(fake.report.table().find("the command's time is over") != std::string::npos);
}

namespace {

/// A library of two algorithms: the first takes four steps of virtual time, the second one, and
/// both two more at more than four rows.
class TwoAlgorithms final : public gpu::cuda::CublasGemm {
 public:
  [[nodiscard]] std::string name() const override { return "two_algorithms"; }
  [[nodiscard]] std::uint64_t library_version() const override { return 7; }
  void set_workspace(std::byte*, Bytes) override {}
  void use(gpu::cuda::GemmTuning) override {}
  Result<std::vector<gpu::cuda::TunedGemm>> candidates(const gpu::cuda::GemmKey&, std::int64_t,
                                                       std::size_t) override {
    return std::vector<gpu::cuda::TunedGemm>{{.algorithm = {4}}, {.algorithm = {1}}};
  }
  Result<void> prepare_with(const gpu::cuda::GemmKey& key, std::int64_t out_stride,
                            const gpu::cuda::TunedGemm& choice) override {
    extra_steps_[key] = choice.algorithm[0] - 1 + (key.rows > 4 ? 2 : 0);
    return right_.prepare(key, out_stride);
  }
  Result<void> prepare(const gpu::cuda::GemmKey& key, std::int64_t) override {
    REQUIRE(extra_steps_.contains(key));
    return {};
  }
  Result<void> run(const gpu::cuda::GemmKey& key, const gpu::cuda::GemmOperands& operands,
                   gpu::cuda::Stream stream) override {
    for (std::uint64_t i = 0; i < extra_steps_.at(key); ++i)
      reinterpret_cast<tests::EmulatedStream*>(stream)->enqueue([] {});
    return right_.run(key, operands, stream);
  }

 private:
  tests::FakeGemm right_;
  std::map<gpu::cuda::GemmKey, std::uint64_t> extra_steps_;
};

/// What gemm-tune writes with these kernels.
gpu::cuda::GemmTuning tuned_with(FakeLab& fake, const gpu::cuda::KernelTable& kernels) {
  TwoAlgorithms library;
  fake.lab.gemm = &library;
  fake.lab.kernels = &kernels;
  const auto file = std::filesystem::temp_directory_path() / "tandem_gemm_tuning_test.txt";
  gpu_check::tune_products(fake.lab, library, {tiny_config(), "tiny"}, file.string(), fake.report);
  std::ifstream in(file, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  std::filesystem::remove(file);
  return gpu_check::must(gpu::cuda::parse_tuning(text, file.string()));
}

}  // namespace

TEST_CASE("gemm-tune writes our own kernel where it is faster, the library's best elsewhere") {
  // Of virtual time our own takes two steps; the library one up to four rows, three beyond.
  auto kernels = tests::emulated_kernels();
  kernels.skinny = [](const gpu::cuda::SkinnyArgs& args, gpu::cuda::Stream stream) {
    reinterpret_cast<tests::EmulatedStream*>(stream)->enqueue([] {});
    tests::emulated_kernels().skinny(args, stream);
  };
  FakeLab fake;
  const auto tuning = tuned_with(fake, kernels);
  INFO(fake.report.table());
  CHECK(fake.report.failed() == 0);
  CHECK(tuning.device == "Fake GPU");
  CHECK(tuning.library == 7);
  CHECK(tuning.choices.size() == 5 * 3);  // 1, 2 and 4 rows
  CHECK(tuning.own.size() == 5 * 2);      // 8 and 16
  for (const auto& [key, choice] : tuning.choices) {
    CHECK(key.rows <= 4);
    CHECK(choice.algorithm[0] == 1);
  }
  for (const auto& [key, microseconds] : tuning.own) CHECK(key.rows > 4);
  CHECK(fake.report.table().find("us, chosen") != std::string::npos);
}

TEST_CASE("gemm-tune leaves out our own kernel where its results are wrong") {
  auto kernels = tests::emulated_kernels();
  kernels.skinny = [](const gpu::cuda::SkinnyArgs& args, gpu::cuda::Stream stream) {
    auto shorter = args;
    if (args.output == gpu::cuda::GemmOutput::f32) --shorter.n;  // of the head, one token's logit
    tests::emulated_kernels().skinny(shorter, stream);
  };
  FakeLab fake;
  const auto tuning = tuned_with(fake, kernels);
  CHECK(fake.report.failed() == 5);
  CHECK(tuning.own.size() == 4 * 2);
  for (const auto& [key, microseconds] : tuning.own)
    CHECK(key.output != gpu::cuda::GemmOutput::f32);
}

TEST_CASE("gpu_check's measurements of models run on the emulated device") {
  FakeLab fake;
  model::ModelConfig config;
  config.vocab_size = 64;
  config.hidden_size = 32;
  config.intermediate_size = 32;
  config.num_layers = 8;
  config.num_heads = 2;
  config.num_kv_heads = 1;
  config.head_dim = 16;
  config.max_position = 4096;
  gpu::CudaOptions options;
  options.max_sequences = 4;
  options.max_iteration_tokens = Tokens(16);
  options.layers_per_segment = 2;
  const gpu_check::ModelSize size{config, "tiny"};
  const gpu_check::Ceilings ceilings{1e9, 1e9};
  gpu_check::ModelRunner runner(fake.lab, *model::dummy_weights(config, model::Dtype::bf16, 1),
                                options);
  gpu_check::measure_decode(runner, size, ceilings, fake.report);
  gpu_check::measure_prefill(runner, size, ceilings, fake.report);
  gpu_check::measure_graphs(runner, size, fake.report);
  gpu_check::measure_preemption(runner, size, 2, fake.report);
  gpu_check::measure_kv_copies(runner, size, fake.report);
  const auto table = fake.report.table();
  INFO(table);
  CHECK(fake.report.failed() == 0);
  for (const auto* name :
       {"decode tiny 2 x 20 ", "% of the floor's rate", "us of the host an iteration",
        "us without compute between iterations, worst", "ms in the graph, median",
        "between iterations, one by one, median", "prefill tiny 16 after 16 ",
        "preempt tiny 16 tokens, groups of 2", "ms from request to yield, worst",
        "the safepoints when nobody preempts", "checkpoint, pieces of 64 KiB, alone",
        "checkpoint, pieces of 2048 KiB, beside a decode", "restore, pieces of 64 KiB",
        "% longer decode iterations"}) {
    INFO(name);
    CHECK(table.find(name) != std::string::npos);
  }
  fake.lab.deadline = std::chrono::steady_clock::now();
  gpu_check::measure_preemption(runner, size, 2, fake.report);
  CHECK(fake.report.table().find("the command's time is over") != std::string::npos);
}

TEST_CASE("a report's file is whole or not there") {
  gpu_check::Report report;
  report.figure("decode", 3.5, "ms an iteration");
  report.figure("floor", std::numeric_limits<double>::infinity(),
                "ms");  // which JSON has no number for
  CHECK(report.json().find("\"value\": null, \"unit\": \"ms\"") != std::string::npos);
  const auto folder = std::filesystem::temp_directory_path() /
                      ("gpu_check_test_" + std::to_string(std::random_device{}()));
  const auto file = (folder / "found.json").string();
  CHECK_FALSE(report.write_json(file));  // there is no such folder
  CHECK(report.write_json(""));
  std::filesystem::create_directory(folder);
  for (int round = 0; round < 2; ++round) {
    report.check("norm", true, "");
    REQUIRE(report.write_json(file));
    std::ifstream in(file);
    CHECK(std::string(std::istreambuf_iterator<char>(in), {}) == report.json());
  }
  const std::filesystem::directory_iterator all(folder);
  CHECK(std::distance(begin(all), end(all)) == 1);
  std::filesystem::remove_all(folder);
}
