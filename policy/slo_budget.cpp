// See slo_budget.hpp.
#include "policy/slo_budget.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <iterator>

#include "core/check.hpp"

namespace tandem::policy {
namespace {

constexpr std::array<std::string_view, 2> quantity_names{"ttft", "tbt"};
constexpr std::array<std::string_view, 3> statistic_names{"mean", "p50", "p99"};
constexpr double most_ms = 3600000;
constexpr double most_percent = 10000;

std::string short_number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.6g", value);
  return text;
}

/// The number that `text` is, apart from `prefix` and `suffix`.
std::optional<double> number_between(std::string_view prefix, std::string_view text,
                                     std::string_view suffix) {
  if (!text.starts_with(prefix) || !text.ends_with(suffix)) return std::nullopt;
  if (text.size() <= prefix.size() + suffix.size()) return std::nullopt;
  text = text.substr(prefix.size(), text.size() - prefix.size() - suffix.size());
  if (!(text.front() >= '0' && text.front() <= '9')) return std::nullopt;
  double value = 0;
  const auto [end, failure] =
      std::from_chars(text.data(), text.data() + text.size(), value, std::chars_format::fixed);
  if (failure != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

IterationShape one_online_token() {
  IterationShape shape;
  shape.add(Tokens(0), Tokens(1), true);
  return shape;
}

}  // namespace

Objectives those_about(Quantity quantity, const Objectives& objectives) {
  Objectives found;
  std::copy_if(objectives.begin(), objectives.end(), std::back_inserter(found),
               [&](const Objective& objective) { return objective.quantity == quantity; });
  return found;
}

std::optional<double> strictest_gap(const Objectives& objectives) {
  std::optional<double> least;
  for (const Objective& objective : those_about(Quantity::tbt, objectives))
    if (!objective.relative) least = std::min(least.value_or(objective.value), objective.value);
  return least;
}

std::string name_of(Quantity quantity, Statistic statistic) {
  return std::string(quantity_names[static_cast<std::size_t>(quantity)]) + "_" +
         std::string(statistic_names[static_cast<std::size_t>(statistic)]);
}

Result<std::optional<Objective>> parse_objective(Quantity quantity, Statistic statistic,
                                                 std::string_view text, std::string_view param) {
  if (text.empty() || text == "none") return std::optional<Objective>();
  if (const auto ms = number_between("", text, "ms"); ms && *ms > 0 && *ms <= most_ms)
    return std::optional<Objective>({quantity, statistic, false, *ms});
  if (const auto percent = number_between("+", text, "%"); percent && *percent <= most_percent)
    return std::optional<Objective>({quantity, statistic, true, *percent / 100});
  return error(Errc::invalid_value,
               std::string(param) + " is '" + std::string(text) +
                   "'; allowed are milliseconds such as 250ms (above 0, up to 3600000), a share "
                   "over online-only service such as +10% (up to 10000), or none",
               std::string(param));
}

std::string to_string(const Objective& objective) {
  return objective.relative ? "+" + short_number(objective.value * 100) + "%"
                            : short_number(objective.value) + "ms";
}

double statistic_of(const LatencyStatistics& s, Quantity quantity, Statistic statistic) {
  const bool ttft = quantity == Quantity::ttft;
  switch (statistic) {
    case Statistic::mean: return ttft ? s.ttft_ms_mean : s.tbt_ms_mean;
    case Statistic::p50: return ttft ? s.ttft_ms_p50 : s.tbt_ms_p50;
    case Statistic::p99: break;
  }
  return ttft ? s.ttft_ms_p99 : s.tbt_ms_p99;
}

double limit_ms(const Objective& objective, const LatencyStatistics& baseline) {
  if (!objective.relative) return objective.value;
  return statistic_of(baseline, objective.quantity, objective.statistic) * (1 + objective.value);
}

double slack(const Objectives& objectives, const LatencyStatistics& measured,
             const LatencyStatistics& baseline) {
  double least = 1;
  for (const Objective& objective : objectives) {
    const auto samples =
        objective.quantity == Quantity::ttft ? measured.ttft_samples : measured.tbt_samples;
    const double limit = limit_ms(objective, baseline);
    if (samples == 0 || limit <= 0) continue;
    const double felt = statistic_of(measured, objective.quantity, objective.statistic);
    least = std::min(least, (limit - felt) / limit);
  }
  return least;
}

Result<void> check_objectives(const Objectives& objectives, const LatencyStatistics* baseline,
                              const LatencyModel& model) {
  const double one_token = model.predict_ms(one_online_token());
  for (const Objective& objective : objectives) {
    const std::string name = name_of(objective.quantity, objective.statistic);
    if (objective.relative && baseline == nullptr)
      return error(Errc::invalid_value,
                   "the objective " + name + " of " + to_string(objective) +
                       " is relative to online-only service, of which nothing was measured; use a "
                       "profile_file with a baseline, or an absolute objective such as 250ms",
                   "slo_" + name);
    const double limit = limit_ms(objective, baseline != nullptr ? *baseline : LatencyStatistics());
    if (model.error_is_known() && limit < one_token)
      return error(Errc::invalid_value,
                   "the objective " + name + " of " + short_number(limit) +
                       " ms cannot be met: an iteration with a single online token takes " +
                       short_number(one_token) + " ms on this device",
                   "slo_" + name);
  }
  return {};
}

BudgetSnapshot budget_of(double iteration_ms, const Objectives& objectives) {
  BudgetSnapshot budget;
  budget.iteration_ms = iteration_ms;
  const bool about_ttft = !those_about(Quantity::ttft, objectives).empty();
  if (about_ttft)
    budget.offline_iteration_ms = iteration_ms;
  else
    budget.online_iteration_ms = strictest_gap(objectives);
  return budget;
}

BudgetEnds budget_ends(const LatencyModel& model, Tokens max_iteration_tokens) {
  IterationShape full;
  full.add(max_iteration_tokens, max_iteration_tokens, false);
  const double least = std::max(model.predict_ms(one_online_token()), 1e-3);
  return {least, std::max(2 * model.upper_ms(full), least)};
}

BudgetSearch::BudgetSearch(double least_ms, double most_ms, double precision)
    : least_ms_(least_ms), most_ms_(most_ms), precision_(precision) {
  TANDEM_CHECK(least_ms > 0 && least_ms <= most_ms, "a search has a lower and an upper end");
  TANDEM_CHECK(precision > 0, "a search ends");
}

BudgetSearch BudgetSearch::over(const LatencyModel& model, Tokens max_iteration_tokens,
                                double precision) {
  const auto [least, most] = budget_ends(model, max_iteration_tokens);
  return {least, most, precision};
}

std::optional<double> BudgetSearch::next() const {
  if (!met_ && !missed_) return most_ms_;
  if (!missed_) return std::nullopt;  // the upper end met everything
  if (!met_) return *missed_ > least_ms_ ? std::optional<double>(least_ms_) : std::nullopt;
  if (*missed_ / *met_ <= 1 + precision_) return std::nullopt;
  return std::sqrt(*met_ * *missed_);
}

void BudgetSearch::observe(bool met) {
  const auto budget = next();
  TANDEM_CHECK(budget.has_value(), "a search that has ended takes nothing in");
  (met ? met_ : missed_) = *budget;
  probes_.push_back({*budget, met});
}

std::optional<double> initial_budget(const SloOptions& options) {
  if (options.budget_ms) return options.budget_ms;
  std::optional<double> least;
  for (const Objective& objective : options.objectives) {
    if (objective.relative && !options.baseline) continue;
    const double limit = limit_ms(objective, options.baseline.value_or(LatencyStatistics()));
    double budget = limit;
    if (objective.quantity == Quantity::ttft)
      budget = objective.relative ? limit * objective.value / (1 + objective.value) / 2 : limit / 4;
    least = std::min(least.value_or(budget), budget);
  }
  return least;
}

}  // namespace tandem::policy
