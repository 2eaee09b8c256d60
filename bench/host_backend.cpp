// The host backend against the floors of this machine, measured in the same run: memory bandwidth
// for decode (bytes of weights and KV over bandwidth) and the bf16 arithmetic rate for prefill.
//   bench_host_backend [threads] [kernels]
// The model is a dummy Llama of about 110 M parameters in bf16: 768 wide, 12 layers, 12 heads, FFN
// 2,048, vocabulary 32,000, tied head.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "gpu/host/aligned_buffer.hpp"
#include "gpu/host/forward.hpp"
#include "gpu/host/kernels.hpp"
#include "gpu/host/thread_pool.hpp"

using namespace tandem;
using gpu::Forward;

namespace {

using Clock = std::chrono::steady_clock;

double seconds_of(const std::function<void()>& body) {
  const auto start = Clock::now();
  body();
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// The best of `repeats`: neighbours on a shared machine only ever make a run slower.
double best_seconds(int repeats, const std::function<void()>& body) {
  double best = 1e9;
  for (int i = 0; i < repeats; ++i) best = std::min(best, seconds_of(body));
  return best;
}

/// Bytes per second of reading 512 MiB on huge pages, all threads.
double read_bandwidth(gpu::ThreadPool& pool) {
  constexpr std::int64_t words = 64LL << 20, piece = 1 << 16;
  gpu::AlignedBuffer<std::uint64_t> memory(words);
  std::fill_n(memory.data(), words, 1);
  std::vector<std::uint64_t> sums(words / piece);
  const auto seconds = best_seconds(12, [&] {
    pool.run(words / piece, [&](std::int64_t i) {
      std::uint64_t sum[8] = {};
      const auto* from = memory.data() + i * piece;
      for (std::int64_t w = 0; w < piece; w += 8)
        for (int lane = 0; lane < 8; ++lane) sum[lane] += from[w + lane];
      for (const auto s : sum) sums[static_cast<std::size_t>(i)] += s;
    });
  });
  return static_cast<double>(words) * 8 / seconds;
}

/// FLOP/s of the bf16 GEMM kernel on operands that stay in the first-level cache: the kernel's own
/// ceiling and, since it issues nothing but dot products and their loads, close to that of the
/// instruction.
double arithmetic_rate(gpu::ThreadPool& pool, const gpu::Kernels& kernels) {
  constexpr std::int64_t k = 64, rows = 24, repeats = 4000;
  const std::int64_t pieces = pool.threads() * 4;
  const auto seconds = best_seconds(8, [&] {
    pool.run(pieces, [&](std::int64_t) {
      alignas(64) static thread_local std::uint16_t a[rows * k],
          panel[k * gpu::panel_columns + 4096];
      alignas(64) static thread_local float out[rows * gpu::panel_columns];
      for (std::int64_t r = 0; r < repeats; ++r)
        kernels.gemm_bf16(a, k, panel, k, out, gpu::panel_columns, rows, false);
    });
  });
  return 2.0 * static_cast<double>(k * rows * gpu::panel_columns * repeats * pieces) / seconds;
}

model::ModelConfig model_110m() {
  model::ModelConfig config;
  config.vocab_size = 32000;
  config.hidden_size = 768;
  config.intermediate_size = 2048;
  config.num_layers = 12;
  config.num_heads = config.num_kv_heads = 12;
  config.head_dim = 64;
  config.max_position = 2048;
  config.tied_head = true;
  return config;
}

struct Run {
  std::string name;
  std::int64_t sequences, tokens_each, context;
};

}  // namespace

int main(int argc, char** argv) {
  const auto threads = argc > 1 ? static_cast<std::uint32_t>(std::atoi(argv[1]))
                                : std::thread::hardware_concurrency();
  const gpu::Kernels* kernels = gpu::supported_kernels().front();
  for (const auto* table : gpu::supported_kernels())
    if (argc > 2 && table->name == argv[2]) kernels = table;
  gpu::ThreadPool pool(threads);
  const auto bandwidth = read_bandwidth(pool);
  const auto rate = arithmetic_rate(pool, *kernels);
  std::printf("kernels %s, %u threads; measured here: %.1f GB/s read, %.0f GFLOP/s bf16\n",
              std::string(kernels->name).c_str(), threads, bandwidth / 1e9, rate / 1e9);

  const auto config = model_110m();
  const auto weights = model::dummy_weights(config, model::Dtype::bf16, 1);
  constexpr std::int64_t num_blocks = 2048;
  Forward forward(*weights, *kernels, pool,
                  {.dtype = gpu::HostDtype::bf16,
                   .num_blocks = num_blocks,
                   .max_rows = 512,
                   .max_context = 2048});
  const auto weight_bytes = static_cast<double>(forward.weight_bytes());
  const auto layer_parameters =
      weight_bytes / 2 - static_cast<double>(config.vocab_size * config.hidden_size);
  std::printf("model: %.1f M parameters, %.1f MB of weights read per pass\n\n",
              static_cast<double>(config.num_parameters()) / 1e6, weight_bytes / 1e6);
  std::printf("%-16s %10s %12s %12s %10s %22s\n", "run", "ms", "tokens/s", "floor ms", "share",
              "limit");

  for (const auto& run : {Run{"decode 1", 1, 1, 256}, Run{"decode 8", 8, 1, 256},
                          Run{"decode 32", 32, 1, 256}, Run{"prefill 512", 1, 512, 0}}) {
    std::vector<std::vector<std::uint32_t>> tables;
    std::vector<Forward::Row> rows;
    std::vector<std::uint32_t> sampled;
    for (std::int64_t s = 0; s < run.sequences; ++s) {
      auto& table = tables.emplace_back(128);
      for (std::uint32_t b = 0; b < 64; ++b)
        table[b] = static_cast<std::uint32_t>((s * 64 + b) % num_blocks);
    }
    for (std::int64_t s = 0; s < run.sequences; ++s) {
      for (std::int64_t t = 0; t < run.tokens_each; ++t)
        rows.push_back({static_cast<TokenId>((s * 7919 + t * 31) % config.vocab_size),
                        run.context + t, tables[static_cast<std::size_t>(s)].data()});
      sampled.push_back(static_cast<std::uint32_t>(rows.size() - 1));
    }
    const auto pass = [&] {
      forward.begin(rows);
      forward.run_layers(0, forward.num_layers());
      forward.logits(sampled, [](std::int64_t, std::span<float>) {});
    };
    pass();
    const auto seconds = best_seconds(run.tokens_each > 1 ? 8 : 60, pass);
    const auto num_rows = static_cast<double>(rows.size());
    const auto kv_bytes = static_cast<double>(run.sequences * run.context) *
                          static_cast<double>(kv_block_bytes(config, gpu::HostDtype::bf16)) / 16;
    const auto memory_floor = (weight_bytes + kv_bytes) / bandwidth;
    // Dense products of all rows, the head of the sampled ones, and QK and PV over the positions
    // seen.
    const auto seen = num_rows * (static_cast<double>(run.context) +
                                  static_cast<double>(run.tokens_each + 1) / 2);
    const auto flops =
        2 * num_rows * layer_parameters +
        2 * static_cast<double>(sampled.size()) *
            static_cast<double>(config.vocab_size * config.hidden_size) +
        4 * seen * static_cast<double>(config.num_layers * config.num_heads * config.head_dim);
    const auto arithmetic_floor = flops / rate;
    const auto floor = std::max(memory_floor, arithmetic_floor);
    std::printf("%-16s %10.2f %12.0f %12.2f %9.0f%% %22s\n", run.name.c_str(), seconds * 1e3,
                num_rows / seconds, floor * 1e3, 100 * floor / seconds,
                memory_floor > arithmetic_floor ? "memory bandwidth" : "bf16 arithmetic");
  }
}
