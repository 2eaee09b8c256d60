// Whole models: tiny ones of each architecture against the f32 reference, alone and in company.
#include <algorithm>
#include <cmath>
#include <span>

#include "bench/gpu_check/model_runner.hpp"
#include "gpu/cuda/skinny_gemm.hpp"
#include "model/reference.hpp"

namespace tandem::gpu_check {
namespace {

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

/// How far the device is from the reference along the device's own tokens. NaN is the largest
/// difference there is.
struct Comparison {
  double worst_logit = 0;    ///< relative to the row's largest |logit| of the reference
  double worst_logprob = 0;  ///< of the ones that the device reported
  double worst_tie = 0;      ///< nats that a token lies below the reference's best

  static void widen(double& worst, double difference) {
    if (!(difference <= worst)) worst = difference;
  }
};

/// `ours` and `truth`: (vocab).
void compare(const Sample& sample, std::span<const float> ours, std::span<const float> truth,
             Comparison& comparison) {
  const float top = *std::max_element(truth.begin(), truth.end());
  double sum = 0, largest = 0, furthest = 0;
  for (std::size_t i = 0; i < truth.size(); ++i) {
    sum += std::exp(static_cast<double>(truth[i] - top));
    largest = std::max(largest, std::abs(static_cast<double>(truth[i])));
    Comparison::widen(furthest,
                      std::abs(static_cast<double>(ours[i]) - static_cast<double>(truth[i])));
  }
  Comparison::widen(comparison.worst_logit, furthest / largest);
  const double log_sum = static_cast<double>(top) + std::log(sum);
  for (const auto& one : sample.top_logprobs)
    Comparison::widen(
        comparison.worst_logprob,
        std::abs(static_cast<double>(one.logprob) -
                 (static_cast<double>(truth[static_cast<std::size_t>(one.token)]) - log_sum)));
  Comparison::widen(comparison.worst_tie,
                    static_cast<double>(top - truth[static_cast<std::size_t>(sample.token)]));
}

/// A sequence as the reference computes it.
struct Followed {
  model::Reference reference;
  std::vector<float> logits;  ///< (tokens given last, vocab)

  [[nodiscard]] std::span<const float> last(std::size_t vocab) const {
    return std::span(logits).last(vocab);
  }
};

void report_comparison(const std::string& name, const Comparison& comparison, Report& report) {
  char text[96];
  std::snprintf(text, sizeof text, "largest difference %.3g of the row's largest |logit|",
                comparison.worst_logit);
  report.check("model " + name + ": all logits", comparison.worst_logit <= 2e-2, text);
  std::snprintf(text, sizeof text, "largest difference %.3g of a logprob",
                comparison.worst_logprob);
  report.check("model " + name + ": logprobs", comparison.worst_logprob < 0.1, text);
  std::snprintf(text, sizeof text, "at most %.3g nat below the best", comparison.worst_tie);
  report.check("model " + name + ": greedy tokens", comparison.worst_tie <= 0.05, text);
}

/// Every sequence of one run against the reference; returns the tokens of the first.
std::vector<TokenId> follow(ModelRunner& runner, const model::WeightsPtr& weights,
                            const std::vector<std::vector<TokenId>>& prompts, int steps,
                            Comparison& comparison) {
  const auto vocab = static_cast<std::size_t>(weights->config.vocab_size);
  runner.make_sequences(prompts.size(), 128, RequestClass::online,
                        {.temperature = 0, .logprobs = 20U});
  auto samples = runner.prefill(prompts);
  std::vector<Followed> followed;
  for (const auto& prompt : prompts) {
    followed.push_back({model::Reference(weights), {}});
    followed.back().logits = followed.back().reference.forward(prompt);
  }
  std::vector<TokenId> drawn;
  for (int step = 0; step < steps; ++step) {
    const auto logits = runner.logits(samples.size());
    drawn.push_back(samples.front().token);
    for (std::size_t i = 0; i < samples.size(); ++i) {
      compare(samples[i], std::span(logits).subspan(i * vocab, vocab), followed[i].last(vocab),
              comparison);
      if (step + 1 < steps)
        followed[i].logits = followed[i].reference.forward(std::vector{samples[i].token});
    }
    if (step + 1 < steps) samples = runner.decode();
  }
  return drawn;
}

/// Iterations that are started behind one another draw what they draw one by one.
void check_ahead(ModelRunner& runner, const std::string& name,
                 const std::vector<std::vector<TokenId>>& prompts, std::size_t steps,
                 Report& report) {
  const auto begin = [&] {
    runner.make_sequences(prompts.size(), 128, RequestClass::online, {.temperature = 0});
    runner.prefill(prompts);
  };
  begin();
  std::vector<std::vector<Sample>> one_by_one;
  for (std::size_t i = 0; i < steps; ++i) one_by_one.push_back(runner.decode());
  begin();
  const auto ahead = runner.decode_ahead(steps);
  std::size_t different = 0;
  for (std::size_t i = 0; i < steps; ++i)
    for (std::size_t s = 0; s < prompts.size(); ++s)
      different += ahead[i][s].token != one_by_one[i][s].token;
  report.check("model " + name + ": tokens of iterations started ahead", different == 0,
               std::to_string(different) + " of " + std::to_string(steps * prompts.size()) +
                   " differ from those one by one");
}

/// `attention` as in CudaOptions; `prefix` says what is not as usual.
void check_model(const Lab& lab, const TinyModel& tiny, const std::string& attention,
                 const std::string& prefix, Report& report) {
  const auto config = config_of(tiny);
  const auto weights = model::dummy_weights(config, model::Dtype::bf16, 7);
  ModelRunner runner(lab, *weights, tiny_options(attention));
  const int steps = lab.scale < 1 ? 5 : 24;
  std::vector<TokenId> alone;
  for (const std::size_t company : {0U, 5U}) {
    std::vector<std::vector<TokenId>> prompts{some_tokens(40, config.vocab_size, 1)};
    for (std::size_t i = 0; i < company; ++i)
      prompts.push_back(some_tokens(3 + 5 * i, config.vocab_size, i + 2));
    Comparison comparison;
    const auto drawn = follow(runner, weights, prompts, steps, comparison);
    report_comparison(prefix + tiny.name + (company == 0 ? " alone" : " in company of 5"),
                      comparison, report);
    if (company == 0) {
      alone = drawn;
      continue;
    }
    check_ahead(runner, prefix + tiny.name, prompts, static_cast<std::size_t>(steps), report);
    const auto same =
        std::mismatch(alone.begin(), alone.end(), drawn.begin()).first - alone.begin();
    report.note("model " + prefix + tiny.name + ": tokens equal to those alone",
                std::to_string(same) + " of " + std::to_string(steps) +
                    " before the first that differs; products of other buckets round otherwise");
  }
}

}  // namespace

namespace {

/// The lab's parts, with our own kernel for every product that it takes: no tuning file chooses it
/// here, and behind other kernels of ours it must wait for what it multiplies.
Lab with_own_products(const Lab& lab) {
  auto changed = lab;
  changed.open_parts =
      [open = lab.open_parts](const gpu::CudaOptions& options) -> Result<gpu::cuda::BackendParts> {
    auto parts = open(options);
    if (!parts) return parts;
    auto made = gpu::cuda::SkinnyGemm::make(*parts->driver, *parts->kernels);
    if (!made) return made.error();
    const auto* own = made->get();
    parts->gemm = std::make_unique<gpu::cuda::ChosenGemm>(
        std::move(parts->gemm), std::move(*made),
        [own](const gpu::cuda::GemmKey& key) { return own->supports(key).has_value(); });
    return parts;
  };
  return changed;
}

}  // namespace

void check_models(const Lab& lab, Report& report) {
  check_model(with_own_products(lab), tiny_models[0], "own", "own products ", report);
  for (const auto& tiny : tiny_models) {
    check_model(lab, tiny, "own", "", report);
    if (lab.flashinfer && gpu::cuda::flashinfer::has_kernel_for(tiny.head_dim))
      check_model(lab, tiny, "flashinfer", "flashinfer ", report);
  }
}

}  // namespace tandem::gpu_check
