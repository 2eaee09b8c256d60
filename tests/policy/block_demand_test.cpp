// Eviction and order know of each other: what waiting items will share is evicted last, pins
// nothing, and is computed once.
#include "policy/block_demand.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <deque>
#include <map>
#include <numeric>
#include <random>

#include "policy/kv_ledger.hpp"
#include "policy/scheduler_core.hpp"
#include "tests/support/death.hpp"

namespace tandem::policy {
namespace {

std::vector<TokenId> tokens_from(TokenId first, std::size_t count) {
  std::vector<TokenId> tokens(count);
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

KvLedger make_ledger(std::int64_t blocks) {
  return KvLedger({.num_blocks = Blocks(blocks), .prefix_cache = true, .hash_key = 7});
}

struct Prompt {
  std::vector<TokenId> tokens;
  std::vector<BlockHash> hashes;

  Prompt(const KvLedger& ledger, std::vector<TokenId> of) : tokens(std::move(of)) {
    ledger.extend_hashes(0, tokens, hashes);
  }
  [[nodiscard]] Blocks cached(const KvLedger& ledger) const {
    return ledger.cached_prefix(hashes, tokens).cached;
  }
};

/// Computes, publishes and releases all full blocks of a prompt.
void pass_through(KvLedger& ledger, const Prompt& prompt) {
  std::vector<BlockId> blocks;
  ledger.take(Blocks(static_cast<std::int64_t>(prompt.hashes.size())), blocks);
  for (std::size_t i = 0; i < blocks.size(); ++i)
    ledger.publish(blocks[i], i == 0 ? BlockHash{} : prompt.hashes[i - 1], prompt.hashes[i],
                   std::span(prompt.tokens).subspan(i * 16, 16));
  ledger.release(blocks);
}

std::vector<BlockId> take(KvLedger& ledger, std::int64_t count) {
  std::vector<BlockId> blocks;
  ledger.take(Blocks(count), blocks);
  ledger.check();
  return blocks;
}

}  // namespace

TEST_CASE("idle blocks that somebody expects are evicted last, and still evicted") {
  auto ledger = make_ledger(4);
  const Prompt older(ledger, tokens_from(0, 32)), newer(ledger, tokens_from(1000, 32));
  pass_through(ledger, older);
  pass_through(ledger, newer);
  SECTION("without an expectation the longest idle goes first") {
    take(ledger, 2);
    CHECK(older.cached(ledger) == Blocks(0));
    CHECK(newer.cached(ledger) == Blocks(2));
  }
  SECTION("expected ones stay as long as there are others") {
    ledger.expect(older.hashes);
    ledger.check();
    CHECK(ledger.available() == Blocks(4));
    take(ledger, 2);
    CHECK(older.cached(ledger) == Blocks(2));
    CHECK(newer.cached(ledger) == Blocks(0));
    take(ledger, 1);
    CHECK(older.cached(ledger) == Blocks(1));  // the chain's end goes first
    take(ledger, 1);
    CHECK(older.cached(ledger) == Blocks(0));
    CHECK(ledger.available() == Blocks(0));
  }
  SECTION("once forgotten they are like any other") {
    ledger.expect(older.hashes);
    ledger.expect(older.hashes);
    ledger.forget(older.hashes);
    ledger.expect(newer.hashes);
    ledger.forget(older.hashes);
    ledger.check();
    take(ledger, 2);
    CHECK(older.cached(ledger) == Blocks(0));
    CHECK(newer.cached(ledger) == Blocks(2));
  }
}

TEST_CASE("a block may be expected before it is computed") {
  auto ledger = make_ledger(4);
  const Prompt first(ledger, tokens_from(0, 32)), second(ledger, tokens_from(1000, 32));
  ledger.expect(first.hashes);
  pass_through(ledger, first);
  pass_through(ledger, second);
  take(ledger, 2);
  CHECK(first.cached(ledger) == Blocks(2));
  CHECK(second.cached(ledger) == Blocks(0));
}

TEST_CASE("what is announced is known until it is withdrawn, and counts") {
  auto ledger = make_ledger(4);
  const Prompt prompt(ledger, tokens_from(0, 32));
  ledger.announce(prompt.hashes);
  ledger.announce(std::span(prompt.hashes).first(1));
  CHECK(ledger.demand().announced == 3);
  ledger.withdraw(prompt.hashes);
  CHECK(ledger.is_announced(prompt.hashes[0]));
  CHECK(!ledger.is_announced(prompt.hashes[1]));
  ledger.withdraw(std::span(prompt.hashes).first(1));
  CHECK(!ledger.is_announced(prompt.hashes[0]));
  CHECK(ledger.demand().announced == 0);
  CHECK(test::last_words([&] {
          ledger.withdraw(prompt.hashes);
        }).find("only what was counted is taken back") != std::string::npos);
}

TEST_CASE(
    "over random histories demand moves no block, pins none, and evicts the unexpected first") {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    std::mt19937_64 random(seed);
    const auto below = [&random](std::size_t bound) { return random() % bound; };
    auto ledger = make_ledger(static_cast<std::int64_t>(4 + below(20)));
    std::vector<Prompt> prompts;
    for (TokenId i = 0; i < 6; ++i) {  // pairs share their first block
      auto tokens = tokens_from(1000 * (i / 2), 16);
      const auto rest = tokens_from(10'000 * (i + 1), 16 * (1 + below(3)));
      tokens.insert(tokens.end(), rest.begin(), rest.end());
      prompts.emplace_back(ledger, tokens);
    }
    std::vector<std::size_t> expectations;
    std::vector<std::vector<BlockId>> held;
    for (int step = 0; step < 300; ++step) {
      const std::size_t which = below(prompts.size());
      switch (below(5)) {
        case 0:
          ledger.expect(prompts[which].hashes);
          expectations.push_back(which);
          break;
        case 1:
          if (expectations.empty()) break;
          std::swap(expectations[below(expectations.size())], expectations.back());
          ledger.forget(prompts[expectations.back()].hashes);
          expectations.pop_back();
          break;
        case 2:
          if (ledger.available() >= Blocks(4) && prompts[which].cached(ledger) == Blocks(0))
            pass_through(ledger, prompts[which]);
          break;
        case 3: {
          if (ledger.available() == Blocks(0)) break;
          const auto& safe = expectations.empty() ? prompts[0] : prompts[expectations[0]];
          const Blocks before = safe.cached(ledger), idle = ledger.available();
          held.push_back(take(ledger, 1));
          INFO("seed " << seed << " step " << step);
          CHECK(ledger.available() == idle - Blocks(1));
          // Only when nothing unexpected is idle does an expected block go.
          if (!expectations.empty() && safe.cached(ledger) < before) {
            Blocks expected{0};
            for (const auto& prompt : prompts)
              for (const auto& one : expectations)
                if (&prompts[one] == &prompt) {
                  expected += prompt.cached(ledger);
                  break;
                }
            CHECK(ledger.available() <= expected);
          }
          break;
        }
        default:
          if (held.empty()) break;
          ledger.release(held.back());
          held.pop_back();
      }
      ledger.check();
    }
    for (const auto which : expectations) ledger.forget(prompts[which].hashes);
    CHECK(ledger.demand().expected == 0);
    for (const auto& blocks : held) ledger.release(blocks);
    CHECK(ledger.available() == ledger.total());
    take(ledger, ledger.total().value());  // every block is to be had
  }
}

TEST_CASE("demand counts like a map") {
  std::mt19937_64 random(3);
  BlockDemand demand;
  std::map<std::uint64_t, std::pair<int, int>> model;
  for (int step = 0; step < 100'000; ++step) {
    const std::uint64_t key = random() % 3000;
    const BlockHash hash{key * 0x9e3779b97f4a7c15ULL >> (key % 3), key};
    auto& counts = model[key];
    const bool was_expected = counts.first > 0;
    switch (random() % 4) {
      case 0: CHECK(demand.expect(hash) == (counts.first++ == 0)); break;
      case 1:
        if (was_expected) CHECK(demand.forget(hash) == (--counts.first == 0));
        break;
      case 2:
        demand.announce(hash);
        ++counts.second;
        break;
      default:
        if (counts.second > 0) {
          demand.withdraw(hash);
          --counts.second;
        }
    }
    REQUIRE(demand.is_expected(hash) == (counts.first > 0));
    REQUIRE(demand.is_announced(hash) == (counts.second > 0));
  }
}

namespace {

/// A scheduler core whose device does everything at once, counting the prompt tokens it computes.
class Engine {
 public:
  explicit Engine(std::int64_t kv_blocks, std::uint32_t slots = 32)
      : core_(options(kv_blocks, slots), make_online_first()) {
    apply(Supplied{});
  }

  void add(std::uint64_t id, std::vector<TokenId> prompt, RequestClass request_class) {
    apply(Arrived{make(id, std::move(prompt), request_class)});
  }
  /// Items that enter together, all of them before the first is planned.
  void supply(std::uint64_t first, std::uint64_t last) {
    Supplied supplied;
    for (std::uint64_t id = first; id <= last; ++id)
      supplied.items.push_back(
          make(id, sharing_prompt(160, static_cast<TokenId>(id)), RequestClass::offline));
    apply(supplied);
  }
  void cancel(std::uint64_t id) { apply(Cancelled{RequestId{id}}); }
  void run() {
    while (!plans_.empty()) step();
  }

  /// `shared` tokens that all have in common, then 16 of its own.
  static std::vector<TokenId> sharing_prompt(std::size_t shared, TokenId own) {
    auto prompt = tokens_from(0, shared);
    const auto rest = tokens_from(100'000 + 1000 * own, 16);
    prompt.insert(prompt.end(), rest.begin(), rest.end());
    return prompt;
  }

  std::uint64_t prefill = 0;
  int finished = 0;

 private:
  static SchedulerOptions options(std::int64_t kv_blocks, std::uint32_t slots) {
    SchedulerOptions options;
    options.max_iteration_tokens = Tokens(1024);
    options.max_sequences = slots;
    options.kv_blocks = Blocks(kv_blocks);
    options.hash_key = 5;
    return options;
  }
  static RequestPtr make(std::uint64_t id, std::vector<TokenId> prompt,
                         RequestClass request_class) {
    auto request = std::make_shared<Request>();
    request->id = RequestId{id};
    request->request_class = request_class;
    request->prompt = std::move(prompt);
    request->stop.max_tokens = Tokens(4);
    return request;
  }
  void step() {
    const PlanPtr plan = plans_.front();
    plans_.pop_front();
    auto report = std::make_shared<IterationReport>();
    report->id = plan->id;
    for (std::uint32_t i = 0; i < plan->slices.size(); ++i) {
      if (!plan->slices[i].decode) prefill += plan->slices[i].num_tokens;
      if (plan->slices[i].samples) report->samples.push_back({i, 9, 0, {}});
    }
    apply(Reported{report});
  }
  void apply(const Event& event) {
    for (const auto& action : core_.on(event, TimePoint{})) {
      if (const auto* launch = std::get_if<Launch>(&action)) plans_.push_back(launch->plan);
      if (const auto* emit = std::get_if<Emit>(&action))
        for (const auto& token : emit->events) finished += token.finish ? 1 : 0;
    }
    core_.check();
  }
  SchedulerCore core_;
  std::deque<PlanPtr> plans_;
};

}  // namespace

TEST_CASE("a prefix that offline items share is computed once, however many start together") {
  Engine engine(400);
  engine.supply(1, 10);
  engine.run();
  CHECK(engine.finished == 10);
  CHECK(engine.prefill == 176 + 9 * 16);
}

TEST_CASE("offline items wait for a long prefix in the making, online requests do not") {
  const auto prefill_of_second = [](RequestClass request_class) {
    Engine engine(600);
    engine.add(1, Engine::sharing_prompt(3008, 1), RequestClass::offline);
    engine.add(2, Engine::sharing_prompt(3008, 2), request_class);
    engine.run();
    CHECK(engine.finished == 2);
    return engine.prefill - 3024;
  };
  CHECK(prefill_of_second(RequestClass::offline) == 16);
  CHECK(prefill_of_second(RequestClass::online) > 1000);
}

TEST_CASE("items that wait for a prefix go on when the one that computes it is cancelled") {
  Engine engine(400);
  engine.supply(1, 4);
  engine.cancel(1);
  engine.run();
  CHECK(engine.finished == 4);
  CHECK(engine.prefill >= 176 + 2 * 16);
  CHECK(engine.prefill <= 176 + 176 + 2 * 16);
}

TEST_CASE("what a waiting item will share outlives what was used later") {
  // Two prompts have passed through. One slot; an online request in it, another to follow, which
  // needs more blocks than are free: it evicts what is idle.
  const auto prefill_of_third = [](bool is_waiting) {
    Engine engine(40, 1);
    engine.add(1, Engine::sharing_prompt(160, 1), RequestClass::offline);
    engine.run();
    engine.add(2, tokens_from(50'000, 176), RequestClass::offline);
    engine.run();
    engine.add(4, tokens_from(60'000, 16), RequestClass::online);
    if (is_waiting) engine.add(3, Engine::sharing_prompt(160, 3), RequestClass::offline);
    engine.add(5, tokens_from(70'000, 384), RequestClass::online);
    engine.run();
    if (!is_waiting) engine.add(3, Engine::sharing_prompt(160, 3), RequestClass::offline);
    engine.run();
    CHECK(engine.finished == 5);
    return engine.prefill - 176 - 176 - 16 - 384;
  };
  CHECK(prefill_of_third(true) == 16);
  CHECK(prefill_of_third(false) > 16);
}

}  // namespace tandem::policy
