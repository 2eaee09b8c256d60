// The planners as functions of a view: tables for single decisions, then properties over random
// views.
#include <algorithm>
#include <catch2/catch.hpp>
#include <map>
#include <random>
#include <set>

#include "tests/policy/planner_world.hpp"

namespace tandem::policy {

TEST_CASE("blocks are needed for positions that no held block covers") {
  struct Row {
    std::int64_t context, held, unheld, tokens, needed;
  };
  const Row row = GENERATE(Row{0, 0, 0, 1, 1}, Row{0, 0, 0, 16, 1}, Row{0, 0, 0, 17, 2},
                           Row{15, 1, 0, 1, 0}, Row{16, 1, 0, 1, 1}, Row{16, 4, 0, 17, 0},
                           Row{32, 2, 2, 1, 3}, Row{32, 2, 1, 16, 2}, Row{5, 1, 0, 0, 0});
  SequenceView view;
  view.context = Tokens(row.context);
  view.held = Blocks(row.held);
  view.unheld = Blocks(row.unheld);
  CHECK(view.blocks_needed(Tokens(row.tokens)) == Blocks(row.needed));
}

TEST_CASE("the tokens that fit are the most that need no more than the free blocks") {
  std::mt19937_64 random(5);
  const auto below = [&](std::uint64_t bound) {
    return static_cast<std::int64_t>(random() % bound);
  };
  for (int i = 0; i < 2000; ++i) {
    SequenceView view;
    view.context = Tokens(below(80));
    view.held = blocks_for(view.context) + Blocks(below(3) == 0 ? below(3) : 0);
    view.unheld = Blocks(below(static_cast<std::uint64_t>(view.held.value()) + 1));
    const Tokens limit(below(100));
    const Blocks free(below(8));
    const Tokens fit = view.tokens_that_fit(limit, free);
    REQUIRE(fit <= limit);
    if (!fit.is_zero()) REQUIRE(view.blocks_needed(fit) <= free);
    if (fit < limit) REQUIRE(view.blocks_needed(fit + Tokens(1)) > free);
  }
}

TEST_CASE("online_first hands out the token budget by class and kind") {
  World world;
  world.online_running = {prefilling(1, 16, 40), decoding(2, 20), decoding(3, 40)};
  world.online_waiting = {waiting(4, 30)};
  world.offline_running = {decoding(5, 10), prefilling(6, 32, 100)};
  world.offline_waiting = {waiting(7, 10)};
  SECTION("online first, decodes before prefill, what is left to offline") {
    world.budget = 100;
    CHECK(choose(world) == "2:1 3:1 1:40 4:30 5:1 6:27");
  }
  SECTION("a prompt is cut where the budget ends") {
    world.budget = 50;
    CHECK(choose(world) == "2:1 3:1 1:40 4:8");
  }
  SECTION("all of it with a large one") {
    world.budget = 1000;
    CHECK(choose(world) == "2:1 3:1 1:40 4:30 5:1 6:100 7:10");
  }
  SECTION("online_only knows no offline") {
    world.budget = 1000;
    CHECK(choose(world, "online_only") == "2:1 3:1 1:40 4:30");
  }
}

TEST_CASE("nothing to do yields nothing") {
  CHECK(choose(World{}).empty());
  World finishing;
  finishing.online_running = {decoding(1, 20)};
  finishing.online_running[0].pending = Tokens(0);
  CHECK(choose(finishing).empty());
}

TEST_CASE("an online decode takes blocks from offline, latest first") {
  World world;
  world.free_blocks = 0;
  world.online_running = {decoding(1, 32)};
  world.offline_running = {decoding(5, 20), decoding(6, 20), decoding(7, 20)};
  CHECK(choose(world) == "1:1 5:1 6:1 preempt 7");
}

TEST_CASE("a victim that a plan in flight uses is left out, and its blocks are waited for") {
  World world;
  world.free_blocks = 0;
  world.online_running = {decoding(1, 32)};
  world.offline_running = {decoding(5, 20), decoding(6, 20, false)};
  CHECK(choose(world) == "5:1");
}

TEST_CASE("offline keeps one block at hand for an online decode that is about to need one") {
  World world;
  world.free_blocks = 1;
  world.online_running = {decoding(1, 31)};  // the token after this one needs a block
  world.offline_running = {decoding(5, 32, false)};
  CHECK(choose(world) == "1:1");  // 5 would take the last block
  world.free_blocks = 2;
  CHECK(choose(world) == "1:1 5:1");
  world.free_blocks = 0;  // 5 holds what 1 will need: it is left out, to be preempted next time
  world.offline_running = {decoding(5, 20, false)};
  CHECK(choose(world) == "1:1");
  world.online_running = {decoding(1, 20)};
  CHECK(choose(world) == "1:1 5:1");
}

TEST_CASE("online prefill takes offline blocks for its whole chunk") {
  World world;
  world.free_blocks = 1;
  world.online_running = {prefilling(1, 16, 44)};
  world.offline_running = {decoding(5, 30), decoding(6, 30)};
  CHECK(choose(world) == "1:44 5:1 preempt 6");
  world.offline_running = {decoding(5, 30, false), decoding(6, 30, false)};
  CHECK(choose(world) == "1:16 5:1");  // what fits now; 6 is left out
}

TEST_CASE("the oldest online sequence takes blocks even from a younger decode") {
  World world;
  world.free_blocks = 0;
  world.online_running = {prefilling(1, 16, 48), decoding(2, 20), decoding(3, 20)};
  CHECK(choose(world) == "2:1 1:32 preempt 3");
}

TEST_CASE("a younger online sequence does not take from an older one") {
  World world;
  world.free_blocks = 0;
  world.online_running = {decoding(1, 20), decoding(2, 32)};
  CHECK(choose(world) == "1:1");
}

TEST_CASE("nobody gives way in vain") {
  World world;
  world.free_blocks = 0;
  world.online_running = {decoding(1, 20)};
  world.online_waiting = {waiting(2, 100)};   // 7 blocks, and one for 1
  world.offline_running = {decoding(5, 60)};  // holds 4
  CHECK(choose(world) == "1:1 5:1");
}

TEST_CASE("admission needs blocks for all tokens, and for what the running will need") {
  World world;
  world.budget = 16;
  world.offline_waiting = {waiting(5, 64)};
  world.free_blocks = 3;
  CHECK(choose(world).empty());
  world.free_blocks = 4;
  CHECK(choose(world) == "5:16");
  world.budget = 17;
  world.offline_running = {decoding(4, 20)};
  world.free_blocks = 4;
  CHECK(choose(world) == "4:1");
  world.free_blocks = 5;
  CHECK(choose(world) == "4:1 5:16");
}

TEST_CASE("waiting requests start in order: none is passed over") {
  World world;
  world.free_blocks = 3;
  world.online_waiting = {waiting(1, 64), waiting(2, 16)};
  world.offline_waiting = {waiting(5, 16)};
  CHECK(choose(world).empty());
  world.free_blocks = 4;
  CHECK(choose(world) == "1:64");
}

TEST_CASE("an online request takes a slot from the latest offline sequence") {
  World world;
  world.free_slots = 0;
  world.online_waiting = {waiting(1, 16), waiting(2, 16)};
  world.offline_running = {decoding(5, 20), decoding(6, 20)};
  CHECK(choose(world) == "1:16 2:16 preempt 6 5");
  world.offline_running = {decoding(5, 20), decoding(6, 20, false)};
  CHECK(choose(world) == "5:1");
  world.offline_running.clear();
  CHECK(choose(world).empty());
}

TEST_CASE("a cached prefix that nobody holds is paid for when it is shared") {
  World world;
  world.online_waiting = {waiting(1, 16)};
  world.online_waiting[0].context = Tokens(32);
  world.online_waiting[0].held = Blocks(2);
  world.online_waiting[0].unheld = Blocks(2);
  world.free_blocks = 2;
  CHECK(choose(world).empty());
  world.free_blocks = 3;
  CHECK(choose(world) == "1:16");
}

TEST_CASE("planners are known by name") {
  CHECK(make_planner("online_only").value()->name() == "online_only");
  CHECK(make_planner("online_first").value()->name() == "online_first");
  const auto unknown = make_planner("fifo");
  REQUIRE(unknown.has_error());
  CHECK(unknown.error().code == Errc::invalid_value);
  CHECK_THAT(unknown.error().message,
             Catch::Contains("'fifo'") && Catch::Contains("online_first, online_only"));
}

TEST_CASE("over random views the rules are kept, and online work comes first") {
  const auto planner = make_planner(GENERATE("online_first", "hygen", "fixed_rate")).value();
  for (std::uint64_t seed = 1; seed <= 20000; ++seed) {
    INFO(planner->name() << " seed " << seed);
    World world = RandomWorld(seed).world;
    limit_at_random(world, seed);
    const Selection selection = planner->select(world.view());
    require_legal(world, selection);
    const auto chosen = [&](const SequenceView& view) {
      return std::any_of(selection.choices.begin(), selection.choices.end(),
                         [&](const Choice& choice) { return choice.id == view.id; });
    };
    const auto preempted = [&](const SequenceView& view) {
      return std::count(selection.preempt.begin(), selection.preempt.end(), view.id) > 0;
    };
    // An online sequence is left out only if it lacks a block, or gave way to one before it that
    // lacked blocks. Decodes cannot lack tokens: the budget has one for each.
    bool one_takes_blocks = false, one_lacks = false;
    for (const auto& view : world.online_running) {
      if (view.pending.is_zero()) continue;
      const bool lacks = !view.blocks_needed(Tokens(1)).is_zero();
      if (view.decode && !chosen(view)) REQUIRE((lacks || one_takes_blocks));
      one_takes_blocks = one_takes_blocks || !view.blocks_needed(view.pending).is_zero();
      one_lacks = one_lacks || (lacks && view.decode && !chosen(view));
    }
    // While an online decode lacks a block, nothing starts and nothing offline takes one.
    if (one_lacks) {
      for (const auto* list : {&world.online_waiting, &world.offline_waiting})
        for (const auto& view : *list) REQUIRE_FALSE(chosen(view));
      for (const Choice& choice : selection.choices)
        for (const auto& view : world.offline_running)
          if (view.id == choice.id) REQUIRE(view.blocks_needed(choice.tokens).is_zero());
    }
    // Online is preempted only if no offline sequence could have been.
    for (const auto& view : world.online_running) {
      if (!preempted(view)) continue;
      for (const auto& offline : world.offline_running)
        REQUIRE((preempted(offline) || !offline.preemptible));
      REQUIRE(&view != &world.online_running.front());
    }
    // Victims are the latest of their class: none that could be preempted stands behind one.
    for (const auto* list : {&world.online_running, &world.offline_running})
      for (std::size_t i = 0; i + 1 < list->size(); ++i)
        if (preempted((*list)[i])) {
          for (std::size_t j = i + 1; j < list->size(); ++j)
            REQUIRE((preempted((*list)[j]) || !chosen((*list)[j])));
        }
  }
}

TEST_CASE("when no plan is in flight the oldest sequence runs, or somebody is preempted for it") {
  const auto planner = make_planner(GENERATE("online_first", "hygen")).value();
  for (std::uint64_t seed = 1; seed <= 5000; ++seed) {
    INFO(planner->name() << " seed " << seed);
    World world = RandomWorld(seed).world;
    limit_at_random(world, seed);
    std::int64_t unique = world.free_blocks;
    for (auto* list : {&world.online_running, &world.offline_running})
      for (auto& view : *list) {
        view.preemptible = true;
        view.releasable = view.held;
        unique += view.held.value();
        if (view.pending.is_zero()) view.pending = Tokens(1), view.decode = true;
      }
    const auto& oldest =
        world.online_running.empty() ? world.offline_running : world.online_running;
    if (oldest.empty() || oldest[0].held + Blocks(1) > Blocks(unique)) continue;
    const Selection selection = planner->select(world.view());
    require_legal(world, selection);
    const bool runs = std::any_of(selection.choices.begin(), selection.choices.end(),
                                  [&](const Choice& choice) { return choice.id == oldest[0].id; });
    if (!world.online_running.empty()) REQUIRE(runs);
    REQUIRE(!selection.choices.empty());
  }
}

}  // namespace tandem::policy
