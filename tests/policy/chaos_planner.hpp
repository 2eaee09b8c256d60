// A planner that keeps the rules of Selection and nothing else: it starts, chops and preempts at
// random. What the core promises must hold for any planner, not only for ours.
#pragma once

#include <algorithm>
#include <memory>
#include <random>
#include <vector>

#include "policy/iteration_planner.hpp"

namespace tandem::test {

class ChaosPlanner final : public policy::IterationPlanner {
 public:
  /// While `*calm` it selects as online_first does.
  ChaosPlanner(std::uint64_t seed, std::shared_ptr<const bool> calm)
      : random_(seed), calm_(std::move(calm)), sane_(policy::make_online_first()) {}

  [[nodiscard]] std::string_view name() const override { return "chaos"; }

  policy::Selection select(const policy::PlanningView& view) override {
    if (*calm_ || below(3) == 0) return sane_->select(view);
    policy::Selection selection;
    Blocks free = view.free_blocks;
    std::uint64_t slots = view.free_slots;
    std::vector<const policy::SequenceView*> candidates;
    for (const auto list : {view.online_running, view.offline_running})
      for (const auto& sequence : list) {
        if (sequence.preemptible && below(12) == 0) {
          selection.preempt.push_back(sequence.id);
          free += sequence.releasable;
          ++slots;
        } else {
          candidates.push_back(&sequence);
        }
      }
    for (const auto list : {view.online_waiting, view.offline_waiting})
      for (const auto& sequence : list) candidates.push_back(&sequence);
    std::shuffle(candidates.begin(), candidates.end(), random_);
    Tokens budget = view.token_budget;
    for (const auto* sequence : candidates) {
      if (below(5) == 0 || (!sequence->running && slots == 0)) continue;
      Tokens tokens = sequence->tokens_that_fit(std::min(sequence->pending, budget), free);
      if (tokens.is_zero()) continue;
      if (below(2) == 0) tokens = Tokens(1 + below(tokens.value()));
      selection.choices.push_back({sequence->id, tokens});
      free -= sequence->blocks_needed(tokens);
      budget -= tokens;
      if (!sequence->running) --slots;
    }
    return selection;
  }

 private:
  std::int64_t below(std::int64_t bound) {
    return static_cast<std::int64_t>(random_() % static_cast<std::uint64_t>(bound));
  }

  std::mt19937_64 random_;
  std::shared_ptr<const bool> calm_;
  policy::PlannerPtr sane_;
};

}  // namespace tandem::test
