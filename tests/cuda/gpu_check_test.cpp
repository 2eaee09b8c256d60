// gpu_check's own checks on the emulated device: they pass on kernels that are right, and a wrong
// result is noticed.
#include <catch2/catch.hpp>

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
    lab.make_backend = [this](const model::Weights& weights, const gpu::CudaOptions& options) {
      auto own = std::make_unique<tests::FakeDriver>();
      own->described = driver.described;
      own->memory_info = {Bytes(100 << 20), Bytes(100 << 20)};
      running = own.get();
      return gpu::cuda::make_backend({std::move(own), &tests::emulated_kernels(),
                                      std::make_unique<tests::FakeGemm>(), lab.flashinfer},
                                     weights, options);
    };
    lab.pump = [this] { running->run_all(); };
  }

  tests::FakeDriver driver;
  tests::FakeGemm gemm;
  tests::FakeDriver* running = nullptr;
  gpu::cuda::OwnedStream stream;
  gpu_check::Lab lab;
  gpu_check::Report report;
};

}  // namespace

TEST_CASE("gpu_check's checks of kernels and products pass on the emulated device") {
  FakeLab fake;
  gpu_check::check_row_kernels(fake.lab, fake.report);
  gpu_check::check_products(fake.lab, fake.report);
  gpu_check::check_draws(fake.lab, fake.report);
  INFO(fake.report.table());
  CHECK(fake.report.failed() == 0);
  CHECK(fake.report.passed() == 18 + 27 + 16);
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
    CHECK(fake.report.passed() == 16 + 12);  // mistral's heads have 32 elements here
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

TEST_CASE("gpu_check's models agree with the reference on the emulated device") {
  FakeLab fake;
  gpu_check::check_models(fake.lab, fake.report);
  INFO(fake.report.table());
  CHECK(fake.report.failed() == 0);
  CHECK(fake.report.passed() == 16);
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
  const gpu_check::ModelSize size{config, "tiny"};
  gpu_check::ModelRunner runner(fake.lab, *model::dummy_weights(config, model::Dtype::bf16, 1),
                                options);
  gpu_check::measure_graphs(runner, size, fake.report);
  gpu_check::measure_preemption(runner, size, fake.report);
  CHECK(fake.report.table().find("preempt") != std::string::npos);
}
