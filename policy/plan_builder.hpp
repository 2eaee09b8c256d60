// Turns the planner's choice into a plan: shows it the books as counts, holds its selection against
// the rules, moves blocks and slots, and writes the slices.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "core/plan.hpp"
#include "policy/iteration_planner.hpp"
#include "policy/scheduler_books.hpp"

namespace tandem::policy {

/// Waiting sequences of each class that a planner sees: more would rarely fit one iteration, and
/// each costs a look into the prefix cache.
inline constexpr std::size_t waiting_window = 16;

class PlanBuilder {
 public:
  explicit PlanBuilder(PlannerPtr planner);

  /// The next plan, already booked as in flight; nullptr if the planner chose nothing to run.
  PlanPtr build(SchedulerBooks& books, TimePoint now, const LatencySnapshot* model,
                const BudgetSnapshot* budget);
  /// When the planner that chose nothing wants to be asked again.
  [[nodiscard]] std::optional<TimePoint> again_at() const { return again_at_; }

 private:
  enum class Mark : std::uint8_t { none, preempted, chosen };
  /// A choice, resolved.
  struct Chosen {
    Sequence* sequence = nullptr;
    Tokens tokens{0};
    std::size_t view = 0;
    std::vector<BlockId> shared;  ///< of a waiting one
    bool left_out = false;
  };

  bool gather(SchedulerBooks& books);
  void add_running_view(const SchedulerBooks& books, Sequence& sequence);
  void add_waiting_view(const SchedulerBooks& books, Sequence& sequence);
  PlanningView planning_view(const SchedulerBooks& books) const;
  std::size_t resolve(RequestId id);
  void check_and_resolve(const PlanningView& view, const Selection& selection);
  void carry_out(SchedulerBooks& books, const Selection& selection);
  void share_prefixes(SchedulerBooks& books);
  PlanPtr write_plan(SchedulerBooks& books);

  PlannerPtr planner_;
  // Buffers of one build: online running, online waiting, offline running, offline waiting.
  std::vector<SequenceView> views_;
  std::vector<Sequence*> sequences_;  ///< parallel to views_
  std::vector<BlockHash> missing_;    ///< what the waiting ones of the view would compute first
  std::vector<Mark> marks_;           ///< parallel to views_
  std::size_t online_running_ = 0, online_waiting_ = 0, offline_running_ = 0, offline_waiting_ = 0;
  std::size_t cursor_ = 0;  ///< where resolve() looks first: choices mostly come in view order
  std::vector<Chosen> chosen_;
  std::optional<TimePoint> again_at_;
};

}  // namespace tandem::policy
