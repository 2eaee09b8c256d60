// Planners that look at time: hygen, whose offline work keeps to the budget that objectives leave,
// and fixed_rate, whose offline work keeps to tokens per second. And offline_only, the ceiling.
#include <catch2/catch.hpp>

#include "tests/policy/planner_world.hpp"

namespace tandem::policy {

using namespace std::chrono_literals;

namespace {

/// 5 ms and 0.1 ms per row, without a margin.
LatencyModel plain_model(double margin = 0) {
  LatencyCoefficients k;
  k.fixed = 5;
  k.row = 0.1;
  return {LatencyForm::context, k, {1000, 0.01, margin}};
}

World mixed_world() {
  World world;
  world.budget = 512;
  world.model.model = plain_model();
  world.online_running = {decoding(1, 20), decoding(2, 40)};
  world.offline_running = {decoding(5, 10), prefilling(6, 32, 100)};
  world.offline_waiting = {waiting(7, 50)};
  return world;
}

/// The shape of what was chosen of `views`.
void add_chosen(IterationShape& shape, const std::vector<SequenceView>& views,
                const Selection& selection) {
  for (const auto& choice : selection.choices)
    for (const auto& view : views)
      if (view.id == choice.id) shape.add(view.context, choice.tokens, view.decode);
}

bool is_chosen(const Selection& selection, RequestId id) {
  return std::any_of(selection.choices.begin(), selection.choices.end(),
                     [id](const Choice& choice) { return choice.id == id; });
}

std::int64_t offline_tokens(const World& world, const Selection& selection) {
  IterationShape shape;
  add_chosen(shape, world.offline_running, selection);
  add_chosen(shape, world.offline_waiting, selection);
  return shape.rows();
}

}  // namespace

TEST_CASE("without a budget hygen fills the iteration as online_first does") {
  World world = mixed_world();
  CHECK(choose(world, "hygen") == choose(world, "online_first"));
  CHECK(choose(world, "hygen") == "1:1 2:1 5:1 6:100 7:50");
}

TEST_CASE("offline joins online up to the budget, decodes before prompts") {
  World world = mixed_world();
  world.limits.iteration_ms = 9.0;  // 40 rows
  CHECK(choose(world, "hygen") == "1:1 2:1 5:1 6:37");
  world.limits.iteration_ms = 5.35;
  CHECK(choose(world, "hygen") == "1:1 2:1 5:1");
  world.limits.iteration_ms = 5.25;
  CHECK(choose(world, "hygen") == "1:1 2:1");
}

TEST_CASE("a prompt that is cut ends the iteration's rows on the device's quantum") {
  World world = mixed_world();
  world.row_quantum = 16;
  world.limits.iteration_ms = 9.0;  // 40 rows
  CHECK(choose(world, "hygen") == "1:1 2:1 5:1 6:29");
  world.row_quantum = 64;  // more than there is room for
  CHECK(choose(world, "hygen") == "1:1 2:1 5:1 6:37");
  world.limits.iteration_ms = 12.0;  // 70 rows
  CHECK(choose(world, "hygen") == "1:1 2:1 5:1 6:61");
  // What ends a prompt is not cut for it, and what is left then may begin another one.
  world.limits.iteration_ms = 18.5;  // 135 rows
  CHECK(choose(world, "hygen") == "1:1 2:1 5:1 6:100 7:25");
  // Full rows do not stop a prompt that time has not stopped.
  world.row_quantum = 3;
  world.limits.iteration_ms = 5.5;  // 5 rows
  CHECK(choose(world, "hygen") == "1:1 2:1 5:1 6:2");
  // Nor does it matter without a limit of time.
  world.row_quantum = 64;
  world.limits.iteration_ms.reset();
  CHECK(choose(world, "hygen") == "1:1 2:1 5:1 6:100 7:50");
  world.budget = 100;
  CHECK(choose(world, "hygen") == "1:1 2:1 5:1 6:97");
}

TEST_CASE("rows that an online prompt leaves empty are not filled by offline prompts") {
  World world = mixed_world();
  world.row_quantum = 16;
  world.online_running.push_back(prefilling(3, 0, 200));
  world.online_waiting = {waiting(4, 100)};
  world.limits.online_iteration_ms = 9.6;  // 46 rows
  CHECK(choose(world, "hygen") == "1:1 2:1 3:30 5:1");
  world.limits.online_iteration_ms = 0.5;  // the least comes first
  CHECK(choose(world, "hygen") == "1:1 2:1 3:16");
}

TEST_CASE("the model's margin is kept free") {
  World world = mixed_world();
  world.model.model = plain_model(0.25);
  world.limits.iteration_ms = 9.0 * 1.25;
  CHECK(choose(world, "hygen") == "1:1 2:1 5:1 6:37");
}

TEST_CASE("online work is never held to the budget of offline work") {
  World world = mixed_world();
  world.online_running.push_back(prefilling(3, 0, 200));
  world.limits.iteration_ms = 1.0;
  CHECK(choose(world, "hygen") == "1:1 2:1 3:200");
}

TEST_CASE("an absolute objective cuts online prompts, but not to nothing, and no decode") {
  World world = mixed_world();
  world.online_running.push_back(prefilling(3, 0, 200));
  world.online_waiting = {waiting(4, 100)};
  world.limits.online_iteration_ms = 10.0;  // 50 rows
  CHECK(choose(world, "hygen") == "1:1 2:1 3:48");
  world.limits.online_iteration_ms = 0.5;
  CHECK(choose(world, "hygen") == "1:1 2:1 3:16");
}

TEST_CASE("an iteration without online work has a budget of its own, and always runs something") {
  World world = mixed_world();
  world.online_running.clear();
  world.limits.iteration_ms = 5.25;
  CHECK(choose(world, "hygen") == "5:1 6:100 7:50");
  world.limits.offline_iteration_ms = 8.0;
  CHECK(choose(world, "hygen") == "5:1 6:29");
  world.limits.offline_iteration_ms = 0.1;
  CHECK(choose(world, "hygen") == "5:1");
  world.offline_running.clear();
  CHECK(choose(world, "hygen") == "7:16");
}

TEST_CASE("under a budget no second offline iteration stands in a request's way") {
  World world = mixed_world();
  world.online_running.clear();
  world.offline_alone_in_flight = true;
  CHECK(choose(world, "hygen") == "5:1 6:100 7:50");
  world.limits.iteration_ms = 5.25;
  CHECK(choose(world, "hygen").empty());
  world.limits.offline_iteration_ms = 8.0;
  CHECK(choose(world, "hygen").empty());
  CHECK(choose(world, "online_first") == "5:1 6:100 7:50");
  world.online_waiting = {waiting(4, 100)};
  CHECK(choose(world, "hygen") == "4:100");
  world.limits.iteration_ms = 15.4;
  CHECK(choose(world, "hygen") == "4:100 5:1 6:3");
}

TEST_CASE("until the model's error is known, offline gets a small share where a budget holds") {
  World world = mixed_world();
  world.model.model = LatencyModel();
  CHECK(choose(world, "hygen") == "1:1 2:1 5:1 6:100 7:50");
  world.limits.iteration_ms = 1000.0;
  CHECK(choose(world, "hygen") == "1:1 2:1 5:1 6:63");
}

TEST_CASE("over random views hygen keeps to its budget and offline takes all that fits") {
  const auto planner = make_hygen();
  int limited = 0;
  for (std::uint64_t seed = 1; seed <= 20000; ++seed) {
    INFO("seed " << seed);
    World world = RandomWorld(seed).world;
    limit_at_random(world, seed);
    world.limits.online_iteration_ms.reset();
    if (!world.model.model.error_is_known()) continue;
    const Selection selection = planner->select(world.view());
    require_legal(world, selection);
    IterationShape shape;
    add_chosen(shape, world.online_running, selection);
    add_chosen(shape, world.online_waiting, selection);
    const bool alone = shape.empty();
    const auto limit = alone ? world.limits.offline_iteration_ms : world.limits.iteration_ms;
    add_chosen(shape, world.offline_running, selection);
    add_chosen(shape, world.offline_waiting, selection);
    const std::int64_t offline = offline_tokens(world, selection);
    if (!limit || offline == 0) continue;
    ++limited;
    const double most = *limit / (1 + world.model.model.error().margin);
    const bool least = alone && offline <= 16;
    if (!least) REQUIRE(world.model.model.predict_ms(shape) <= most);
    // The last prompt was cut by time alone if tokens and blocks were left and nobody gave way for
    // another: one more, or a quantum more, is too many.
    const auto chosen = [&](const SequenceView& view) {
      return view.pending.is_zero() || is_chosen(selection, view.id);
    };
    if (!std::all_of(world.offline_running.begin(), world.offline_running.end(), chosen)) continue;
    const Choice& last = selection.choices.back();
    for (const auto& view : world.offline_running) {
      if (view.id != last.id || view.decode || last.tokens == view.pending) continue;
      IterationShape with = shape;
      with.remove(view.context, last.tokens, false);
      with.add(view.context, last.tokens + Tokens(world.row_quantum), false);
      const bool tokens_left = shape.rows() < world.budget;
      const bool inside_block =
          view.blocks_needed(last.tokens + Tokens(1)) == view.blocks_needed(last.tokens);
      if (tokens_left && inside_block) REQUIRE(world.model.model.predict_ms(with) > most);
    }
  }
  CHECK(limited > 1000);
}

TEST_CASE("fixed_rate holds offline work to its rate over time, beside and without online work") {
  const bool online = GENERATE(true, false);
  World world = mixed_world();
  if (!online) world.online_running.clear();
  world.offline_running.clear();
  world.offline_waiting = {waiting(7, 100000)};
  world.free_blocks = 100000;
  PlannerOptions options;
  options.offline_tokens_per_second = 1000;
  const auto planner = make_planner("fixed_rate", options).value();
  world.now = TimePoint(5s);
  std::int64_t tokens = offline_tokens(world, planner->select(world.view()));
  CHECK(tokens == (online ? 510 : 512));  // a full bucket: no more than one iteration can carry
  tokens = 0;
  for (int i = 0; i < 1000; ++i) {
    world.now += 20ms;
    tokens += offline_tokens(world, planner->select(world.view()));
  }
  CHECK(std::abs(tokens - 20 * 1000) <= 2);
}

TEST_CASE("fixed_rate asks to be asked again when the engine is idle and the bucket empty") {
  World world;
  world.offline_waiting = {waiting(7, 100)};
  PlannerOptions options;
  options.offline_tokens_per_second = 10;
  const auto planner = make_planner("fixed_rate", options).value();
  world.now = TimePoint(5s);
  CHECK(describe(planner->select(world.view())) == "7:10");
  world.now += 100ms;
  const Selection none = planner->select(world.view());
  CHECK(none.choices.empty());
  REQUIRE(none.again_at.has_value());
  CHECK(*none.again_at > world.now);
  world.now = *none.again_at;
  CHECK(describe(planner->select(world.view())) == "7:10");
  world.offline_waiting.clear();
  CHECK_FALSE(planner->select(world.view()).again_at.has_value());
}

TEST_CASE("offline_only knows no online work") {
  World world = mixed_world();
  world.online_waiting = {waiting(4, 100)};
  CHECK(choose(world, "offline_only") == "5:1 6:100 7:50");
}

TEST_CASE("every policy that is offered can be made") {
  for (const char* name : {"fixed_rate", "hygen", "offline_only", "online_first", "online_only"})
    CHECK(make_planner(name).value()->name() == name);
}

}  // namespace tandem::policy
