// Tokens drawn by the kernel, on the emulated device, against the host's sampler on the same
// logits.
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <random>

#include "gpu/cuda/iteration.hpp"
#include "model/sampler.hpp"
#include "tests/cuda/emulated_kernels.hpp"

using namespace tandem;
using namespace tandem::gpu::cuda;

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();

/// One slot on each side, fed with the same logits.
class Pair {
 public:
  Pair(const SamplingParams& params, std::vector<TokenId> prompt, std::int64_t vocab,
       std::vector<TokenId> output = {})
      : host_(params, prompt, output), slot_(params, output.size()), vocab_(vocab) {
    counts_.assign(static_cast<std::size_t>(2 * vocab), 0);
    const auto seen = seen_entries(SlotId(1), params, prompt, output);
    tests::emulated_kernels().remember({.entries = seen.data(),
                                        .counts = counts_.data(),
                                        .num_entries = static_cast<std::int32_t>(seen.size()),
                                        .vocab = static_cast<std::int32_t>(vocab)},
                                       nullptr);
  }

  /// Checks that both draw the same and report the same; returns the token.
  TokenId draw(const std::vector<float>& logits) {
    const auto& params = slot_.params;
    const IterationHeader header{.rows = 4, .sampled = 2, .ticket = 5, .first_drawn = 3};
    SampleInput input{
        .seed = params.seed,
        .drawn = slot_.drawn,
        .temperature = params.temperature,
        .top_p = params.top_p,
        .min_p = params.min_p,
        .repetition_penalty = params.repetition_penalty,
        .presence_penalty = params.presence_penalty,
        .frequency_penalty = params.frequency_penalty,
        .top_k = params.top_k,
        .slot = 1,
        .penalizes = penalizes(slot_.params) ? 1 : 0,
        .num_logprobs = params.logprobs ? static_cast<std::int32_t>(*params.logprobs) : -1,
        .bias_count = static_cast<std::uint32_t>(slot_.biases.size())};
    // The second sample of an iteration, and a grid with a block too many.
    const SampleInput samples[] = {SampleInput{}, input};
    // They lie behind those of another iteration.
    SampleOutput outputs[6] = {};
    std::int32_t drawn[6] = {-7, -7, -7, -7, -7, -7};
    std::vector<float> row = logits;
    tests::emulated_kernels().draw({.header = &header,
                                    .samples = samples,
                                    .biases = slot_.biases.data(),
                                    .logits = row.data(),
                                    .counts = counts_.data(),
                                    .outputs = outputs,
                                    .drawn = drawn,
                                    .first = 1,
                                    .vocab = static_cast<std::int32_t>(vocab_),
                                    .stride = vocab_},
                                   2, nullptr);
    auto copy = logits;
    const auto truth = host_.sample(copy);
    CHECK(outputs[4].token == truth.token);
    CHECK(outputs[4].ticket == 5);
    CHECK(drawn[4] == truth.token);
    for (const int other : {0, 1, 2, 3, 5}) {
      CHECK(outputs[other].ticket == 0);
      CHECK(drawn[other] == -7);
    }
    if (params.logprobs) {
      CHECK(outputs[4].logprob == Approx(truth.logprob).margin(2e-5));
      REQUIRE(outputs[4].num_top == truth.top_logprobs.size());
      for (std::size_t i = 0; i < truth.top_logprobs.size(); ++i) {
        CHECK(outputs[4].top[i].token == truth.top_logprobs[i].token);
        CHECK(outputs[4].top[i].logprob == Approx(truth.top_logprobs[i].logprob).margin(2e-5));
      }
    }
    ++slot_.drawn;
    return truth.token;
  }

 private:
  model::SamplerState host_;
  SlotState slot_;
  std::int64_t vocab_;
  std::vector<std::uint32_t> counts_;
};

std::vector<float> random_logits(std::mt19937& random, std::int64_t vocab, float deviation) {
  std::normal_distribution<float> normal(0, deviation);
  std::vector<float> logits(static_cast<std::size_t>(vocab));
  for (auto& logit : logits) logit = normal(random);
  return logits;
}

}  // namespace

TEST_CASE("the kernel draws the host's tokens under every combination of parameters") {
  std::mt19937 random(2024);
  const auto chance = [&] { return std::uniform_real_distribution<float>(0, 1)(random); };
  const auto number = [&](int least, int most) {
    return std::uniform_int_distribution(least, most)(random);
  };
  for (int round = 0; round < 150; ++round) {
    const std::int64_t vocab = number(0, 3) == 0 ? number(1, 40) : number(41, 1500);
    SamplingParams params{.temperature = chance() < 0.2F ? 0.0F : 0.2F + 2.0F * chance(),
                          .seed = static_cast<std::uint64_t>(round)};
    if (chance() < 0.5F) params.top_k = number(1, 60);
    if (chance() < 0.5F) params.top_p = 0.05F + 0.94F * chance();
    if (chance() < 0.3F) params.min_p = 0.2F * chance();
    if (chance() < 0.3F) params.repetition_penalty = 0.8F + chance();
    if (chance() < 0.3F) params.presence_penalty = chance() * 2 - 1;
    if (chance() < 0.3F) params.frequency_penalty = chance();
    if (chance() < 0.3F) params.logprobs = number(0, 20);
    if (chance() < 0.3F)
      for (int i = number(1, 30); i > 0; --i)
        params.logit_bias.emplace_back((i * 7) % vocab, chance() * 8 - 4);
    // The host adds equal tokens' biases one after another: the kernel gets them once each.
    std::sort(params.logit_bias.begin(), params.logit_bias.end());
    params.logit_bias.erase(
        std::unique(params.logit_bias.begin(), params.logit_bias.end(),
                    [](const auto& a, const auto& b) { return a.first == b.first; }),
        params.logit_bias.end());
    std::vector<TokenId> prompt, output;
    for (int i = number(1, 30); i > 0; --i)
      prompt.push_back(number(0, static_cast<int>(vocab) - 1));
    for (int i = number(0, 30); i > 0; --i)
      output.push_back(number(0, static_cast<int>(vocab) - 1));
    INFO("round " << round << " vocab " << vocab);
    Pair pair(params, prompt, vocab, output);
    for (int draw = 0; draw < 4; ++draw)
      pair.draw(random_logits(random, vocab, 0.5F + 4 * chance()));
  }
}

TEST_CASE("ties, infinities and NaN are drawn as on the host") {
  const std::vector<std::vector<float>> rows{std::vector<float>(300, 1.0F),
                                             {not_a_number, not_a_number, not_a_number},
                                             {-infinity, -infinity},
                                             {not_a_number, -infinity, 2.0F, 2.0F, not_a_number},
                                             {1.0F, infinity, infinity, 3.0F},
                                             {-infinity, 0.0F, -infinity},
                                             {0.0F},
                                             {0.0F, -50.0F, -39.9F, -40.1F, -0.0F}};
  for (const float temperature : {0.0F, 1.0F})
    for (const int top_k : {0, 1, 3, 250})
      for (const float top_p : {1.0F, 0.5F, 0.01F})
        for (const auto& row : rows) {
          SamplingParams params{
              .temperature = temperature, .top_k = top_k, .top_p = top_p, .seed = 9};
          params.logprobs = 3;
          INFO("temperature " << temperature << " top_k " << top_k << " top_p " << top_p << " of "
                              << row.size());
          Pair pair(params, {0}, static_cast<std::int64_t>(row.size()));
          for (int draw = 0; draw < 3; ++draw) pair.draw(row);
        }
}

TEST_CASE("penalties of generated tokens build up on the device as on the host") {
  SamplingParams params{.temperature = 0.0F,
                        .repetition_penalty = 1.3F,
                        .presence_penalty = 0.4F,
                        .frequency_penalty = 0.6F};
  std::vector<float> logits{1.0F, 2.5F, 3.0F, 2.9F, -1.0F, 2.8F};
  Pair pair(params, {4, 4, 5}, 6);
  std::vector<TokenId> drawn;
  for (int i = 0; i < 12; ++i) drawn.push_back(pair.draw(logits));
  CHECK(drawn[0] == 2);
  CHECK(drawn[1] != 2);
}

TEST_CASE("a large vocabulary with many equal weights is cut at the same token") {
  std::mt19937 random(3);
  auto logits = random_logits(random, 20000, 1.0F);
  for (auto& logit : logits) logit = std::round(logit * 4) / 4;
  for (const int top_k : {0, 50, 7000})
    for (const float top_p : {0.3F, 0.9F}) {
      Pair pair({.temperature = 0.7F, .top_k = top_k, .top_p = top_p, .seed = 4}, {1}, 20000);
      for (int draw = 0; draw < 3; ++draw) pair.draw(logits);
    }
}
