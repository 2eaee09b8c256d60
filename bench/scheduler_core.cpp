// Host cost from report to next launch: SchedulerCore alone, with reports made up on the spot. N
// online sequences decode behind a context of about 1,000 tokens with two plans in flight; each
// step hands the core the oldest plan's report and takes the time until the launch is decided, and
// until all actions are. Goal: 50 us at 256 sequences (docs/ARCHITECTURE.md).
#include "policy/scheduler_core.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <deque>
#include <random>
#include <vector>

#include "core/check.hpp"
#include "policy/offline_order.hpp"

namespace tandem {
namespace {

using policy::SchedulerCore;

struct Setup {
  const char* name;
  std::uint32_t sequences;
  std::uint32_t offline;  ///< of them
  std::uint32_t waiting;  ///< online requests that queue behind them, with nowhere to go
  const char* planner = "online_first";
  bool limited = false;      ///< a budget holds, as objectives set it: every sizing asks the model
  std::uint32_t queued = 0;  ///< items in the offline order, which supplies the core's window of 64
                             ///< and takes one in and gives one out between any two steps
};

constexpr std::int64_t prompt_tokens = 1000;
constexpr int warm_up = 100, steps = 1000;
constexpr std::uint64_t first_item = 1'000'000;

RequestPtr make_request(std::uint64_t id, RequestClass request_class, std::mt19937_64& random) {
  auto request = std::make_shared<Request>();
  request->id = RequestId{id};
  request->request_class = request_class;
  request->prompt.resize(prompt_tokens);
  for (auto& token : request->prompt) token = static_cast<TokenId>(random() % 32000);
  request->stop.max_tokens = Tokens(warm_up + steps + 2000);
  request->stop.stop_token_ids = {32001};
  return request;
}

ReportPtr report_of(const Plan& plan, std::uint64_t& token) {
  auto report = std::make_shared<IterationReport>();
  report->id = plan.id;
  for (std::uint32_t i = 0; i < plan.slices.size(); ++i)
    if (plan.slices[i].samples)
      report->samples.push_back({i, static_cast<TokenId>(token++ % 32000), 0, {}});
  return report;
}

class Bench {
 public:
  explicit Bench(const Setup& setup)
      : core_(options(setup), policy::make_planner(setup.planner).value()) {
    std::mt19937_64 random(setup.sequences);
    for (std::uint32_t i = 0; i < setup.sequences + setup.waiting; ++i) {
      const bool offline = i >= setup.sequences - setup.offline && i < setup.sequences;
      const auto request_class = offline ? RequestClass::offline : RequestClass::online;
      feed(policy::Arrived{make_request(i, request_class, random)});
    }
    if (setup.queued > 0) fill_queue(setup.queued, random);
    while (core_.stats().online_running + core_.stats().offline_running < setup.sequences ||
           plans_.front()->slices.size() < setup.sequences)
      step();
  }

  /// A model and a budget that all sequences just fit, so that the planner looks at each.
  void limit() {
    policy::LatencyCoefficients k;
    k.fixed = 5, k.row = 0.01, k.attention = 1e-6, k.cached = 1e-5;
    policy::LatencySnapshot model;
    model.model = {policy::LatencyForm::context, k, {1000, 0.02, 0.04}};
    feed(policy::ModelUpdated{std::make_shared<const policy::LatencySnapshot>(model)});
    policy::BudgetSnapshot budget;
    budget.iteration_ms = budget.offline_iteration_ms = 1000;
    feed(policy::BudgetUpdated{std::make_shared<const policy::BudgetSnapshot>(budget)});
  }

  /// Of each step: until the launch, and until the end of all that the report caused.
  std::array<std::vector<double>, 2> measure() {
    for (int i = 0; i < warm_up; ++i) step();
    std::array<std::vector<double>, 2> micros;
    for (int i = 0; i < steps; ++i) {
      const Micros step_micros = step();
      micros[0].push_back(step_micros.to_launch);
      micros[1].push_back(step_micros.to_end);
    }
    for (auto& column : micros) std::sort(column.begin(), column.end());
    return micros;
  }

 private:
  static policy::SchedulerOptions options(const Setup& setup) {
    policy::SchedulerOptions options;
    options.max_iteration_tokens = Tokens(2048);
    options.max_sequences = setup.sequences;
    const Tokens longest(prompt_tokens + warm_up + steps + 2000);
    options.kv_blocks = Blocks(blocks_for(longest).value() * (setup.sequences + 1));
    options.offline_window = setup.queued > 0 ? 64 : 0;
    options.hash_key = 42;
    return options;
  }

  struct Micros {
    double to_launch = 0;  ///< until the plan is handed over
    double to_end = 0;     ///< until everything is
  };

  Micros feed(const policy::Event& event) {
    using Clock = std::chrono::steady_clock;
    const auto start = Clock::now();
    const auto since = [start](Clock::time_point end) {
      return std::chrono::duration<double, std::micro>(end - start).count();
    };
    Micros micros;
    core_.on(event, TimePoint{}, [&](policy::Action&& action) {
      if (auto* launch = std::get_if<policy::Launch>(&action)) {
        micros.to_launch = since(Clock::now());
        plans_.push_back(std::move(launch->plan));
      } else {
        const auto discarded = std::move(action);
      }
    });
    micros.to_end = since(Clock::now());
    return micros;
  }

  Micros step() {
    TANDEM_CHECK(!plans_.empty(), "something is in flight");
    const PlanPtr plan = plans_.front();
    plans_.pop_front();
    if (order_.size() > 0) put_back(take());
    return feed(policy::Reported{report_of(*plan, token_)});
  }

  // What the queue's actor does meanwhile, on the same core and its caches.

  void fill_queue(std::uint32_t count, std::mt19937_64& random) {
    order_.add_group(1, 86400);
    for (std::uint32_t i = 0; i < count; ++i)
      put_back({.id = first_item + i, .work = Tokens(1100)});
    policy::Supplied supplied;
    for (int i = 0; i < 64; ++i)
      supplied.items.push_back(make_request(take().id, RequestClass::offline, random));
    feed(supplied);
  }

  /// A twentieth of the items begin alike.
  void put_back(policy::OrderedItem item) {
    std::array<std::uint32_t, 8> key;
    for (std::size_t i = 0; i < key.size(); ++i)
      key[i] = static_cast<std::uint32_t>(i < 6 ? item.id % 20 : item.id) * 2654435761U;
    item.group = 1;
    item.age = age_++;
    order_.insert(item, key);
  }

  policy::OrderedItem take() {
    const auto item = order_.take();
    TANDEM_CHECK(item.has_value(), "the queue does not run dry");
    return *item;
  }

  SchedulerCore core_;
  std::deque<PlanPtr> plans_;
  std::uint64_t token_ = 0;
  policy::OfflineOrder order_{policy::OfflineOrderOptions{}};
  std::uint64_t age_ = 0;
};

}  // namespace
}  // namespace tandem

int main() {
  constexpr tandem::Setup setups[] = {
      {"64 online", 64, 0, 0},
      {"256 online", 256, 0, 0},
      {"128 online + 128 offline", 256, 128, 0},
      {"256 online, 100 waiting", 256, 0, 100},
      {"hygen, 256 online", 256, 0, 0, "hygen", true},
      {"hygen, 128 + 128 offline", 256, 128, 0, "hygen", true},
      {"hygen, 256 offline", 256, 256, 0, "hygen", true},
      {"hygen, 128+128, 100k queued", 256, 128, 0, "hygen", true, 100'000},
  };
  std::printf("scheduler core, context from ~1,000 tokens, %d steps [us]\n", tandem::steps);
  std::printf("%-28s %25s   %25s\n", "running", "report -> launch p50/90/99",
              "-> all actions p50/90/99");
  for (const auto& setup : setups) {
    tandem::Bench bench(setup);
    if (setup.limited) bench.limit();
    std::printf("%-28s", setup.name);
    for (const auto& micros : bench.measure()) {
      const auto at = [&micros](double share) {
        return micros[static_cast<std::size_t>(share * static_cast<double>(micros.size() - 1))];
      };
      std::printf(" %8.1f %8.1f %8.1f  ", at(0.5), at(0.9), at(0.99));
    }
    std::printf("\n");
  }
}
