// The host backend against what this machine can do. First the peak of multiply-adds, all threads,
// in the same process. Then a dummy Llama of 110 M parameters through the backend: decode at batch
// 1 to 32 behind 128 tokens of context, prefill of 512. Each line names the floors of its two
// phases, matrix products and attention: the bytes that each must read at the measured bandwidth,
// or its arithmetic at the measured peak, whichever takes longer. Shared machines change their
// bandwidth within seconds: it is measured in turns with the steps of each line, over as many bytes
// as the weights have.
//   bench_host_backend [--kernels auto] [--dtype bfloat16] [--threads 0] [--seconds 3] [--only
//   TEXT]
// --only: the lines whose names contain TEXT.
// Takes the best of many runs, of reads as of steps: a neighbour on the machine makes any single
// one slower.
#include "gpu/host/host_backend.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <immintrin.h>
#include <string>
#include <string_view>
#include <thread>

#include "core/check.hpp"
#include "gpu/host/aligned_buffer.hpp"
#include "gpu/host/kernels.hpp"
#include "gpu/host/packed_model.hpp"
#include "gpu/host/thread_pool.hpp"

namespace tandem {
namespace {

using Clock = std::chrono::steady_clock;

struct Settings {
  gpu::HostOptions options;
  double seconds = 3;  ///< per line
  std::string only;    ///< lines whose names contain it
};

/// Seconds that `body` takes.
double time_of(const std::function<void()>& body) {
  const auto start = Clock::now();
  body();
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Seconds of the fastest run of `body`, tried for about `seconds`.
double best_time(double seconds, const std::function<void()>& body) {
  double best = 1e30;
  const auto until = Clock::now() + std::chrono::duration<double>(seconds);
  for (int i = 0; i < 3 || Clock::now() < until; ++i) best = std::min(best, time_of(body));
  return best;
}

// ---- the machine -------------------------------------------------------------------------------

/// The lanes' sum of `words` 32-bit words; `words` is a multiple of 128.
__attribute__((target("avx2"))) std::uint32_t read_words(const std::uint32_t* from,
                                                         std::size_t words) {
  __m256i sums[4] = {};
  for (std::size_t i = 0; i < words; i += 32)
    for (std::size_t j = 0; j < 4; ++j)
      sums[j] = _mm256_add_epi32(
          sums[j], _mm256_load_si256(reinterpret_cast<const __m256i*>(from + i + 8 * j)));
  alignas(32) std::uint32_t lanes[8];
  _mm256_store_si256(
      reinterpret_cast<__m256i*>(lanes),
      _mm256_add_epi32(_mm256_add_epi32(sums[0], sums[1]), _mm256_add_epi32(sums[2], sums[3])));
  std::uint32_t total = 0;
  for (const auto lane : lanes) total += lane;
  return total;
}

/// A buffer on huge pages that all threads read.
class Reader {
 public:
  Reader(gpu::ThreadPool& pool, std::int64_t bytes)
      : pool_(pool),
        pieces_(bytes / 4 / piece),
        buffer_(static_cast<std::size_t>(pieces_ * piece)) {
    touch_pages(buffer_);
  }

  /// Bytes per second of one pass over the buffer.
  double read() {
    const auto start = Clock::now();
    pool_.run(pieces_, [&](std::int64_t i) {
      sink_ += read_words(buffer_.data() + i * piece, static_cast<std::size_t>(piece));
    });
    const std::chrono::duration<double> time = Clock::now() - start;
    return static_cast<double>(pieces_ * piece * 4) / time.count();
  }

 private:
  static constexpr std::int64_t piece = 1 << 17;  // words: 512 KiB
  gpu::ThreadPool& pool_;
  std::int64_t pieces_;
  gpu::AlignedBuffer<std::uint32_t> buffer_;
  std::atomic<std::uint32_t> sink_{0};
};

constexpr std::int64_t peak_rounds = 20'000;

// Ten chains: more than latency times width. As assembler text, so that the compiler cannot thin
// them out.
#define TANDEM_ONE(instruction, r, n) instruction " %%" r "1, %%" r "2, %%" r #n "\n"
#define TANDEM_TEN(instruction, r) \
  TANDEM_ONE(instruction, r, 3)    \
  TANDEM_ONE(instruction, r, 4)    \
  TANDEM_ONE(instruction, r, 5)    \
  TANDEM_ONE(instruction, r, 6)    \
  TANDEM_ONE(instruction, r, 7)    \
  TANDEM_ONE(instruction, r, 8)    \
  TANDEM_ONE(instruction, r, 9)    \
  TANDEM_ONE(instruction, r, 10)   \
  TANDEM_ONE(instruction, r, 11)   \
  TANDEM_ONE(instruction, r, 12)
#define TANDEM_CLOBBERS \
  "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12"

void run_dpbf16() {
  for (std::int64_t i = 0; i < peak_rounds; ++i)
    asm volatile(TANDEM_TEN("vdpbf16ps", "zmm")::: TANDEM_CLOBBERS);
}
void run_fma512() {
  for (std::int64_t i = 0; i < peak_rounds; ++i)
    asm volatile(TANDEM_TEN("vfmadd231ps", "zmm")::: TANDEM_CLOBBERS);
}
void run_fma256() {
  for (std::int64_t i = 0; i < peak_rounds; ++i)
    asm volatile(TANDEM_TEN("vfmadd231ps", "ymm")::: TANDEM_CLOBBERS);
}
/// A multiply and an add, both of four lanes.
void run_sse() {
  for (std::int64_t i = 0; i < peak_rounds; ++i)
    asm volatile(
        "mulps %%xmm1, %%xmm3\n addps %%xmm2, %%xmm4\n mulps %%xmm1, %%xmm5\n"
        "addps %%xmm2, %%xmm6\n mulps %%xmm1, %%xmm7\n addps %%xmm2, %%xmm8\n"
        "mulps %%xmm1, %%xmm9\n addps %%xmm2, %%xmm10\n mulps %%xmm1, %%xmm11\n"
        "addps %%xmm2, %%xmm12\n" ::
            : TANDEM_CLOBBERS);
}
/// Four sums of 16 x 16 over 32 of k. The operands are not zeros: those would be faster than any
/// real ones.
void run_tiles() {
  alignas(64) std::uint8_t config[64] = {1};
  for (std::size_t tile = 0; tile < 6; ++tile) {
    config[16 + 2 * tile] = 64;
    config[48 + tile] = 16;
  }
  alignas(64) std::uint16_t numbers[512];
  for (std::size_t i = 0; i < 512; ++i)
    numbers[i] = static_cast<std::uint16_t>(0x3c00 + (i * 2654435761U >> 20 & 0x80ff));
  asm volatile("ldtilecfg %0" ::"m"(config));
  asm volatile("tileloadd (%0,%1,1), %%tmm4\n tileloadd (%0,%1,1), %%tmm5\n" ::"r"(numbers),
               "r"(64L)
               : "memory");
  for (std::int64_t i = 0; i < peak_rounds / 10; ++i)
    asm volatile(
        "tdpbf16ps %tmm4, %tmm5, %tmm0\n tdpbf16ps %tmm4, %tmm5, %tmm1\n"
        "tdpbf16ps %tmm4, %tmm5, %tmm2\n tdpbf16ps %tmm4, %tmm5, %tmm3\n");
  asm volatile("tilerelease");
}

struct Peak {
  const char* instruction;
  double flops;  ///< per second, all threads
};

/// What the chosen kernels could reach if there was nothing but arithmetic.
Peak peak_of(gpu::ThreadPool& pool, const std::string& kernels, double seconds) {
  struct Kind {
    const char* instruction;
    void (*run)();
    double flops;  ///< per round
  };
  const bool bf16 = kernels.ends_with("bfloat16");
  const Kind kind = bf16 && kernels.starts_with("amx") ? Kind{"tdpbf16ps", run_tiles, 6553.6}
                    : bf16 && kernels.starts_with("avx512_bf16")
                        ? Kind{"vdpbf16ps zmm", run_dpbf16, 640}
                    : kernels.starts_with("avx2")     ? Kind{"fma ymm, f32", run_fma256, 160}
                    : kernels.starts_with("portable") ? Kind{"mul+add xmm, f32", run_sse, 40}
                                                      : Kind{"fma zmm, f32", run_fma512, 320};
  const std::int64_t pieces = 4 * pool.threads();
  const double best =
      best_time(seconds, [&] { pool.run(pieces, [&](std::int64_t) { kind.run(); }); });
  return {kind.instruction,
          kind.flops * static_cast<double>(peak_rounds) * static_cast<double>(pieces) / best};
}

std::string processor_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  return "unknown processor";
}

// ---- the model ---------------------------------------------------------------------------------

model::ModelConfig llama_110m() {
  model::ModelConfig config;
  config.vocab_size = 32000;
  config.hidden_size = 768;
  config.intermediate_size = 2048;
  config.num_layers = 12;
  config.num_heads = 12;
  config.num_kv_heads = 12;
  config.head_dim = 64;
  config.max_position = 2048;
  config.tied_head = true;
  return config;
}

/// One slice per sequence, each `tokens` long behind `context` positions; every one samples.
PlanPtr make_plan(std::uint32_t sequences, std::uint32_t context, std::uint32_t tokens, bool bind) {
  auto plan = std::make_shared<Plan>();
  const auto blocks = static_cast<std::uint32_t>(blocks_for(Tokens(context + tokens)).value());
  for (std::uint32_t s = 0; s < sequences; ++s) {
    if (bind) {
      auto request = std::make_shared<Request>();
      request->prompt = {1};
      request->sampling.temperature = 0;
      plan->bindings.push_back({SlotId(s), request, {}});
    }
    BlockTable table;
    for (std::uint32_t b = 0; b < blocks; ++b) table.push_back(BlockId(s * blocks + b));
    plan->slices.push_back({.slot = SlotId(s),
                            .decode = tokens == 1,
                            .samples = true,
                            .context = context,
                            .num_tokens = tokens,
                            .tokens = {static_cast<std::uint32_t>(plan->token_ids.size()), tokens},
                            .blocks = std::make_shared<const BlockTable>(std::move(table))});
    for (std::uint32_t t = 0; t < tokens; ++t)
      plan->token_ids.push_back(static_cast<TokenId>((s * 7919 + t * 104729) % 32000));
  }
  return plan;
}

void run(gpu::Backend& backend, const PlanPtr& plan) {
  for (std::uint32_t i = 0; i < backend.num_segments(*plan); ++i)
    backend.start_segment(plan, i, [](const Result<void>&) {});
  TANDEM_CHECK(backend.collect(*plan).has_value(), "the host device does not fail");
}

struct Line {
  const char* name;
  std::uint32_t sequences, context, tokens;
};

struct Machine {
  double bandwidth, peak;
};

/// The time that one phase cannot go below, and what it is that takes it.
struct Floor {
  double bytes, flops;  ///< seconds
  [[nodiscard]] double seconds() const { return std::max(bytes, flops); }
  [[nodiscard]] const char* limit() const { return bytes > flops ? "bandwidth" : "arithmetic"; }
};

/// Weights and KV are read once; two operations per weight and row, attention's two products. The
/// matrix products and attention of a layer need each other's results, so a step takes at least the
/// sum of their floors; an implementation that fetched the one's bytes during the other's
/// arithmetic could come down to the larger of all bytes and all arithmetic.
void report(const Line& line, double seconds, const model::ModelConfig& config,
            std::int64_t weight_bytes, std::int64_t element_bytes, const Machine& machine) {
  const auto number = [](std::int64_t n) { return static_cast<double>(n); };
  const double rows = line.sequences * line.tokens;
  const double layers = number(config.num_layers);
  const double query = number(config.num_heads * config.head_dim);
  const double keys = number(config.num_kv_heads * config.head_dim);
  const double mean_context = line.context + (line.tokens + 1) / 2.0;
  const double head = number(config.vocab_size * config.hidden_size);
  const double layer_weights =
      number(config.num_parameters()) - number(config.vocab_size * config.hidden_size);
  const double kv_bytes =
      line.sequences * (line.context + line.tokens) * 2 * keys * layers * number(element_bytes);
  const Floor products{number(weight_bytes) / machine.bandwidth,
                       2 * (rows * layer_weights + line.sequences * head) / machine.peak};
  const Floor attention{kv_bytes / machine.bandwidth,
                        4 * rows * mean_context * query * layers / machine.peak};
  const Floor overlapped{products.bytes + attention.bytes, products.flops + attention.flops};
  const auto share = [seconds](double floor) { return 100 * floor / seconds; };
  std::printf(
      "%-16s %8.2f %9.1f %6.1f   %6.2f %-10s  %6.2f %-10s %5.0f %%   %6.2f %-10s %5.0f %%\n",
      line.name, seconds * 1e3, rows / seconds, machine.bandwidth * 1e-9, products.seconds() * 1e3,
      products.limit(), attention.seconds() * 1e3, attention.limit(),
      share(products.seconds() + attention.seconds()), overlapped.seconds() * 1e3,
      overlapped.limit(), share(overlapped.seconds()));
}

void bench(const Settings& settings) {
  const auto config = llama_110m();
  auto options = settings.options;
  options.kv_cache_bytes = Bytes(512LL << 20);
  options.max_iteration_tokens = Tokens(512);
  options.max_sequences = 64;
  const auto dtype = options.dtype == "float32" ? gpu::HostDtype::f32 : gpu::HostDtype::bf16;
  const auto weight_bytes = gpu::PackedModel::bytes_of(config, dtype);
  auto made = gpu::make_host_backend(model::dummy_weights(config, model::Dtype::bf16, 1), options);
  if (!made) {
    std::fprintf(stderr, "%s\n", made.error().message.c_str());
    std::exit(2);
  }
  auto& backend = **made;
  const auto threads =
      options.threads ? options.threads : std::max(1U, std::thread::hardware_concurrency());
  gpu::ThreadPool pool(threads);

  std::printf("%s, %u threads, kernels %s\n", processor_name().c_str(), threads,
              backend.limits().kernels.c_str());
  const auto peak = peak_of(pool, backend.limits().kernels, settings.seconds);
  std::printf(
      "peak of %s: %.0f GFLOP/s; weights %.0f MB, on huge pages as what GB/s is read from\n\n",
      peak.instruction, peak.flops * 1e-9, static_cast<double>(weight_bytes) * 1e-6);
  Reader reader(pool, weight_bytes);
  std::printf("Llama, 768 x 12 layers, 12 heads, ffn 2048, vocabulary 32000: %.0f M parameters\n",
              static_cast<double>(config.num_parameters()) * 1e-6);
  std::printf("%-16s %8s %9s %6s   %-17s  %-17s %7s   %-17s %7s\n", "", "step ms", "tokens/s",
              "GB/s", "products ms", "attention ms", "of both", "all overlapped ms", "of it");
  constexpr Line lines[] = {{"decode batch 1", 1, 128, 1},   {"decode batch 4", 4, 128, 1},
                            {"decode batch 8", 8, 128, 1},   {"decode batch 16", 16, 128, 1},
                            {"decode batch 32", 32, 128, 1}, {"prefill 512", 1, 0, 512}};
  for (const auto& line : lines) {
    if (std::string_view(line.name).find(settings.only) == std::string_view::npos) continue;
    run(backend, make_plan(line.sequences, line.context, line.tokens, true));
    const auto plan = make_plan(line.sequences, line.context, line.tokens, false);
    double bandwidth = 0, best = 1e30;
    const auto until = Clock::now() + std::chrono::duration<double>(settings.seconds);
    for (int i = 0; i < 3 || Clock::now() < until; ++i) {
      bandwidth = std::max(bandwidth, reader.read());
      best = std::min(best, time_of([&] { run(backend, plan); }));
    }
    report(line, best, config, weight_bytes, dtype == gpu::HostDtype::f32 ? 4 : 2,
           {bandwidth, peak.flops});
  }
}

}  // namespace
}  // namespace tandem

int main(int argc, char** argv) {
  tandem::Settings settings;
  settings.options.dtype = "bfloat16";
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string key = argv[i], value = argv[i + 1];
    if (key == "--kernels")
      settings.options.kernels = value;
    else if (key == "--dtype")
      settings.options.dtype = value;
    else if (key == "--threads")
      settings.options.threads =
          static_cast<std::uint32_t>(std::strtoul(value.c_str(), nullptr, 10));
    else if (key == "--seconds")
      settings.seconds = std::strtod(value.c_str(), nullptr);
    else if (key == "--only")
      settings.only = value;
    else {
      std::fprintf(stderr, "unknown option %s; see the head of bench/host_backend.cpp\n",
                   key.c_str());
      return 2;
    }
  }
  tandem::bench(settings);
}
