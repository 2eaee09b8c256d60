// The budget, adjusted while serving. Each objective says of how many samples a share may lie above
// its limit (1 % for a p99), and steers a budget of its own by stochastic approximation, as online
// quantile tracking does (Robbins and Monro 1951): a sample below the limit raises it a little, one
// above lowers it by as much as that share of samples raises it. In the long run about that share
// lies above the limit, whatever the distribution of samples, how they cluster or how it changes,
// unless more does at the least budget; a budget does not rise while the share is above what was
// allowed. The lowest of these budgets holds. HyGen (§3) has a budget that was found before
// service, and nothing that follows traffic.
#pragma once

#include <optional>
#include <vector>

#include "policy/slo_budget.hpp"
#include "policy/slo_statistics.hpp"

namespace tandem::policy {

/// Where objectives are about TTFT and, absolutely, about TBT, how far online prompts are cut is
/// adjusted as well: shorter pieces spare the gaps of others and delay the prompt's own first
/// token. Pieces shrink where TBT is missed although offline work has given way, and grow where
/// TTFT is; they begin whole, and are never shorter than the strictest TBT objective, since a gap
/// is an iteration long.
class BudgetControl {
 public:
  explicit BudgetControl(const SloOptions& options);

  [[nodiscard]] std::optional<double> budget_ms() const { return budget_ms_; }
  /// For the planner; limits nothing while there is no budget.
  [[nodiscard]] BudgetSnapshot budgets() const;

  /// One token of an iteration; those of offline requests say nothing.
  void observe(const TokenTiming& timing);
  /// All tokens of the iteration were told: the budgets move. They do not rise while there is no
  /// offline work, since samples then say nothing of interference.
  void iteration_ended(bool offline_work);

 private:
  struct Steered {
    Objective objective;
    double limit_ms = 0;
    double log_budget = 0;
    double lowest = 0;  ///< of all, on average over the samples of this one
    double felt = 0;    ///< the iteration's samples above the limit; of a mean, their sum
    double told = 0;    ///< iterations with samples
    double felt_average = 0, samples_average = 0;  ///< of an iteration, lately
    double pull = 0;                               ///< of the iteration's samples, on log_budget
  };
  [[nodiscard]] double pull_of(const Steered& steered, double ms) const;
  [[nodiscard]] double carefulness(Quantity quantity) const;
  /// Whether the statistic lately is above what is aimed at, this iteration included.
  [[nodiscard]] bool remember(Steered& steered) const;
  void steer_prompts();

  Objectives objectives_;
  bool active_ = false;
  std::optional<double> budget_ms_;
  double log_budget_ = 0;  ///< the lowest
  double log_least_ = 0, log_most_ = 0;
  std::vector<Steered> steered_;
  bool guessed_ = false;                      ///< the first budget was not searched for
  double gaps_per_iteration_ = 1;             ///< online ones, on average
  double iterations_ = 0, first_tokens_ = 0;  ///< with online gaps; of online requests
  int iteration_gaps_ = 0, iteration_firsts_ = 0;

  std::optional<double> log_shortest_prompt_;  ///< of the cut, where it is adjusted
  std::optional<double> log_prompt_;           ///< online prompts are cut to it; none: not at all
};

}  // namespace tandem::policy
