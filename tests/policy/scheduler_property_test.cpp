// Thousands of random lives of a scheduler core: arrivals of both classes, cancels, aborted and
// failed plans, tiny KV caches, shared prefixes, stop tokens. After every event the core's books
// are checked, and the fake device holds every plan against what is true. A failure prints its
// seed; run_life(seed) replays it.
#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <deque>
#include <map>
#include <numeric>
#include <random>
#include <set>

#include "policy/scheduler_core.hpp"
#include "tests/policy/chaos_planner.hpp"
#include "tests/policy/fake_device.hpp"
#include "tests/policy/planner_world.hpp"

namespace tandem::policy {
namespace {

using test::FakeDevice;
using test::require;

/// How one life is lived. Weights are drawn per seed, so that some lives are all cancels and others
/// have none (swarm testing).
struct Life {
  SchedulerOptions options;
  std::string planner;
  int events = 0;
  int arrive = 0, flex = 0, supply = 0, cancel = 0, report = 0, learn = 0;  ///< weights
  int abort_percent = 0, fail_percent = 0;
  bool stop_tokens = false;
  bool ample = false;  ///< so many blocks and slots that nothing ever has to give way
  std::int64_t max_prompt = 0, max_output = 0;
};

class Driver {
 public:
  Driver(std::uint64_t seed, const Life& life)
      : random_(seed),
        life_(life),
        core_(life.options, planner(seed, life)),
        device_({static_cast<std::size_t>(life.options.kv_blocks.value()),
                 life.options.max_sequences, life.options.max_iteration_tokens.value(), 40, seed}) {
    for (auto& base : bases_)
      for (int i = 0; i < 200; ++i) base.push_back(static_cast<TokenId>(below(40)));
  }

  void live() {
    apply(Available{});
    for (int i = 0; i < life_.events; ++i) random_event();
    drain();
  }

 private:
  PlannerPtr planner(std::uint64_t seed, const Life& life) const {
    if (life.planner == "chaos") return std::make_unique<test::ChaosPlanner>(seed, calm_);
    return make_planner(life.planner).value();
  }

  struct Record {
    RequestPtr request;
    std::vector<TokenId> output;
    bool ended = false;
    bool cancelled = false;
    std::uint64_t planned_to = 0;  ///< positions, as far as plans have named it
    std::uint64_t held = 0;        ///< blocks that plans have named
    std::uint64_t preemptions_then = 0;
    bool was_planned = false;
  };

  std::int64_t below(std::int64_t bound) {
    return static_cast<std::int64_t>(random_() % static_cast<std::uint64_t>(bound));
  }
  bool chance(int percent) { return below(100) < percent; }

  void random_event() {
    const int weights[] = {life_.arrive, life_.flex,   life_.supply,
                           life_.cancel, life_.report, life_.learn};
    int pick = static_cast<int>(below(std::accumulate(std::begin(weights), std::end(weights), 0)));
    int kind = 0;
    while (pick >= weights[kind]) pick -= weights[kind++];
    switch (kind) {
      case 0: return apply(Arrived{make_request(RequestClass::online)});
      case 1: return apply(Arrived{make_request(RequestClass::offline)});
      case 2: return supply_event();
      case 3: return cancel_something();
      case 5: return learn();
      default: return report_oldest(false);
    }
  }

  RequestPtr make_request(RequestClass request_class) {
    auto request = std::make_shared<Request>();
    request->id = RequestId{next_request_++};
    request->request_class = request_class;
    const std::int64_t room = life_.options.kv_blocks.value() * kv_block_tokens;
    const std::int64_t output = 1 + below(std::min(life_.max_output, room / 2));
    const std::int64_t longest = std::min(life_.max_prompt, room - output + 1);
    const std::int64_t length = chance(10) ? longest : 1 + below(longest);
    const auto& base = bases_[static_cast<std::size_t>(below(2))];
    const std::int64_t common = std::min<std::int64_t>(chance(70) ? below(200) : 0, length);
    request->prompt.assign(base.begin(), base.begin() + common);
    while (static_cast<std::int64_t>(request->prompt.size()) < length)
      request->prompt.push_back(static_cast<TokenId>(below(40)));
    request->stop.max_tokens = Tokens(output);
    if (life_.stop_tokens)
      for (TokenId token = 0; token < 2; ++token) request->stop.stop_token_ids.push_back(token);
    request->cache_namespace = chance(80) ? 1 : 2;
    know(request);
    return request;
  }

  void know(const RequestPtr& request) {
    device_.know(request);
    records_[request->id].request = request;
  }

  /// Either something enters the offline queue, or an open ask is answered.
  void supply_event() {
    if (asked_ > 0 && chance(60)) return answer();
    const bool was_dry = dry_;
    for (std::int64_t i = 1 + below(6); i > 0; --i)
      queue_.push_back(make_request(RequestClass::offline));
    dry_ = false;
    if (was_dry) apply(Available{});
  }

  void answer() {
    Supplied supplied;
    while (supplied.items.size() < asked_ && !queue_.empty()) {
      supplied.items.push_back(queue_.front());
      queue_.pop_front();
    }
    dry_ = supplied.items.size() < asked_;
    for (const auto& item : supplied.items) in_core_.insert(item->id);
    asked_ = 0;
    apply(supplied);
  }

  void cancel_something() {
    const auto id =
        RequestId{static_cast<std::uint64_t>(below(static_cast<std::int64_t>(next_request_) + 2))};
    const auto record = records_.find(id);
    if (record != records_.end() && !record->second.ended && in_core_.contains(id))
      record->second.cancelled = true;
    apply(Cancelled{id});
    require(record == records_.end() || !record->second.cancelled || record->second.ended,
            "a cancelled request ends at once");
  }

  /// A new model or new budgets, as the observers publish them.
  void learn() {
    World world;
    limit_at_random(world, random_());
    if (chance(50)) return apply(ModelUpdated{std::make_shared<LatencySnapshot>(world.model)});
    apply(BudgetUpdated{std::make_shared<BudgetSnapshot>(world.limits)});
  }

  void wake() {
    now_ = std::max(now_, *wakes_.begin());
    wakes_.erase(wakes_.begin());
    apply(Woken{});
  }

  void report_oldest(bool kindly) {
    if (device_.in_flight() == 0) return;
    Outcome outcome = Outcome::done;
    if (device_.oldest_is_void()) {
      outcome = chance(70) ? Outcome::aborted : chance(50) ? Outcome::done : Outcome::failed;
      if (kindly && outcome == Outcome::failed) outcome = Outcome::aborted;
      saw_rollback_ = true;
    } else if (!kindly && chance(life_.abort_percent)) {
      outcome = Outcome::aborted;
    } else if (!kindly && chance(life_.fail_percent)) {
      outcome = Outcome::failed;
    }
    if (outcome != Outcome::done) saw_rollback_ = true;
    std::vector<RequestId> named;
    for (const Slice& slice : device_.oldest().slices) named.push_back(slice.id);
    const ReportPtr report = device_.report(outcome);
    apply(Reported{report});
    if (outcome == Outcome::failed)
      for (const RequestId id : named)
        require(records_.at(id).ended, "every request of a failed plan ends");
  }

  void apply(const Event& event) {
    if (const auto* arrived = std::get_if<Arrived>(&event)) in_core_.insert(arrived->request->id);
    now_ += std::chrono::milliseconds(1);
    bool saw_emit = false;
    std::vector<PlanPtr> plans;  // looked at when it is known what ended with this event
    for (const Action& action : core_.on(event, now_)) {
      if (const auto* launch = std::get_if<Launch>(&action)) {
        require(!saw_emit, "a launch stands before what is emitted");
        device_.launched(launch->plan);
        plans.push_back(launch->plan);
      } else if (const auto* emit = std::get_if<Emit>(&action)) {
        require(!saw_emit, "what an event means to clients is emitted together");
        saw_emit = true;
        for (const TokenEvent& token : emit->events) emitted(token);
      } else if (const auto* wake = std::get_if<Wake>(&action)) {
        require(device_.in_flight() == 0, "whoever waits for a report needs no waking");
        wakes_.insert(wake->at);
      } else {
        require(asked_ == 0, "one ask for offline work is open at a time");
        require(!dry_, "a queue that said it is empty is not asked");
        asked_ = std::get<Refill>(action).count;
        require(asked_ > 0 && asked_ <= life_.options.offline_window, "an ask keeps to the window");
      }
    }
    for (const PlanPtr& plan : plans) launched(plan);
    core_.check();
    check_stats();
  }

  void check_stats() {
    const SchedulerStats stats = core_.stats();
    require(stats.kv_available + stats.kv_held == stats.kv_total, "blocks are conserved");
    if (core_.idle()) require(stats.kv_held.is_zero(), "idle means that everything is free");
    if (life_.ample && life_.planner != "chaos")
      require(stats.preemptions == 0, "nothing is preempted while there is room");
    const auto bound = life_.options.plans_in_flight;
    require(device_.in_flight() <= bound, "no more plans are in flight than allowed");
  }

  void launched(const PlanPtr& plan) {
    ++launches_;
    std::set<RequestId> named;
    bool offline_grew = false;
    for (const Slice& slice : plan->slices) {
      Record& record = records_.at(slice.id);
      require(!record.ended, "what has ended is not planned");
      require(in_core_.contains(slice.id), "what has not arrived is not planned");
      if (life_.planner == "online_only")
        require(slice.request_class == RequestClass::online, "online_only runs online alone");
      if (life_.planner == "offline_only")
        require(slice.request_class == RequestClass::offline, "offline_only runs offline alone");
      named.insert(slice.id);
      if (slice.request_class == RequestClass::offline &&
          (!record.was_planned || slice.blocks->size() > record.held))
        offline_grew = true;
      record.was_planned = true;
      record.planned_to = slice.context + slice.num_tokens;
      record.held = static_cast<std::uint32_t>(slice.blocks->size());
      record.preemptions_then = core_.stats().preemptions;
    }
    if (!saw_rollback_ && life_.planner != "chaos") check_no_decode_skipped(named, offline_grew);
  }

  /// An online request that has run its prompt and was not preempted since is in every plan until
  /// its max_tokens are planned; only for lack of blocks is it not, and then nothing offline grows.
  void check_no_decode_skipped(const std::set<RequestId>& named, bool offline_grew) {
    for (const auto& [id, record] : records_) {
      if (record.ended || named.contains(id) || !record.was_planned) continue;
      const Request& request = *record.request;
      if (request.request_class != RequestClass::online) continue;
      const auto last =
          request.prompt.size() + static_cast<std::size_t>(request.stop.max_tokens.value()) - 1;
      if (record.planned_to < request.prompt.size() || record.planned_to >= last) continue;
      if (record.preemptions_then != core_.stats().preemptions) continue;
      require(!life_.ample, "an online decode is never skipped while there are blocks");
      require(!offline_grew, "offline takes no block while an online decode lacks one");
    }
  }

  void emitted(const TokenEvent& event) {
    Record& record = records_.at(event.id);
    const Request& request = *record.request;
    require(!record.ended, "nothing is emitted after the end");
    require(event.token || event.finish, "an event says something");
    require(event.cached_tokens < Tokens(static_cast<std::int64_t>(request.prompt.size())),
            "at least one prompt token is computed");
    if (event.token) record.output.push_back(*event.token);
    require(record.output == device_.expected_output(request, record.output.size()),
            "tokens come in order, without gap, and are those of the prompt");
    if (!event.finish) return;
    record.ended = true;
    const auto& stops = request.stop.stop_token_ids;
    const bool stopped = event.token && std::count(stops.begin(), stops.end(), *event.token) > 0;
    const bool full =
        static_cast<std::int64_t>(record.output.size()) == request.stop.max_tokens.value();
    switch (*event.finish) {
      case FinishReason::stop: return require(stopped, "it stops with a stop token");
      case FinishReason::length: return require(full && !stopped, "its length is max_tokens");
      case FinishReason::cancelled: return require(record.cancelled, "it was cancelled");
      case FinishReason::failed:
        return require(event.error && event.error->message == "made to fail",
                       "a failure says what the device said");
    }
  }

  /// From here on plans are done and asks are answered: everything that can run must come to its
  /// end.
  void drain() {
    *calm_ = true;
    apply(ModelUpdated{});  // the chaos planner may have left everything idle
    std::int64_t left = 0;
    for (const auto& [id, record] : records_)
      if (!record.ended)
        left += static_cast<std::int64_t>(record.request->prompt.size()) +
                record.request->stop.max_tokens.value();
    const std::int64_t bound = launches_ + 100 + 8 * left;
    while (true) {
      if (asked_ > 0)
        answer();
      else if (device_.in_flight() > 0)
        report_oldest(true);
      else if (!wakes_.empty())
        wake();
      else
        break;
      require(launches_ < bound, "everything ends in a bounded number of iterations");
    }
    const bool offline_waits = life_.planner == "online_only";
    const bool online_waits = life_.planner == "offline_only";
    for (const auto& [id, record] : records_) {
      const bool is_online = record.request->request_class == RequestClass::online;
      const bool may_wait = is_online ? online_waits : offline_waits || !in_core_.contains(id);
      require(record.ended || may_wait, "request " + std::to_string(raw(id)) + " ends");
    }
    if (offline_waits || online_waits) return;
    require(life_.options.offline_window == 0 || queue_.empty(), "the queue is emptied");
    require(core_.idle(), "drained means idle");
    require(core_.stats().kv_available == life_.options.kv_blocks, "all blocks are free again");
  }

  std::mt19937_64 random_;
  Life life_;
  std::shared_ptr<bool> calm_ = std::make_shared<bool>(false);
  SchedulerCore core_;
  FakeDevice device_;
  TimePoint now_{};
  std::vector<TokenId> bases_[2];
  std::map<RequestId, Record> records_;
  std::set<RequestId> in_core_;
  std::deque<RequestPtr> queue_;
  std::uint32_t asked_ = 0;
  std::multiset<TimePoint> wakes_;  ///< not answered yet
  bool dry_ = false;                ///< the queue has told the core that it is empty
  std::uint64_t next_request_ = 1;
  std::int64_t launches_ = 0;
  bool saw_rollback_ = false;  ///< from then on a skipped decode may be due to that
};

Life draw_life(std::uint64_t seed) {
  std::mt19937_64 random(seed * 7919 + 1);
  const auto between = [&](std::int64_t low, std::int64_t high) {
    return low + static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(high - low + 1));
  };
  const auto weight = [&](int high) {
    return static_cast<int>(between(0, 2) == 0 ? 0 : between(1, high));
  };
  Life life;
  life.planner =
      std::array{"online_only", "offline_only", "online_first", "online_first", "hygen",
                 "hygen",       "fixed_rate",   "chaos",        "chaos"}[static_cast<std::size_t>(
          between(0, 8))];
  life.learn = weight(6);
  life.events = static_cast<int>(between(20, 160));
  life.arrive = weight(12);
  life.flex = weight(6);
  life.supply = weight(8);
  life.cancel = weight(4);
  life.report = static_cast<int>(between(5, 40));
  life.abort_percent = between(0, 2) == 0 ? static_cast<int>(between(1, 30)) : 0;
  life.fail_percent = between(0, 3) == 0 ? static_cast<int>(between(1, 10)) : 0;
  life.stop_tokens = between(0, 1) == 0;
  life.ample = between(0, 3) == 0;
  life.max_prompt = between(0, 1) == 0 ? between(1, 30) : between(1, 150);
  life.max_output = between(1, 80);
  life.options.max_iteration_tokens =
      Tokens(between(1, 3) == 1 ? between(1, 10) : between(10, 120));
  life.options.max_sequences = static_cast<std::uint32_t>(between(1, 12));
  life.options.kv_blocks = Blocks(life.ample ? 160 * 16 : between(1, 25));
  life.options.prefix_cache = between(0, 3) != 0;
  life.options.plans_in_flight = static_cast<std::uint32_t>(between(1, 2));
  life.options.offline_window = static_cast<std::uint32_t>(between(0, 8));
  life.options.hash_key = random();
  life.options.row_quantum = static_cast<std::uint32_t>(between(0, 1) == 0 ? 1 : between(1, 32));
  if (life.ample) {
    life.options.max_sequences = 160;
    life.options.max_iteration_tokens = Tokens(between(160, 300));
  }
  return life;
}

void run_life(std::uint64_t seed) {
  INFO("seed " << seed);
  try {
    Driver(seed, draw_life(seed)).live();
  } catch (const test::Violation& violation) {
    FAIL(violation.what);
  }
}

}  // namespace

TEST_CASE("whatever happens, each request ends once with its own tokens and blocks are conserved") {
  for (std::uint64_t seed = 1; seed <= 3000; ++seed) run_life(seed);
  SUCCEED();
}

}  // namespace tandem::policy
