// What all planners share: the arithmetic of a view, and the list of planners by name.
#include "policy/iteration_planner.hpp"

#include <algorithm>
#include <array>

#include "core/plan.hpp"

namespace tandem::policy {

Blocks SequenceView::blocks_needed(Tokens tokens) const {
  const Blocks table = blocks_for(context + tokens);
  const Blocks fresh = table > held ? table - held : Blocks(0);
  return fresh + unheld;
}

Tokens SequenceView::tokens_that_fit(Tokens limit, Blocks free) const {
  const Blocks fresh = free - unheld;
  if (fresh < Blocks(0)) return Tokens(0);
  const Tokens room = Tokens((held + fresh).value() * kv_block_tokens) - context;
  return std::clamp(room, Tokens(0), limit);
}

namespace {
struct KnownPlanner {
  std::string_view name;
  PlannerPtr (*make)(const PlannerOptions&);
};
using Options = PlannerOptions;
constexpr std::array<KnownPlanner, 5> known_planners = {{
    {"fixed_rate",
     [](const Options& options) { return make_fixed_rate(options.offline_tokens_per_second); }},
    {"hygen", [](const Options&) { return make_hygen(); }},
    {"offline_only", [](const Options&) { return make_offline_only(); }},
    {"online_first", [](const Options&) { return make_online_first(); }},
    {"online_only", [](const Options&) { return make_online_only(); }},
}};
}  // namespace

Result<PlannerPtr> make_planner(std::string_view name, const PlannerOptions& options) {
  for (const auto& known : known_planners)
    if (known.name == name) return known.make(options);
  std::string names;
  for (const auto& known : known_planners) {
    if (!names.empty()) names += ", ";
    names += known.name;
  }
  return error(Errc::invalid_value,
               "unknown scheduling policy '" + std::string(name) + "'; known are: " + names,
               "scheduling_policy");
}

}  // namespace tandem::policy
