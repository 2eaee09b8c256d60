// Whole models: tiny ones of each architecture against the f32 reference, alone and in company; and
// how fast a large one runs.
#include <algorithm>
#include <chrono>
#include <cmath>

#include "bench/gpu_check/model_runner.hpp"
#include "gpu/cuda/buckets.hpp"
#include "model/reference.hpp"

namespace tandem::gpu_check {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

std::vector<TokenId> some_tokens(std::size_t count, std::int64_t vocab, std::size_t salt) {
  std::vector<TokenId> tokens(count);
  for (std::size_t i = 0; i < count; ++i)
    tokens[i] =
        static_cast<TokenId>((i * 2654435761U + salt * 97 + 11) % static_cast<std::size_t>(vocab));
  return tokens;
}

struct TinyModel {
  const char* name;
  bool qkv_bias, qk_norm, tied;
  std::int64_t heads, kv_heads, head_dim;
};
constexpr TinyModel tiny_models[] = {{"llama", false, false, false, 8, 2, 64},
                                     {"mistral", false, false, false, 8, 8, 32},
                                     {"qwen2", true, false, true, 7, 1, 64},
                                     {"qwen3", false, true, false, 4, 2, 128}};

model::ModelConfig config_of(const TinyModel& tiny) {
  model::ModelConfig config;
  config.vocab_size = 600;
  config.hidden_size = 256;
  config.intermediate_size = 512;
  config.num_layers = 2;
  config.num_heads = tiny.heads;
  config.num_kv_heads = tiny.kv_heads;
  config.head_dim = tiny.head_dim;
  config.max_position = 512;
  config.qkv_bias = tiny.qkv_bias;
  config.qk_norm = tiny.qk_norm;
  config.tied_head = tiny.tied;
  return config;
}

gpu::CudaOptions tiny_options(const std::string& attention) {
  gpu::CudaOptions options;
  options.attention = attention;
  options.gpu_memory_fraction = 0.9;
  options.max_iteration_tokens = Tokens(128);
  options.max_sequences = 16;
  return options;
}

/// Follows the reference along the device's own tokens.
struct Comparison {
  double worst_logprob = 0;  ///< of the ones that the device reported
  double worst_tie = 0;      ///< nats that a token lies below the reference's best
};

void compare(const Sample& sample, const std::vector<float>& logits, std::size_t vocab,
             Comparison& comparison) {
  const auto* row = logits.data() + (logits.size() - vocab);
  const float top = *std::max_element(row, row + vocab);
  double sum = 0;
  for (std::size_t i = 0; i < vocab; ++i) sum += std::exp(static_cast<double>(row[i] - top));
  const double log_sum = static_cast<double>(top) + std::log(sum);
  for (const auto& one : sample.top_logprobs) {
    const double difference = std::abs(static_cast<double>(one.logprob) -
                                       (static_cast<double>(row[one.token]) - log_sum));
    if (!(difference <= comparison.worst_logprob)) comparison.worst_logprob = difference;
  }
  comparison.worst_tie =
      std::max(comparison.worst_tie, static_cast<double>(top - row[sample.token]));
}

/// `attention` as in CudaOptions.
void check_model(const Lab& lab, const TinyModel& tiny, const std::string& attention,
                 Report& report) {
  const auto prefix = attention == "own" ? std::string() : attention + " ";
  const auto config = config_of(tiny);
  const auto weights = model::dummy_weights(config, model::Dtype::bf16, 7);
  ModelRunner runner(lab, *weights, tiny_options(attention));
  const auto vocab = static_cast<std::size_t>(config.vocab_size);
  const auto prompt = some_tokens(40, config.vocab_size, 1);
  const SamplingParams greedy{.temperature = 0, .logprobs = 20U};
  const int steps = lab.scale < 1 ? 5 : 24;
  std::vector<TokenId> alone;
  for (const std::size_t company : {0U, 5U}) {
    model::Reference reference(weights);
    Comparison comparison;
    std::vector<TokenId> drawn;
    runner.make_sequences(1 + company, 128, RequestClass::online, greedy);
    std::vector<std::vector<TokenId>> chunks{prompt};
    for (std::size_t i = 0; i < company; ++i)
      chunks.push_back(some_tokens(3 + 5 * i, config.vocab_size, i + 2));
    auto samples = runner.prefill(chunks);
    auto logits = reference.forward(prompt);
    for (int step = 0; step < steps; ++step) {
      compare(samples.front(), logits, vocab, comparison);
      drawn.push_back(samples.front().token);
      logits = reference.forward(std::vector{drawn.back()});
      samples = runner.decode();
    }
    const std::string name = prefix + tiny.name + (company == 0 ? " alone" : " in company of 5");
    char text[96];
    std::snprintf(text, sizeof text, "largest difference %.3g of a logprob",
                  comparison.worst_logprob);
    report.check("model " + name + ": logprobs", comparison.worst_logprob < 0.1, text);
    std::snprintf(text, sizeof text, "at most %.3g nat below the best", comparison.worst_tie);
    report.check("model " + name + ": greedy tokens", comparison.worst_tie <= 0.05, text);
    if (company == 0) {
      alone = drawn;
      continue;
    }
    const auto same =
        std::mismatch(alone.begin(), alone.end(), drawn.begin()).first - alone.begin();
    report.note("model " + prefix + tiny.name + ": tokens equal to those alone",
                std::to_string(same) + " of " + std::to_string(steps) +
                    " before the first that differs; products of other buckets round otherwise");
  }
}

/// The bytes that one decode iteration reads at least: every matrix but the embedding, and keys.
double least_bytes(const model::ModelConfig& config, std::int64_t sequences, std::int64_t context) {
  const double parameters = static_cast<double>(config.num_parameters());
  const double embedding = static_cast<double>(config.vocab_size * config.hidden_size);
  const double keys =
      static_cast<double>(2 * config.num_layers * config.num_kv_heads * config.head_dim) *
      static_cast<double>(sequences * context);
  return 2 * (parameters - (config.tied_head ? 0 : embedding) + keys);
}

std::vector<std::vector<TokenId>> one_chunk(const ModelSize& size, std::int64_t tokens) {
  return {some_tokens(static_cast<std::size_t>(tokens), size.config.vocab_size, 1)};
}

}  // namespace

void check_models(const Lab& lab, Report& report) {
  for (const auto& tiny : tiny_models) {
    check_model(lab, tiny, "own", report);
    if (lab.flashinfer && gpu::cuda::flashinfer::has_kernel_for(tiny.head_dim))
      check_model(lab, tiny, "flashinfer", report);
  }
}

void measure_decode(ModelRunner& runner, const ModelSize& size, Report& report) {
  constexpr std::int64_t context = 2048;
  constexpr int steps = 20;
  for (const std::int64_t sequences : {1, 8, 32, 64, 128, 256}) {
    const auto blocks = sequences * blocks_for(Tokens(context + 64)).value();
    if (blocks > runner.backend().limits().kv_blocks.value()) break;
    runner.make_sequences(static_cast<std::size_t>(sequences), context + 64, RequestClass::online,
                          {.temperature = 0});
    runner.pretend_context(context);
    for (int i = 0; i < 3; ++i) runner.decode();
    const auto start = Clock::now();
    for (int i = 0; i < steps; ++i) runner.decode();
    const double seconds = seconds_since(start) / steps;
    const auto name = "decode " + size.name + " " + std::to_string(sequences) + " x 2048";
    report.figure(name, seconds * 1e3, "ms an iteration");
    report.figure(name, static_cast<double>(sequences) / seconds, "tokens/s");
    report.figure(name, least_bytes(size.config, sequences, context) / seconds / 1e9,
                  "GB/s of weights and keys");
  }
}

void measure_prefill(ModelRunner& runner, const ModelSize& size, Report& report) {
  for (const std::int64_t history : {0, 8192})
    for (const std::int64_t tokens : {512, 2048, 4096}) {
      double best = 0;
      for (int round = 0; round < 4; ++round) {
        runner.make_sequences(1, history + tokens, RequestClass::online, {.temperature = 0});
        runner.pretend_context(history);
        const auto start = Clock::now();
        runner.prefill(one_chunk(size, tokens));
        const double seconds = seconds_since(start);
        if (round > 0 && (best == 0 || seconds < best)) best = seconds;
      }
      const auto name = "prefill " + size.name + " " + std::to_string(tokens) + " after " +
                        std::to_string(history);
      const double work =
          2 * static_cast<double>(size.config.num_parameters()) * static_cast<double>(tokens);
      report.figure(name, best * 1e3, "ms");
      report.figure(name, work / best / 1e12, "TFLOP/s of products with weights");
    }
}

void measure_graphs(ModelRunner& runner, const ModelSize& size, Report& report) {
  // One sequence decodes by a replayed graph; two tokens of one sequence, at the same place and
  // with the same weights to read, are launched kernel by kernel.
  constexpr int steps = 20;
  const auto measure = [&](std::size_t tokens) {
    const std::vector<std::vector<TokenId>> chunk{some_tokens(tokens, size.config.vocab_size, 3)};
    runner.make_sequences(1, 512, RequestClass::online, {.temperature = 0});
    runner.pretend_context(256);
    for (int i = 0; i < 3; ++i) runner.prefill(chunk);
    const auto start = Clock::now();
    for (int i = 0; i < steps; ++i) runner.prefill(chunk);
    return seconds_since(start) / steps;
  };
  report.figure("graph: one row, replayed", measure(1) * 1e3, "ms an iteration");
  report.figure("graph: two rows, launched one by one", measure(2) * 1e3, "ms an iteration");
}

void measure_preemption(ModelRunner& runner, const ModelSize& size, Report& report) {
  std::vector<double> waits;
  constexpr int rounds = 10;
  const auto tokens =
      std::min<std::int64_t>(2048, runner.backend().limits().max_iteration_tokens.value());
  for (int round = 0; round < rounds; ++round) {
    runner.make_sequences(2, tokens + 64, RequestClass::offline, {.temperature = 0});
    const auto plan = runner.prefill_plan(one_chunk(size, tokens));
    const auto segments = runner.backend().num_segments(*plan);
    if (segments < 2) return report.note("preempt", "this model runs in one segment");
    // An online token comes after some segments have been started: how long until it is out?
    const auto before = static_cast<std::uint32_t>(1 + round) % segments;
    for (std::uint32_t s = 0; s < std::max(1U, before); ++s) runner.run_segment(plan, s);
    const auto start = Clock::now();
    runner.backend().abort(*plan);
    runner.prefill({{}, {5}});
    waits.push_back(seconds_since(start));
  }
  std::sort(waits.begin(), waits.end());
  report.figure("preempt: from abort to an online token, median", waits[waits.size() / 2] * 1e3,
                "ms");
  report.figure("preempt: from abort to an online token, worst", waits.back() * 1e3, "ms");
}

}  // namespace tandem::gpu_check
