// A planner's view made by hand or at random, and the rules that every selection keeps.
#pragma once

#include <algorithm>
#include <catch2/catch.hpp>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "core/plan.hpp"
#include "policy/iteration_planner.hpp"

namespace tandem::policy {

inline SequenceView decoding(std::uint64_t id, std::int64_t context, bool preemptible = true) {
  SequenceView view;
  view.id = RequestId{id};
  view.context = Tokens(context);
  view.pending = Tokens(1);
  view.decode = view.running = true;
  view.held = blocks_for(Tokens(context));
  view.preemptible = preemptible;
  if (preemptible) view.releasable = view.held;
  return view;
}

inline SequenceView prefilling(std::uint64_t id, std::int64_t context, std::int64_t pending,
                               bool preemptible = true) {
  SequenceView view = decoding(id, context, preemptible);
  view.pending = Tokens(pending);
  view.decode = false;
  return view;
}

inline SequenceView waiting(std::uint64_t id, std::int64_t pending) {
  SequenceView view;
  view.id = RequestId{id};
  view.pending = Tokens(pending);
  return view;
}

struct World {
  std::vector<SequenceView> online_running, online_waiting, offline_running, offline_waiting;
  std::int64_t free_blocks = 100, budget = 64;
  std::int64_t row_quantum = 1;
  std::uint32_t free_slots = 8;
  LatencySnapshot model;  ///< shown if its error is known
  BudgetSnapshot limits;
  bool offline_alone_in_flight = false;
  TimePoint now{};

  PlanningView view() const {
    PlanningView view;
    view.online_running = online_running;
    view.online_waiting = online_waiting;
    view.offline_running = offline_running;
    view.offline_waiting = offline_waiting;
    view.free_blocks = Blocks(free_blocks);
    view.free_slots = free_slots;
    view.row_quantum = row_quantum;
    view.token_budget = Tokens(budget);
    view.offline_alone_in_flight = offline_alone_in_flight;
    view.now = now;
    if (model.model.error_is_known()) view.model = &model;
    view.budget = &limits;
    return view;
  }
};

/// "1:1 2:63 preempt 7".
inline std::string describe(const Selection& selection) {
  std::string text;
  for (const auto& choice : selection.choices)
    text += std::to_string(raw(choice.id)) + ":" + std::to_string(choice.tokens.value()) + " ";
  if (!selection.preempt.empty()) text += "preempt ";
  for (const auto id : selection.preempt) text += std::to_string(raw(id)) + " ";
  if (!text.empty()) text.pop_back();
  return text;
}
inline std::string choose(const World& world, const char* planner = "online_first") {
  return describe(make_planner(planner).value()->select(world.view()));
}

class RandomWorld {
 public:
  explicit RandomWorld(std::uint64_t seed) : random_(seed) {
    const bool crowded = below(2) == 0;
    for (auto* list : {&world.online_running, &world.offline_running}) {
      for (auto count = below(7); count > 0; --count) list->push_back(running(below(3) == 0));
    }
    for (auto* list : {&world.online_waiting, &world.offline_waiting})
      for (auto count = below(4); count > 0; --count) list->push_back(start());
    world.free_blocks = crowded ? below(4) : below(40);
    world.free_slots = static_cast<std::uint32_t>(below(4));
    const auto decodes = static_cast<std::int64_t>(world.online_running.size());
    world.budget = std::max<std::int64_t>(decodes, 1) + below(60);
    world.row_quantum = below(2) == 0 ? 1 : 1 + below(32);
  }
  World world;

 private:
  std::int64_t below(std::int64_t bound) {
    return static_cast<std::int64_t>(random_() % static_cast<std::uint64_t>(bound));
  }
  SequenceView running(bool prefill) {
    const std::int64_t context = below(70);
    SequenceView view = prefill ? prefilling(next_++, context, 1 + below(60), below(2) == 0)
                                : decoding(next_++, context + 1, below(2) == 0);
    if (below(4) == 0) view.held += Blocks(1);
    if (view.preemptible)
      view.releasable = Blocks(below(view.held.value() + 1));
    else if (below(6) == 0)
      view.pending = Tokens(0), view.decode = false;
    return view;
  }
  SequenceView start() {
    SequenceView view = waiting(next_++, 1 + below(70));
    view.held = Blocks(below(4));
    view.unheld = Blocks(below(view.held.value() + 1));
    view.context = Tokens(view.held.value() * kv_block_tokens);
    return view;
  }
  std::mt19937_64 random_;
  std::uint64_t next_ = 1;
};

/// A model of either form with random costs, and budgets that are loose, tight or absent.
inline void limit_at_random(World& world, std::uint64_t seed) {
  std::mt19937_64 random(seed * 31 + 7);
  const auto unit = [&] { return static_cast<double>(random() >> 11) * 0x1p-53; };
  const auto maybe = [&](double size) { return random() % 4 == 0 ? 0 : size * unit(); };
  LatencyCoefficients k;
  k.fixed = maybe(5), k.row = maybe(0.1), k.row_above_knee = maybe(0.2), k.knee = 20;
  k.attention = maybe(1e-3), k.cached = maybe(1e-2), k.prefill_token = maybe(0.1);
  k.prefill_token_squared = maybe(1e-3), k.decode_context = maybe(1e-2), k.decode = maybe(0.5);
  k.prefill = maybe(1);
  const auto form = random() % 2 == 0 ? LatencyForm::hygen : LatencyForm::context;
  if (random() % 4 != 0) world.model.model = LatencyModel(form, k, {100, 0.02, maybe(0.1)});
  const auto limit = [&] {
    return random() % 3 == 0 ? std::optional<double>() : std::optional<double>(12 * unit());
  };
  world.limits.iteration_ms = limit();
  world.limits.offline_iteration_ms = limit();
  if (random() % 2 == 0) world.limits.online_iteration_ms = limit();
}

/// The rules of Selection, as iteration_planner.hpp states them.
inline void require_legal(const World& world, const Selection& selection) {
  std::map<RequestId, const SequenceView*> all;
  for (const auto* list : {&world.online_running, &world.online_waiting, &world.offline_running,
                           &world.offline_waiting})
    for (const auto& view : *list) all[view.id] = &view;
  std::set<RequestId> seen;
  std::int64_t free = world.free_blocks, budget = world.budget, slots = world.free_slots;
  for (const RequestId id : selection.preempt) {
    REQUIRE(all.contains(id));
    REQUIRE(all[id]->preemptible);
    REQUIRE(seen.insert(id).second);
    free += all[id]->releasable.value();
    ++slots;
  }
  for (const Choice& choice : selection.choices) {
    REQUIRE(all.contains(choice.id));
    const SequenceView& view = *all[choice.id];
    REQUIRE(seen.insert(choice.id).second);
    REQUIRE(choice.tokens > Tokens(0));
    REQUIRE(choice.tokens <= view.pending);
    free -= view.blocks_needed(choice.tokens).value();
    budget -= choice.tokens.value();
    if (!view.running) --slots;
  }
  REQUIRE(free >= 0);
  REQUIRE(budget >= 0);
  REQUIRE(slots >= 0);
}

}  // namespace tandem::policy
