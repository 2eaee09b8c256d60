#include "model/sampler.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "core/check.hpp"

namespace tandem::model {
namespace {

constexpr float minus_infinity = -std::numeric_limits<float>::infinity();

/// A token and its weight, relative to the most likely token's 1.
struct Candidate {
  float weight = 0;
  TokenId token = 0;
};

/// More likely first, then the lower id.
bool before(const Candidate& a, const Candidate& b) {
  return a.weight != b.weight ? a.weight > b.weight : a.token < b.token;
}

/// Scratch of the thread that samples; slots are many, threads few.
struct Scratch {
  std::vector<Candidate> candidates;
  std::vector<float> model_logits;
};
Scratch& scratch() {
  thread_local Scratch own;
  return own;
}

/// The highest logit, ignoring NaN; minus infinity if there is none.
float highest(std::span<const float> logits) {
  // Independent lanes, so that the comparison's latency is not on one long chain.
  constexpr std::size_t lanes = 16;
  float best[lanes];
  std::fill(std::begin(best), std::end(best), minus_infinity);
  std::size_t i = 0;
  for (; i + lanes <= logits.size(); i += lanes) {
    for (std::size_t lane = 0; lane < lanes; ++lane) {
      const float logit = logits[i + lane];
      best[lane] = logit > best[lane] ? logit : best[lane];
    }
  }
  for (; i < logits.size(); ++i) best[0] = logits[i] > best[0] ? logits[i] : best[0];
  return *std::max_element(std::begin(best), std::end(best));
}

/// The lowest id that has the highest logit; 0 if nothing is above minus infinity.
TokenId argmax(std::span<const float> logits, float top) {
  if (top == minus_infinity) return 0;
  const auto found = std::find(logits.begin(), logits.end(), top);
  return static_cast<TokenId>(found - logits.begin());
}

// ---- log-probabilities -------------------------------------------------------------------------

/// log(sum(exp(logits))) without overflow.
double log_total(std::span<const float> logits, float top) {
  double sum = 0;
  for (const float logit : logits) {
    if (logit > minus_infinity) sum += static_cast<double>(std::exp(logit - top));
  }
  return static_cast<double>(top) + std::log(sum);
}

float logprob_of(float logit, double log_sum) {
  const auto value = static_cast<float>(static_cast<double>(logit) - log_sum);
  return value > lowest_logprob ? value : lowest_logprob;  // NaN too
}

std::vector<TokenLogprob> top_logprobs(std::span<const float> logits, std::size_t count,
                                       double log_sum) {
  auto& order = scratch().candidates;
  order.clear();
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] > minus_infinity) order.push_back({logits[i], static_cast<TokenId>(i)});
  }
  const auto kept = static_cast<std::ptrdiff_t>(std::min(count, order.size()));
  std::partial_sort(order.begin(), order.begin() + kept, order.end(), before);
  std::vector<TokenLogprob> top;
  top.reserve(static_cast<std::size_t>(kept));
  for (std::ptrdiff_t i = 0; i < kept; ++i) {
    const Candidate& one = order[static_cast<std::size_t>(i)];
    top.push_back({one.token, logprob_of(one.weight, log_sum)});
  }
  return top;
}

// ---- filters and the draw ----------------------------------------------------------------------

/// Keeps the `count` most likely.
void keep_top_k(std::vector<Candidate>& candidates, std::size_t count) {
  if (count >= candidates.size()) return;
  std::nth_element(candidates.begin(), candidates.begin() + static_cast<std::ptrdiff_t>(count),
                   candidates.end(), before);
  candidates.resize(count);
}

/// Keeps the smallest set of most likely candidates that holds `share` of the weight. Looks at a
/// growing head of the order instead of sorting everything.
void keep_top_p(std::vector<Candidate>& candidates, double share) {
  double total = 0;
  for (const auto& one : candidates) total += static_cast<double>(one.weight);
  const double wanted = share * total;
  double sum = 0;
  std::size_t sorted = 0;
  for (std::size_t head = 64; sorted < candidates.size(); head *= 8) {
    const std::size_t end = std::min(head, candidates.size());
    const auto first = candidates.begin() + static_cast<std::ptrdiff_t>(sorted);
    const auto last = candidates.begin() + static_cast<std::ptrdiff_t>(end);
    if (end < candidates.size()) std::nth_element(first, last, candidates.end(), before);
    std::sort(first, last, before);
    for (; sorted < end; ++sorted) {
      sum += static_cast<double>(candidates[sorted].weight);
      if (sum >= wanted) {
        candidates.resize(sorted + 1);
        return;
      }
    }
  }
}

/// The candidate at `uniform` of the way through the weights. They are in order of ids, so that a
/// small change of one logit moves the draw little, however the filters ordered them.
TokenId draw(std::span<const Candidate> candidates, double uniform) {
  double total = 0;
  for (const auto& one : candidates) total += static_cast<double>(one.weight);
  const double target = uniform * total;
  double sum = 0;
  for (const auto& one : candidates) {
    sum += static_cast<double>(one.weight);
    if (sum > target) return one.token;
  }
  return candidates.back().token;
}

TokenId draw_token(std::span<const float> logits, float top, const SamplingParams& params,
                   double uniform) {
  // Below this share of the most likely token a draw has no bits left to hit a token with.
  constexpr float negligible = -40.0F;
  const float least =
      params.min_p > 0 ? std::clamp(std::log(params.min_p), negligible, 0.0F) : negligible;
  const float scale = params.temperature;
  auto& candidates = scratch().candidates;
  candidates.clear();
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const float exponent = logits[i] == top ? 0.0F : (logits[i] - top) / scale;
    if (exponent >= least) candidates.push_back({std::exp(exponent), static_cast<TokenId>(i)});
  }
  if (params.top_k > 0) keep_top_k(candidates, static_cast<std::size_t>(params.top_k));
  if (params.top_p < 1.0F) keep_top_p(candidates, static_cast<double>(params.top_p));
  if (params.top_k > 0 || params.top_p < 1.0F) {
    std::sort(candidates.begin(), candidates.end(),
              [](const Candidate& a, const Candidate& b) { return a.token < b.token; });
  }
  return draw(candidates, uniform);
}

/// A bijection that scatters its input over 64 bits (the finalizer of SplitMix64).
constexpr std::uint64_t scatter(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
  return x ^ (x >> 31);
}

}  // namespace

double uniform_of(std::uint64_t seed, std::uint64_t draw) {
  constexpr std::uint64_t odd = 0x9E3779B97F4A7C15ULL;
  const std::uint64_t bits = scatter(scatter(seed + odd) + (draw + 1) * odd);
  return static_cast<double>(bits >> 11) * 0x1p-53;
}

SamplerState::SamplerState(const SamplingParams& params, std::span<const TokenId> prompt,
                           std::span<const TokenId> output)
    : params_(params),
      drawn_(output.size()),
      penalizes_(params.repetition_penalty != 1.0F || params.presence_penalty != 0.0F ||
                 params.frequency_penalty != 0.0F) {
  if (!penalizes_) return;
  if (params.repetition_penalty != 1.0F) {
    for (const TokenId token : prompt) seen_.push_back({token, 0});
    std::sort(seen_.begin(), seen_.end(),
              [](const Seen& a, const Seen& b) { return a.token < b.token; });
    const auto end = std::unique(seen_.begin(), seen_.end(),
                                 [](const Seen& a, const Seen& b) { return a.token == b.token; });
    seen_.erase(end, seen_.end());
  }
  seen_.reserve(seen_.size() + output.size() + 256);
  for (const TokenId token : output) remember(token);
}

void SamplerState::remember(TokenId token) {
  const auto place =
      std::lower_bound(seen_.begin(), seen_.end(), token,
                       [](const Seen& one, TokenId wanted) { return one.token < wanted; });
  if (place != seen_.end() && place->token == token) {
    ++place->output_count;
  } else {
    seen_.insert(place, {token, 1});
  }
}

void SamplerState::apply_penalties(std::span<float> logits) const {
  for (const Seen& one : seen_) {
    if (one.token < 0 || static_cast<std::size_t>(one.token) >= logits.size()) continue;
    float& logit = logits[static_cast<std::size_t>(one.token)];
    if (params_.repetition_penalty != 1.0F) {
      logit = logit > 0 ? logit / params_.repetition_penalty : logit * params_.repetition_penalty;
    }
    if (one.output_count > 0) {
      logit -= params_.frequency_penalty * static_cast<float>(one.output_count);
      logit -= params_.presence_penalty;
    }
  }
}

Sample SamplerState::sample(std::span<float> logits) {
  TANDEM_CHECK(!logits.empty(), "sampling from no logits");
  auto& model_logits = scratch().model_logits;
  if (params_.logprobs) model_logits.assign(logits.begin(), logits.end());

  if (penalizes_) apply_penalties(logits);
  for (const auto& [token, bias] : params_.logit_bias) {
    if (token >= 0 && static_cast<std::size_t>(token) < logits.size()) {
      logits[static_cast<std::size_t>(token)] += bias;
    }
  }

  Sample result;
  const float top = highest(logits);
  if (params_.temperature > 0 && std::isfinite(top)) {
    result.token = draw_token(logits, top, params_, uniform_of(params_.seed, drawn_));
  } else {
    result.token = argmax(logits, top);
  }
  if (params_.logprobs) {
    const double log_sum = log_total(model_logits, highest(model_logits));
    result.logprob = logprob_of(model_logits[static_cast<std::size_t>(result.token)], log_sum);
    result.top_logprobs = top_logprobs(model_logits, *params_.logprobs, log_sum);
  }
  ++drawn_;
  if (penalizes_) remember(result.token);
  return result;
}

}  // namespace tandem::model
