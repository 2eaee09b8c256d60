// From objectives to budgets. An objective is a statistic of what online requests feel (mean, p50
// or p99 of TTFT or of TBT); a budget is what one iteration may take. HyGen §3 maps one to the
// other by test runs: BudgetSearch is that search; slo_control.hpp adjusts the budget while
// serving. Whoever can measure (a device, the simulator) drives the search; nothing here runs
// anything.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.hpp"
#include "core/units.hpp"
#include "policy/snapshots.hpp"

namespace tandem::policy {

enum class Quantity : std::uint8_t { ttft, tbt };
enum class Statistic : std::uint8_t { mean, p50, p99 };

struct Objective {
  Quantity quantity = Quantity::tbt;
  Statistic statistic = Statistic::p99;
  bool relative = false;
  double value = 0;  ///< milliseconds; relative: the share that online-only service may be exceeded
                     ///< by, 0.1 for +10 %

  friend bool operator==(const Objective&, const Objective&) = default;
};
using Objectives = std::vector<Objective>;

/// "ttft_p99".
std::string name_of(Quantity quantity, Statistic statistic);
/// "250ms" or "+10%"; nothing for "" and "none". `param` names the key in an error.
Result<std::optional<Objective>> parse_objective(Quantity quantity, Statistic statistic,
                                                 std::string_view text, std::string_view param);
/// As parse_objective reads it.
std::string to_string(const Objective& objective);

double statistic_of(const LatencyStatistics& statistics, Quantity quantity, Statistic statistic);
/// Of these objectives, those about `quantity`.
Objectives those_about(Quantity quantity, const Objectives& objectives);
/// The least of the absolute TBT objectives, in milliseconds.
std::optional<double> strictest_gap(const Objectives& objectives);
/// In milliseconds; relative ones are taken of `baseline`.
double limit_ms(const Objective& objective, const LatencyStatistics& baseline);
/// How far the tightest objective is from its limit, as a share of the limit: below 0 it is missed.
/// 1 without objectives.
double slack(const Objectives& objectives, const LatencyStatistics& measured,
             const LatencyStatistics& baseline);

/// An objective that cannot be met even by an iteration with one online token in it, or a relative
/// one without a baseline, is an error that names both figures.
Result<void> check_objectives(const Objectives& objectives, const LatencyStatistics* baseline,
                              const LatencyModel& model);

/// The budgets of a search's one figure. Offline work beside online work is bounded by it always;
/// offline work alone only where an objective is about TTFT, since a request that arrives waits for
/// it; online prompts are cut where an absolute objective is about TBT and none about TTFT, which
/// cutting makes longer.
BudgetSnapshot budget_of(double iteration_ms, const Objectives& objectives);

/// From what one online token takes to twice what a full iteration does, in milliseconds.
struct BudgetEnds {
  double least_ms = 0, most_ms = 0;
};
BudgetEnds budget_ends(const LatencyModel& model, Tokens max_iteration_tokens);

/// Bisection for the largest budget that meets the objectives, on a logarithmic scale: first the
/// upper end, then the lower, then between.
class BudgetSearch {
 public:
  struct Probe {
    double budget_ms = 0;
    bool met = false;
  };

  /// 0 < least_ms <= most_ms. It ends when the budget is known to `precision`, relatively.
  BudgetSearch(double least_ms, double most_ms, double precision = 0.02);
  /// Between the ends of budget_ends().
  static BudgetSearch over(const LatencyModel& model, Tokens max_iteration_tokens,
                           double precision = 0.02);

  /// What to try next; nothing once the budget is found.
  [[nodiscard]] std::optional<double> next() const;
  /// Whether all objectives were met with the budget of next().
  void observe(bool met);
  /// The largest budget that met them; nothing if not even the smallest did.
  [[nodiscard]] std::optional<double> result() const { return met_; }
  [[nodiscard]] const std::vector<Probe>& probes() const { return probes_; }

 private:
  double least_ms_, most_ms_, precision_;
  std::optional<double> met_, missed_;
  std::vector<Probe> probes_;
};

/// What the profiler is told at start.
struct SloOptions {
  Objectives objectives;
  std::optional<LatencyStatistics> baseline;  ///< of online-only service
  std::optional<double> budget_ms;            ///< as a search found it
  double least_ms = 0.1, most_ms = 10000;     ///< what control may set
  bool control = true;                        ///< adjust while serving
};

/// The budget that service starts from: the one that was found; without one the strictest absolute
/// TBT objective, since a gap is an iteration long, or a quarter of a TTFT one, since a request
/// waits for the iterations in flight before its own; of a relative one half of what it may grow
/// by. Nothing without objectives.
std::optional<double> initial_budget(const SloOptions& options);

}  // namespace tandem::policy
