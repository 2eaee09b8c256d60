#include "model/sampler.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "core/check.hpp"
#include "model/sampling_math.hpp"

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

/// How many weights of about one size there are, and their sum.
struct Bin {
  std::size_t count = 0;
  double mass = 0;
};
// A bin is 1/32 of an octave; weights lie between e^-40 (2^-57.8) and 1.
constexpr std::size_t num_bins = 60 * 32;

/// Ascending from the heaviest.
std::size_t bin_of(float weight) {
  const std::uint32_t below_one =
      std::bit_cast<std::uint32_t>(1.0F) - std::bit_cast<std::uint32_t>(weight);
  return std::min<std::size_t>(below_one >> 18, num_bins - 1);
}

/// Scratch of the thread that samples; slots are many, threads few.
struct Scratch {
  std::vector<Candidate> candidates;
  std::vector<Candidate> contested;
  std::vector<float> model_logits;
  std::array<Bin, num_bins> bins;
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
    if (logit > minus_infinity) sum += static_cast<double>(exp_of(logit - top));
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

/// Keeps the fewest most likely candidates, of all that are there, that are `count` or that hold
/// `mass` of the weight; their order stays. Linear: weights are counted in bins, and only the bin
/// in which the limit lies is sorted.
void keep_most_likely(std::vector<Candidate>& candidates, std::size_t count, double mass) {
  auto& [unused_candidates, contested, unused_logits, bins] = scratch();
  bins.fill({});
  for (const auto& one : candidates) {
    Bin& bin = bins[bin_of(one.weight)];
    ++bin.count;
    bin.mass += static_cast<double>(one.weight);
  }
  std::size_t limit = 0;
  Bin above;
  for (; limit < num_bins; ++limit) {
    const Bin& bin = bins[limit];
    if (above.count + bin.count >= count || above.mass + bin.mass >= mass) break;
    above.count += bin.count;
    above.mass += bin.mass;
  }
  if (limit == num_bins) return;

  contested.clear();
  for (const auto& one : candidates) {
    if (bin_of(one.weight) == limit) contested.push_back(one);
  }
  if (contested.empty()) return;
  std::sort(contested.begin(), contested.end(), before);
  Candidate last = contested.back();
  for (const auto& one : contested) {
    ++above.count;
    above.mass += static_cast<double>(one.weight);
    if (above.count < count && above.mass < mass) continue;
    last = one;
    break;
  }
  std::erase_if(candidates, [&](const Candidate& one) { return before(last, one); });
}

double total_weight(std::span<const Candidate> candidates) {
  constexpr std::size_t lanes = 8;  // Sums side by side: one would wait for itself all the time.
  double sums[lanes] = {};
  std::size_t i = 0;
  for (; i + lanes <= candidates.size(); i += lanes) {
    for (std::size_t lane = 0; lane < lanes; ++lane) {
      sums[lane] += static_cast<double>(candidates[i + lane].weight);
    }
  }
  for (; i < candidates.size(); ++i) sums[0] += static_cast<double>(candidates[i].weight);
  return std::accumulate(std::begin(sums), std::end(sums), 0.0);
}

/// The candidate at `uniform` of the way through the weights. They are in order of ids, so that a
/// small change of one logit moves the draw little.
TokenId draw(std::span<const Candidate> candidates, double uniform) {
  constexpr std::size_t block = 256;
  const double target = uniform * total_weight(candidates);
  double sum = 0;
  while (candidates.size() > block) {  // Whole blocks that end before the target are skipped.
    const double weight = total_weight(candidates.first(block));
    if (sum + weight > target) break;
    sum += weight;
    candidates = candidates.subspan(block);
  }
  for (const auto& one : candidates) {
    sum += static_cast<double>(one.weight);
    if (sum > target) return one.token;
  }
  return candidates.back().token;
}

/// The tokens whose weight, exp((logit - top) / temperature), is at least e^least; by id.
void collect_candidates(std::span<const float> logits, float top, float temperature, float least,
                        std::vector<Candidate>& candidates) {
  constexpr std::size_t lanes = 16;  // Fixed, so that the compiler makes vectors of the loops.
  float exponents[lanes];
  float weights[lanes];
  candidates.resize(logits.size());
  std::size_t kept = 0;
  for (std::size_t i = 0; i < logits.size(); i += lanes) {
    const std::size_t count = std::min(lanes, logits.size() - i);
    std::fill(std::begin(exponents), std::end(exponents), minus_infinity);
    std::copy_n(logits.begin() + static_cast<std::ptrdiff_t>(i), count, std::begin(exponents));
    for (float& exponent : exponents) exponent = (exponent - top) / temperature;
    for (std::size_t lane = 0; lane < lanes; ++lane) weights[lane] = exp_of(exponents[lane]);
    for (std::size_t lane = 0; lane < count; ++lane) {
      candidates[kept] = {weights[lane], static_cast<TokenId>(i + lane)};
      kept += exponents[lane] >= least ? 1 : 0;  // not for NaN
    }
  }
  candidates.resize(kept);
}

TokenId draw_token(std::span<const float> logits, float top, const SamplingParams& params,
                   double uniform) {
  // Below this share of the most likely token a draw has no bits left to hit a token with.
  constexpr float negligible = -40.0F;
  const float least =
      params.min_p > 0 ? std::clamp(std::log(params.min_p), negligible, 0.0F) : negligible;
  constexpr std::size_t all = std::numeric_limits<std::size_t>::max();
  constexpr double everything = std::numeric_limits<double>::infinity();
  auto& candidates = scratch().candidates;
  collect_candidates(logits, top, params.temperature, least, candidates);
  if (params.top_k > 0) {
    keep_most_likely(candidates, static_cast<std::size_t>(params.top_k), everything);
  }
  if (params.top_p < 1.0F) {
    const double mass = static_cast<double>(params.top_p) * total_weight(candidates);
    keep_most_likely(candidates, all, mass);
  }
  return draw(candidates, uniform);
}

}  // namespace

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
