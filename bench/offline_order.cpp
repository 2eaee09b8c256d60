// A million queued items: what an insert and a take cost, the worst of them, and the bytes per
// item. Prompts are of 1,000 tokens in 1,000 families that share 800 tokens each, in random order;
// and, the hardest for memory, prompts that share nothing. Ends with 1 if an insert or a take is
// slower on average than the goal of 5 us.
//   usage: bench_offline_order [ITEMS]
#include "policy/offline_order.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <memory>
#include <random>
#include <vector>

#include "policy/scheduler_core.hpp"

namespace tandem {
namespace {

using policy::OfflineOrder;
using policy::OrderRule;
using policy::PrefixKey;

constexpr double goal_micros = 5;
constexpr std::size_t families = 1000, prompt_tokens = 1000, shared_tokens = 800;

/// The keys of one prompt, as hashing it would give them; random ones are as good.
PrefixKey key_of(std::uint64_t item, std::size_t shared, std::mt19937_64& random) {
  static const std::size_t landmarks = [] {
    const policy::BlockHasher hasher(1);
    return policy::make_prefix_key(hasher, 0, std::vector<TokenId>(prompt_tokens)).size();
  }();
  static const std::size_t shared_landmarks = [] {
    const policy::BlockHasher hasher(1);
    return policy::make_prefix_key(hasher, 0, std::vector<TokenId>(shared_tokens)).size();
  }();
  PrefixKey key(landmarks);
  std::mt19937_64 family(item % families);
  for (std::size_t i = 0; i < key.size(); ++i)
    key[i] = static_cast<std::uint32_t>(i < shared * shared_landmarks ? family() : random());
  return key;
}

struct Times {
  double total = 0, worst = 0;
  std::size_t count = 0;

  void add(double micros) {
    total += micros;
    worst = std::max(worst, micros);
    ++count;
  }
  [[nodiscard]] double mean() const { return total / static_cast<double>(count); }
};

template <class Work>
double timed(Work work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start)
      .count();
}

bool measure(const char* name, std::uint64_t items, OrderRule rule, bool shares) {
  OfflineOrder order({.rule = rule});
  for (policy::GroupId group = 0; group < 20; ++group) order.add_group(group, 1 << 30);
  std::mt19937_64 random(1);
  std::vector<std::uint64_t> shuffled(items);
  for (std::uint64_t i = 0; i < items; ++i) shuffled[i] = i;
  std::shuffle(shuffled.begin(), shuffled.end(), random);
  Times inserts, takes;
  std::uint64_t age = 0;
  for (const std::uint64_t item : shuffled) {
    const PrefixKey key = key_of(item, shares ? 1 : 0, random);
    inserts.add(timed([&] {
      order.insert({.id = item, .group = item % 20, .age = age++, .work = Tokens(1100)}, key);
    }));
  }
  const double bytes = static_cast<double>(order.bytes()) / static_cast<double>(items);
  for (std::uint64_t i = 0; i < items; ++i) {
    if (i % 64 == 0) order.set_clock(0, 1000);
    takes.add(timed([&order] { (void)order.take(); }));
  }
  const bool good =
      order.size() == 0 && inserts.mean() <= goal_micros && takes.mean() <= goal_micros;
  std::printf("%-28s %10.2f %10.0f %10.2f %10.0f %12.0f%s\n", name, inserts.mean(), inserts.worst,
              takes.mean(), takes.worst, bytes, good ? "" : "  MISSED");
  return good;
}

/// A scheduler core that is fed from a queue of `items`: 256 sequences run, prompts have 64 tokens
/// and share 48 of them in a thousand families, answers have 32 tokens.
class Engine {
 public:
  explicit Engine(std::uint64_t items) : order_({}), core_(options(), policy::make_online_first()) {
    const policy::BlockHasher hasher(1);
    order_.add_group(0, 1LL << 40);
    for (std::uint64_t id = 0; id < items; ++id)
      order_.insert({.id = id, .group = 0, .age = id, .work = Tokens(96)},
                    policy::make_prefix_key(hasher, 0, prompt(id)));
    feed(policy::Available{});
  }

  std::vector<double> run(int iterations) {
    std::vector<double> micros;
    for (int i = 0; i < iterations; ++i) {
      while (refill_ > 0) supply();
      const PlanPtr plan = plans_.front();
      plans_.pop_front();
      auto report = std::make_shared<IterationReport>();
      report->id = plan->id;
      for (std::uint32_t slice = 0; slice < plan->slices.size(); ++slice)
        if (plan->slices[slice].samples) report->samples.push_back({slice, 7, 0, {}});
      micros.push_back(feed(policy::Reported{report}));
    }
    std::sort(micros.begin(), micros.end());
    return micros;
  }

 private:
  static policy::SchedulerOptions options() {
    policy::SchedulerOptions options;
    options.max_iteration_tokens = Tokens(1024);
    options.max_sequences = 256;
    options.kv_blocks = Blocks(8192);
    options.hash_key = 1;
    return options;
  }
  static std::vector<TokenId> prompt(std::uint64_t id) {
    std::vector<TokenId> tokens(64, static_cast<TokenId>(id % families));
    std::fill(tokens.begin() + 48, tokens.end(), static_cast<TokenId>(id));
    return tokens;
  }
  void supply() {
    policy::Supplied supplied;
    while (supplied.items.size() < refill_) {
      const auto item = order_.take();
      if (!item) break;
      auto request = std::make_shared<Request>();
      request->id = RequestId{item->id};
      request->request_class = RequestClass::offline;
      request->prompt = prompt(item->id);
      request->stop.max_tokens = Tokens(32);
      supplied.items.push_back(std::move(request));
    }
    refill_ = 0;
    feed(supplied);
  }
  double feed(const policy::Event& event) {
    const std::vector<policy::Action>* actions = nullptr;
    const double micros = timed([&] { actions = &core_.on(event, TimePoint{}); });
    for (const auto& action : *actions) {
      if (const auto* launch = std::get_if<policy::Launch>(&action)) plans_.push_back(launch->plan);
      if (const auto* refill = std::get_if<policy::Refill>(&action)) refill_ = refill->count;
    }
    return micros;
  }

  OfflineOrder order_;
  policy::SchedulerCore core_;
  std::deque<PlanPtr> plans_;
  std::uint32_t refill_ = 0;
};

void measure_iterations(std::uint64_t items) {
  Engine engine(items);
  engine.run(15);
  const auto micros = engine.run(40);  // a thousand items last that long
  std::printf("iteration with %8llu queued: p50 %.1f us, p90 %.1f us\n",
              static_cast<unsigned long long>(items), micros[micros.size() / 2],
              micros[micros.size() * 9 / 10]);
}

}  // namespace
}  // namespace tandem

int main(int argc, char** argv) {
  using tandem::policy::OrderRule;
  const std::uint64_t items = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1'000'000;
  std::printf("offline order, %llu queued items of 1,000 tokens [us]\n",
              static_cast<unsigned long long>(items));
  std::printf("%-28s %10s %10s %10s %10s %12s\n", "", "insert", "worst", "take", "worst",
              "bytes/item");
  bool good = tandem::measure("prefix_fair, 800 shared", items, OrderRule::prefix_fair, true);
  good = tandem::measure("prefix, 800 shared", items, OrderRule::prefix, true) && good;
  good = tandem::measure("fcfs, 800 shared", items, OrderRule::fcfs, true) && good;
  good =
      tandem::measure("prefix_fair, nothing shared", items, OrderRule::prefix_fair, false) && good;
  for (int round = 0; round < 3; ++round) {
    tandem::measure_iterations(1000);
    tandem::measure_iterations(items);
  }
  return good ? 0 : 1;
}
