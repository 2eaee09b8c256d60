// Which tokens run next: the one decision that policies differ in. A planner is a pure object over
// counts; it sees no ledger, no device and no clock but the one it is given. Tests and users
// replace it (RuntimeParts::planner); the scheduler core checks and carries out what it chose.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/request.hpp"
#include "core/result.hpp"
#include "core/units.hpp"
#include "policy/snapshots.hpp"

namespace tandem::policy {

/// One sequence, as far as a planner needs to know. "Planned" counts what plans in flight will do.
struct SequenceView {
  RequestId id{};
  RequestClass request_class = RequestClass::online;
  Tokens context{
      0};  ///< positions computed or planned; for a waiting sequence: found in the prefix cache
  Tokens pending{0};  ///< tokens that could run now: the rest of the prompt (after a preemption: of
                      ///< prompt and output), or 1 of a decode; 0 if plans in flight finish it
  bool decode = false;   ///< what is pending is one token that it generated itself
  bool running = false;  ///< has a slot
  Blocks held{0};        ///< blocks it holds now (a waiting sequence: cached ones it would share)
  Blocks unheld{0};      ///< waiting: of `held`, those that free_blocks counts, since nobody holds
                         ///< them; sharing takes them from there
  Blocks releasable{0};  ///< blocks that would become free if it were preempted now; 0 while a plan
                         ///< in flight uses it
  bool preemptible = false;  ///< may be named in Selection::preempt: running, in no plan in flight.
                             ///< A running sequence becomes so by being left out of plans.
  TimePoint arrival{};

  /// By how much running `tokens` more lowers free_blocks.
  [[nodiscard]] Blocks blocks_needed(Tokens tokens) const;
  /// How many more tokens, up to `limit`, can run when `free` blocks are to be had.
  [[nodiscard]] Tokens tokens_that_fit(Tokens limit, Blocks free) const;
};

/// Views are in arrival order (offline: the queue's order). Waiting ones are a window, not the
/// whole queue.
struct PlanningView {
  std::span<const SequenceView> online_running;
  std::span<const SequenceView> online_waiting;
  std::span<const SequenceView> offline_running;
  std::span<const SequenceView> offline_waiting;
  Blocks free_blocks{0};  ///< free or evictable
  std::uint32_t free_slots = 0;
  Tokens token_budget{0};        ///< rows that one iteration may have
  std::int64_t row_quantum = 1;  ///< the device computes rows in multiples of it: part of one costs
                                 ///< as much as a whole
  TimePoint now{};
  bool offline_alone_in_flight = false;    ///< plans are in flight, without any online work
  const LatencySnapshot* model = nullptr;  ///< null until something was measured
  const BudgetSnapshot* budget = nullptr;
};

struct Choice {
  RequestId id{};
  Tokens tokens{0};
};

/// Preempted sequences are freed first (recompute: they go back to the head of their queue), then
/// the choices are given blocks in order. The core aborts, naming the rule, unless
///   - preempted ones are preemptible, named once, and not chosen as well;
///   - each choice is a sequence of the view, named once, with 1 .. pending tokens;
///   - all tokens together fit token_budget, the waiting ones chosen fit free_slots (one more for
///     each preempted), and all blocks_needed together fit free_blocks plus what is released.
/// A chosen waiting sequence may still be left for the next plan: when the blocks that it would
/// share are those of a sequence that the same selection preempts.
struct Selection {
  std::vector<RequestId> preempt;
  std::vector<Choice> choices;
  /// Without choices: work waits that may run from then on. Until something else happens the
  /// planner is not asked before.
  std::optional<TimePoint> again_at;
};

class IterationPlanner {
 public:
  virtual ~IterationPlanner() = default;
  [[nodiscard]] virtual std::string_view name() const = 0;
  /// Empty choices: nothing to run.
  virtual Selection select(const PlanningView& view) = 0;
};
using PlannerPtr = std::unique_ptr<IterationPlanner>;

/// Online requests alone; offline ones wait for ever. The yardstick of interference.
PlannerPtr make_online_only();
/// Offline requests alone; online ones wait for ever. Its throughput is the ceiling of harvesting.
PlannerPtr make_offline_only();
/// Sarathi++ of HyGen §5.1: running online decodes, online prefill chunks in arrival order, then
/// offline in what is left of the token budget; offline victims are freed when online lacks blocks.
/// The rules of who may start and who gives way stand in selection_builder.hpp.
PlannerPtr make_online_first();
/// HyGen* of HyGen §5.1: online_first with a cap on offline tokens per second.
PlannerPtr make_fixed_rate(double offline_tokens_per_second);
/// HyGen, Alg. 1 and 2: online_first, but offline joins only while the predicted time of the
/// iteration stays within the budget that the objectives leave (BudgetSnapshot).
PlannerPtr make_hygen();

struct PlannerOptions {
  double offline_tokens_per_second = 1000;  ///< of fixed_rate; above 0
};
/// By the name that config uses; an unknown name lists the known.
Result<PlannerPtr> make_planner(std::string_view name, const PlannerOptions& options = {});

}  // namespace tandem::policy
