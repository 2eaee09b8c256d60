// See slo_control.hpp.
#include "policy/slo_control.hpp"

#include <algorithm>
#include <cmath>

namespace tandem::policy {
namespace {

// A statistic that is met on average is missed half of the time: of the share that may lie above a
// limit, and of a mean's limit, so much is aimed at.
constexpr double aimed_share = 0.9, aimed_mean = 0.95;
// By how much good samples raise the logarithm of a budget: the gaps of an iteration together,
// since they come and go together, and a first token. A p99 falls by about a hundred times as much.
constexpr double rise_per_iteration = 2e-4, rise_per_first_token = 1e-3;
// A mean is steered by the distance of each sample from it, in shares of it. First tokens are few.
constexpr double mean_gain_per_iteration = 1e-3, mean_gain_per_first_token = 0.04;
constexpr double steepest_fall = 0.5;  ///< in one iteration
/// A budget that is not the lowest is held so close to it that it takes over soon when it must: to
/// what the lowest was on average, or a short dip of one would hold the others down for long.
constexpr double headroom = 0.7, headroom_averaging = 1.0 / 64;
/// No rise while the statistic, over about so many of the latest iterations or first tokens, is
/// above what is aimed at: misses at the least budget, which cannot fall, would be forgotten. Of an
/// overload no more is remembered than of a statistic so many times its limit.
constexpr double remembered_iterations = 16384, remembered_first_tokens = 2048;
constexpr double remembered_share = 2, remembered_mean = 1.1;
/// Slow, or samples of busy times would count for less.
constexpr double averaging = 1.0 / 65536;
/// A budget that nobody searched for is a guess: at first, a miss weighs so many times as much,
/// less and less until so many iterations, or first tokens, have passed.
constexpr double careful = 4, careful_iterations = 1000, careful_first_tokens = 50;

double allowed_share(Statistic statistic) { return statistic == Statistic::p50 ? 0.5 : 0.01; }

/// What a sample adds to the statistic: itself, or whether it lies above the limit.
double felt_of(const Objective& objective, double limit_ms, double ms) {
  return objective.statistic == Statistic::mean ? ms : (ms > limit_ms ? 1 : 0);
}

}  // namespace

BudgetControl::BudgetControl(const SloOptions& options) : objectives_(options.objectives) {
  const auto first = initial_budget(options);
  if (!first) return;
  guessed_ = !options.budget_ms;
  budget_ms_ = guessed_ ? std::max(*first, options.least_ms) : *first;
  log_budget_ = std::log(*budget_ms_);
  log_least_ = std::min(std::log(options.least_ms), log_budget_);
  log_most_ = std::max(std::log(options.most_ms), log_budget_);
  const auto baseline = options.baseline.value_or(LatencyStatistics());
  for (const Objective& objective : objectives_)
    if (const double limit = limit_ms(objective, baseline); limit > 0)
      steered_.push_back({objective, limit, log_budget_, log_budget_});
  active_ = options.control && !steered_.empty();
  if (those_about(Quantity::ttft, objectives_).empty()) return;
  if (const auto gap = strictest_gap(objectives_)) log_shortest_prompt_ = std::log(*gap);
}

BudgetSnapshot BudgetControl::budgets() const {
  if (!budget_ms_) return {};
  auto budgets = budget_of(*budget_ms_, objectives_);
  if (log_prompt_) budgets.online_iteration_ms = std::exp(*log_prompt_);
  return budgets;
}

double BudgetControl::pull_of(const Steered& steered, double ms) const {
  const auto& [quantity, statistic, relative, value] = steered.objective;
  const bool about_ttft = quantity == Quantity::ttft;
  const double weight = about_ttft ? 1 : 1 / gaps_per_iteration_;
  if (statistic == Statistic::mean) {
    const double aim = aimed_mean * steered.limit_ms;
    const double gain = about_ttft ? mean_gain_per_first_token : mean_gain_per_iteration;
    return weight * gain * (aim - ms) / aim;
  }
  const double rise = weight * (about_ttft ? rise_per_first_token : rise_per_iteration);
  const double share = aimed_share * allowed_share(statistic);
  return ms > steered.limit_ms ? rise - rise / share : rise;
}

double BudgetControl::carefulness(Quantity quantity) const {
  const double passed = quantity == Quantity::ttft ? first_tokens_ / careful_first_tokens
                                                   : iterations_ / careful_iterations;
  return 1 + (careful - 1) / (1 + passed);
}

void BudgetControl::observe(const TokenTiming& timing) {
  if (!active_ || timing.request_class == RequestClass::offline) return;
  const auto quantity = timing.first ? Quantity::ttft : Quantity::tbt;
  ++(timing.first ? iteration_firsts_ : iteration_gaps_);
  for (auto& steered : steered_)
    if (steered.objective.quantity == quantity) {
      const double ms = to_ms(timing.since_last);
      steered.pull += pull_of(steered, ms);
      steered.felt += felt_of(steered.objective, steered.limit_ms, ms);
    }
}

void BudgetControl::iteration_ended(bool offline_work) {
  if (!active_ || iteration_gaps_ + iteration_firsts_ == 0) return;
  if (log_shortest_prompt_) steer_prompts();
  double lowest = log_most_;
  for (auto& steered : steered_) {
    double pull = offline_work ? steered.pull : std::min(steered.pull, 0.0);
    if (pull < 0 && guessed_) pull *= carefulness(steered.objective.quantity);
    if (remember(steered) && pull > 0) pull = 0;
    steered.log_budget =
        std::clamp(steered.log_budget + std::max(pull, -steepest_fall), log_least_, log_most_);
    steered.pull = steered.felt = 0;
    lowest = std::min(lowest, steered.log_budget);
  }
  if (lowest != log_budget_) budget_ms_ = std::exp(lowest);
  log_budget_ = lowest;
  for (auto& steered : steered_) {
    const bool about_ttft = steered.objective.quantity == Quantity::ttft;
    if ((about_ttft ? iteration_firsts_ : iteration_gaps_) == 0) continue;
    steered.lowest += headroom_averaging * (lowest - steered.lowest);
    steered.log_budget = std::min(steered.log_budget, std::max(steered.lowest, lowest) + headroom);
  }
  first_tokens_ += iteration_firsts_;
  if (iteration_gaps_ > 0) {
    ++iterations_;
    gaps_per_iteration_ +=
        std::max(averaging, 1 / iterations_) * (iteration_gaps_ - gaps_per_iteration_);
  }
  iteration_gaps_ = iteration_firsts_ = 0;
}

bool BudgetControl::remember(Steered& steered) const {
  const auto& [quantity, statistic, relative, value] = steered.objective;
  const bool about_ttft = quantity == Quantity::ttft, about_mean = statistic == Statistic::mean;
  const double limit = about_mean ? steered.limit_ms : allowed_share(statistic);
  if (const int samples = about_ttft ? iteration_firsts_ : iteration_gaps_; samples > 0) {
    steered.told += 1;
    const double weight =
        1 / std::min(steered.told, about_ttft ? remembered_first_tokens : remembered_iterations);
    steered.samples_average += weight * (samples - steered.samples_average);
    const double most = (about_mean ? remembered_mean : remembered_share) * limit;
    steered.felt_average =
        std::min(most * steered.samples_average,
                 steered.felt_average + weight * (steered.felt - steered.felt_average));
  }
  return steered.felt_average >
         (about_mean ? aimed_mean : aimed_share) * limit * steered.samples_average;
}

void BudgetControl::steer_prompts() {
  const bool gave_way = log_budget_ <= log_least_;
  double step = 0;
  for (const auto& steered : steered_) {
    const double missed = std::min(steered.pull, 0.0);
    if (steered.objective.quantity == Quantity::ttft)
      step -= missed;
    else if (gave_way)
      step += missed;
  }
  if (step == 0) return;
  const double longest = std::max(log_most_, *log_shortest_prompt_);
  step = std::clamp(step, -steepest_fall, steepest_fall);
  log_prompt_ = std::max(log_prompt_.value_or(longest) + step, *log_shortest_prompt_);
  if (*log_prompt_ >= longest) log_prompt_.reset();
}

}  // namespace tandem::policy
