// Sampling: what each parameter keeps, that draws follow the probabilities, and that they depend on
// nothing but seed and count.
#include "model/sampler.hpp"

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <map>
#include <random>
#include <set>

namespace tandem::model {
namespace {

constexpr float inf = std::numeric_limits<float>::infinity();
constexpr float nan_logit = std::numeric_limits<float>::quiet_NaN();
using Logits = std::vector<float>;

SamplingParams greedy() {
  SamplingParams params;
  params.temperature = 0;
  return params;
}

Sample sample_once(const SamplingParams& params, Logits logits,
                   const std::vector<TokenId>& prompt = {},
                   const std::vector<TokenId>& output = {}) {
  return SamplerState(params, prompt, output).sample(logits);
}

/// Tokens drawn in `count` draws from the same logits, each from its own place of the stream.
std::map<TokenId, int> histogram(SamplingParams params, const Logits& logits, int count) {
  std::map<TokenId, int> drawn;
  SamplerState state(params, {}, {});
  for (int i = 0; i < count; ++i) {
    Logits copy = logits;
    ++drawn[state.sample(copy).token];
  }
  return drawn;
}

std::set<TokenId> support(const SamplingParams& params, const Logits& logits) {
  std::set<TokenId> tokens;
  for (const auto& [token, count] : histogram(params, logits, 4000)) tokens.insert(token);
  return tokens;
}

Logits logits_of(const std::vector<double>& probabilities) {
  Logits logits;
  for (const double p : probabilities) logits.push_back(static_cast<float>(std::log(p)));
  return logits;
}

/// Pearson's statistic of `drawn` against `expected` probabilities.
double chi_square(const std::map<TokenId, int>& drawn, const std::vector<double>& expected,
                  int count) {
  double statistic = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const auto found = drawn.find(static_cast<TokenId>(i));
    const double seen = found == drawn.end() ? 0 : found->second;
    if (expected[i] == 0) {
      REQUIRE(seen == 0);
      continue;
    }
    const double wanted = expected[i] * count;
    statistic += (seen - wanted) * (seen - wanted) / wanted;
  }
  return statistic;
}

Logits random_logits(std::size_t size, unsigned seed) {
  std::mt19937 source(seed);
  std::normal_distribution<float> normal(0, 3);
  Logits logits(size);
  for (float& logit : logits) logit = normal(source);
  return logits;
}

}  // namespace

TEST_CASE("temperature 0 takes the highest logit, the lowest id of equals") {
  CHECK(sample_once(greedy(), {0, 3, 1, 3}).token == 1);
  CHECK(sample_once(greedy(), {-5}).token == 0);
  CHECK(sample_once(greedy(), {-inf, -inf, -7, -inf}).token == 2);
  Logits wide = random_logits(1003, 1);
  wide[999] = 50;
  CHECK(sample_once(greedy(), wide).token == 999);
  wide[16] = 50;
  CHECK(sample_once(greedy(), wide).token == 16);
}

TEST_CASE("a NaN is never drawn, and without any number the token is 0") {
  for (const float temperature : {0.0F, 1.0F}) {
    SamplingParams params;
    params.temperature = temperature;
    params.logprobs = 2;
    for (std::uint64_t seed = 0; seed < 200; ++seed) {
      params.seed = seed;
      const Sample one = sample_once(params, {nan_logit, 0, nan_logit, 0, -inf});
      CHECK((one.token == 1 || one.token == 3));
      CHECK(one.logprob == Approx(std::log(0.5)));
      CHECK(one.top_logprobs.size() == 2);
    }
    const Sample nothing = sample_once(params, {nan_logit, nan_logit, -inf});
    CHECK(nothing.token == 0);
    CHECK(nothing.logprob == lowest_logprob);
    CHECK(nothing.top_logprobs.empty());
    CHECK(sample_once(params, {0, inf, 5, inf}).token == 1);
  }
}

TEST_CASE("draws follow the softmax of logits over temperature") {
  const std::vector<double> probabilities{0.5, 0.25, 0.15, 0.07, 0.03};
  constexpr int count = 50'000;
  for (const float temperature : {1.0F, 0.5F, 2.0F}) {
    SamplingParams params;
    params.temperature = temperature;
    params.seed = 99;
    std::vector<double> expected;
    double total = 0;
    for (const double p : probabilities) {
      expected.push_back(std::pow(p, 1.0 / static_cast<double>(temperature)));
      total += expected.back();
    }
    for (double& p : expected) p /= total;
    // 4 degrees of freedom: 18.5 is passed once in a thousand honest runs; the seed is fixed.
    CHECK(chi_square(histogram(params, logits_of(probabilities), count), expected, count) < 18.5);
  }
}

TEST_CASE("filtered draws keep the proportions of what is left") {
  SamplingParams params;
  params.top_k = 3;
  params.seed = 5;
  const std::vector<double> expected{0.5 / 0.9, 0.25 / 0.9, 0.15 / 0.9, 0, 0};
  constexpr int count = 50'000;
  CHECK(chi_square(histogram(params, logits_of({0.5, 0.25, 0.15, 0.07, 0.03}), count), expected,
                   count) < 13.8);  // 2 degrees of freedom, 1 in 1000
}

TEST_CASE("top_k, top_p and min_p keep exactly the tokens they should") {
  const Logits logits = logits_of({0.07, 0.5, 0.03, 0.25, 0.15});
  SamplingParams params;
  params.seed = 11;
  using Set = std::set<TokenId>;
  SECTION("nothing off") { CHECK(support(params, logits) == Set{0, 1, 2, 3, 4}); }
  SECTION("top_k") {
    params.top_k = 2;
    CHECK(support(params, logits) == Set{1, 3});
  }
  SECTION("top_k 1 is greedy") {
    params.top_k = 1;
    params.temperature = 100;
    CHECK(support(params, logits) == Set{1});
  }
  SECTION("top_k above the vocabulary") {
    params.top_k = 1000;
    CHECK(support(params, logits) == Set{0, 1, 2, 3, 4});
  }
  SECTION("top_k among equals keeps the lower ids") {
    params.top_k = 2;
    CHECK(support(params, {1, 1, 1, 1}) == Set{0, 1});
  }
  SECTION("top_p keeps the smallest set that reaches it") {
    params.top_p = 0.7F;
    CHECK(support(params, logits) == Set{1, 3});
    params.top_p = 0.8F;
    CHECK(support(params, logits) == Set{1, 3, 4});
    params.top_p = 1e-9F;
    CHECK(support(params, logits) == Set{1});
  }
  SECTION("top_p counts what top_k left") {
    params.top_k = 2;  // 0.667 and 0.333 of what is left
    params.top_p = 0.6F;
    CHECK(support(params, logits) == Set{1});
  }
  SECTION("min_p is a share of the most likely, after temperature") {
    params.min_p = 0.2F;
    CHECK(support(params, logits) == Set{1, 3, 4});
    params.temperature = 0.5F;  // squares the shares: 0.25 and 0.09
    CHECK(support(params, logits) == Set{1, 3});
    params.min_p = 1.0F;
    CHECK(support(params, logits) == Set{1});
  }
}

TEST_CASE("top_p agrees with a full sort on wide vocabularies") {
  for (const unsigned seed : {1U, 2U, 3U}) {
    Logits logits = random_logits(5000, seed);
    if (seed == 3) std::fill(logits.begin(), logits.end(), 0.5F);  // all equal
    std::vector<std::pair<double, TokenId>> order;
    double total = 0;
    for (std::size_t i = 0; i < logits.size(); ++i) {
      const double weight = std::exp(static_cast<double>(logits[i]));
      order.emplace_back(-weight, static_cast<TokenId>(i));
      total += weight;
    }
    std::sort(order.begin(), order.end());
    for (const float top_p : {0.1F, 0.5F, 0.9F, 0.99F}) {
      std::set<TokenId> kept;
      double sum = 0;
      for (const auto& [weight, token] : order) {
        kept.insert(token);
        sum -= weight;
        if (sum >= static_cast<double>(top_p) * total * (1 + 1e-6)) break;
      }
      SamplingParams params;
      params.top_p = top_p;
      params.seed = seed;
      for (const auto& [token, count] : histogram(params, logits, 300)) {
        INFO("top_p " << top_p << " token " << token);
        CHECK(kept.count(token) == 1);
      }
    }
  }
}

TEST_CASE("penalties and bias change the logits as they say") {
  SamplingParams params = greedy();
  SECTION("repetition divides positive logits and multiplies negative ones, prompt included") {
    params.repetition_penalty = 2.0F;
    CHECK(sample_once(params, {4, 3, 1}, {0}).token == 1);
    CHECK(sample_once(params, {-1, -1.5F, -9}, {0}).token == 1);
    CHECK(sample_once(params, {4, 3, 1}, {}, {0}).token == 1);
  }
  SECTION("presence and frequency count output only") {
    params.presence_penalty = 1.5F;
    CHECK(sample_once(params, {4, 3, 1}, {0, 0}).token == 0);
    CHECK(sample_once(params, {4, 3, 1}, {}, {0}).token == 1);
    params.presence_penalty = 0;
    params.frequency_penalty = 0.6F;
    CHECK(sample_once(params, {4, 3, 1}, {}, {0}).token == 0);
    CHECK(sample_once(params, {4, 3, 1}, {}, {0, 0}).token == 1);
  }
  SECTION("a token that was drawn counts from then on") {
    params.frequency_penalty = 0.6F;
    SamplerState state(params, {}, {});
    std::vector<TokenId> drawn;
    for (int i = 0; i < 5; ++i) {
      Logits logits{4, 3, 1};
      drawn.push_back(state.sample(logits).token);
    }
    CHECK(drawn == std::vector<TokenId>{0, 0, 1, 0, 1});
  }
  SECTION("logit bias") {
    params.logit_bias = {{2, 5.0F}, {0, -100.0F}, {77, 3.0F}, {-1, 3.0F}};
    CHECK(sample_once(params, {4, 3, 1}).token == 2);
  }
  SECTION("ids outside the vocabulary are passed over") {
    params.repetition_penalty = 2.0F;
    CHECK(sample_once(params, {4, 3, 1}, {-3, 99}, {1000}).token == 0);
  }
}

TEST_CASE("log-probabilities are the model's own, whatever was changed") {
  SamplingParams params = greedy();
  params.logprobs = 3;
  params.logit_bias = {{3, 100.0F}};
  const Sample one = sample_once(params, logits_of({0.1, 0.6, 0.2, 0.1}));
  CHECK(one.token == 3);
  CHECK(one.logprob == Approx(std::log(0.1)));
  REQUIRE(one.top_logprobs.size() == 3);
  CHECK(one.top_logprobs[0].token == 1);
  CHECK(one.top_logprobs[0].logprob == Approx(std::log(0.6)));
  CHECK(one.top_logprobs[1].token == 2);
  CHECK(one.top_logprobs[2].token == 0);  // equal to 3: the lower id
  params.logprobs = 0;
  CHECK(sample_once(params, {1, 1}).top_logprobs.empty());
  CHECK(sample_once(params, {1, 1}).logprob == Approx(std::log(0.5)));
  params.logprobs = 20;
  CHECK(sample_once(params, {1, 1}).top_logprobs.size() == 2);
  params.logprobs.reset();
  CHECK(sample_once(params, {1, 1}).logprob == 0.0F);
}

TEST_CASE("equal seeds draw equal tokens, and resuming continues the stream") {
  const Logits logits = random_logits(500, 7);
  SamplingParams params;
  params.seed = 42;
  params.top_p = 0.95F;
  params.frequency_penalty = 0.3F;
  params.repetition_penalty = 1.1F;
  const auto run = [&](const SamplingParams& with, std::vector<TokenId> output, int count) {
    SamplerState state(with, std::vector<TokenId>{1, 2, 3}, output);
    for (int i = 0; i < count; ++i) {
      Logits copy = logits;
      output.push_back(state.sample(copy).token);
    }
    return output;
  };
  const auto whole = run(params, {}, 40);
  CHECK(run(params, {}, 40) == whole);
  const std::vector<TokenId> half(whole.begin(), whole.begin() + 17);
  CHECK(run(params, half, 23) == whole);
  params.seed = 43;
  CHECK(run(params, {}, 40) != whole);
}

TEST_CASE("a small change of one logit moves few draws") {
  const Logits logits = random_logits(2000, 3);
  Logits changed = logits;
  for (float& logit : changed) logit += 1e-6F * logit;
  SamplingParams params;
  params.top_k = 50;
  int different = 0;
  for (std::uint64_t seed = 0; seed < 1000; ++seed) {
    params.seed = seed;
    different += sample_once(params, logits).token != sample_once(params, changed).token ? 1 : 0;
  }
  CHECK(different <= 2);
}

TEST_CASE("uniform numbers are spread evenly and differ between seeds and draws") {
  std::array<int, 16> bins{};
  constexpr int count = 32'000;
  double correlation = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    const double u = uniform_of(1, i);
    REQUIRE(u >= 0);
    REQUIRE(u < 1);
    ++bins[static_cast<std::size_t>(u * 16)];
    correlation += (u - 0.5) * (uniform_of(2, i) - 0.5);
  }
  double statistic = 0;
  for (const int seen : bins) statistic += (seen - 2000.0) * (seen - 2000.0) / 2000.0;
  CHECK(statistic < 37.7);                                // 15 degrees of freedom, 1 in 1000
  CHECK(std::abs(correlation / count) < 4.0 / 12 / 178);  // four deviations
}

}  // namespace tandem::model
