// Full mode: the actors that serve keep the same promises as the core alone, and run the same
// plans.
#include "sim/full_run.hpp"

#include <catch2/catch.hpp>
#include <spdlog/spdlog.h>

#include "tests/sim/support.hpp"

namespace tandem::sim {
namespace {

using namespace std::chrono_literals;
using test::Mode;
using test::request;
using test::run;

constexpr auto online = RequestClass::online, offline = RequestClass::offline;

bool drained(const test::Outcome& outcome) {
  return outcome.log.find(" drained\n") != std::string::npos;
}

/// Deaths are what these tests are about, and the actors log each of them.
struct Quiet {
  Quiet() { spdlog::set_level(spdlog::level::off); }
  ~Quiet() { spdlog::set_level(spdlog::level::info); }
};

/// The first line in which two logs differ, with the one before.
std::string first_difference(const std::string& a, const std::string& b) {
  const auto at = static_cast<std::size_t>(
      std::mismatch(a.begin(),
                    a.begin() + static_cast<std::ptrdiff_t>(std::min(a.size(), b.size())),
                    b.begin())
          .first -
      a.begin());
  if (at == a.size() && at == b.size()) return "";
  const auto from = a.rfind('\n', a.rfind('\n', at) - 1) + 1;
  return a.substr(from, 400) + "\n---\n" + b.substr(from, 400);
}

/// What the device does, and nothing that ends a process or a request.
FaultOptions device_faults() {
  FaultOptions faults;
  faults.noise = 0.2;
  faults.slow_share = 0.02;
  faults.abort_share = 0.1;
  return faults;
}

FaultOptions all_faults() {
  FaultOptions faults = device_faults();
  faults.failure_share = 0.005;
  faults.death_share = 0.005;
  faults.restart = 200ms;
  faults.cancel_share = 0.1;
  faults.cancel_within = 300ms;
  return faults;
}

/// Both modes on the same, where predictor and profiler have nothing to say.
void check_equal_logs(const Workload& workload, const RunOptions& options) {
  const Quiet quiet;
  const auto fast = run(Mode::fast, workload, options);
  const auto full = run(Mode::full, workload, options);
  CHECK(full.violation == "");
  CHECK(full.log.size() > 2000);
  CHECK(first_difference(fast.log, full.log) == "");
  CHECK(fast.ended_at == full.ended_at);
  CHECK(fast.measured.total_tokens_per_s() == full.measured.total_tokens_per_s());
}

}  // namespace

TEST_CASE("both modes write the same log to the byte") {
  for (std::uint64_t seed = 0; seed < 24; ++seed) {
    INFO("seed " << seed);
    auto options = test::small_run(10 + static_cast<std::int64_t>(seed % 40));
    options.scheduler.plans_in_flight = 1 + seed % 2;
    options.scheduler.prefix_cache = seed % 3 != 0;
    options.faults = device_faults();
    options.seed = seed;
    check_equal_logs(test::small_workload(seed, 30 + seed % 20, 25 + seed % 15), options);
  }
}

TEST_CASE("both modes hand out items that begin alike in the same order") {
  auto workload = test::small_workload(5, 20, 60);
  workload.prefix_id_tokens = Tokens(32);
  std::uint64_t next = 0;
  for (auto& each : workload.requests)
    for (std::int64_t at = 32; at <= each.prompt_tokens.value(); at += 32)
      each.prefix_ids.push_back(at == 32 ? next++ % 3 : 10 + next % 7);
  auto options = test::small_run(24);
  SECTION("fcfs") { options.offline_order.rule = policy::OrderRule::fcfs; }
  SECTION("prefix") { options.offline_order.rule = policy::OrderRule::prefix; }
  SECTION("prefix_fair") { options.offline_order.utility_ratio = 0.9; }
  check_equal_logs(workload, options);
}

TEST_CASE("both modes take items that come later, and callers that go away") {
  auto workload = test::small_workload(3, 40, 0);
  for (int i = 0; i < 30; ++i)
    workload.requests.push_back(request(offline, (i / 10) * 300ms, 20 + i, 3 + i % 5));
  std::stable_sort(workload.requests.begin(), workload.requests.end(),
                   [](const auto& a, const auto& b) { return a.arrival < b.arrival; });
  auto options = test::small_run();
  SECTION("items later") {}
  SECTION("calls cancelled") {
    std::erase_if(workload.requests,
                  [](const auto& each) { return each.request_class == offline; });
    options.faults.cancel_share = 0.5;
    options.faults.cancel_within = 100ms;
  }
  check_equal_logs(workload, options);
}

TEST_CASE("both modes repeat an endless set up to the horizon, whatever the policy") {
  auto workload = test::small_workload(9, 40, 10);
  auto options = test::small_run(40);
  options.endless_offline = true;
  options.horizon = 2s;
  SECTION("online_first") {}
  SECTION("offline_only") {
    std::erase_if(workload.requests, [](const auto& each) { return each.request_class == online; });
    options.make_planner = policy::make_offline_only;
  }
  SECTION("fixed_rate") {
    options.make_planner = [] { return policy::make_fixed_rate(500); };
  }
  check_equal_logs(workload, options);
}

TEST_CASE("in full mode equal seeds give byte-equal logs, other seeds other ones") {
  const Quiet quiet;
  const auto workload = test::small_workload(11, 60, 60);
  auto options = test::small_run(24);
  options.faults = all_faults();
  options.seed = 42;
  const auto first = run(Mode::full, workload, options);
  CHECK(first.log.size() > 10000);
  CHECK(first.log.find(" died\n") != std::string::npos);
  CHECK(first.log == run(Mode::full, workload, options).log);
  options.seed = 43;
  CHECK(first.log != run(Mode::full, workload, options).log);
}

TEST_CASE("in full mode a device that fails or dies loses no item, and answers every call") {
  const Quiet quiet;
  const auto workload = test::small_workload(2, 60, 60);
  auto options = test::small_run(24);
  options.faults.restart = 100ms;
  SECTION("the device fails") { options.faults.failure_share = 0.01; }
  SECTION("the process dies") { options.faults.death_share = 0.01; }
  options.seed = 7;
  const auto outcome = run(Mode::full, workload, options);
  CHECK(outcome.violation == "");
  CHECK(drained(outcome));
  CHECK(outcome.log.find(" died\n") != std::string::npos);
  CHECK(outcome.log.find(" given_back ") != std::string::npos);
  CHECK(outcome.measured.offline.finished == 60);
  CHECK(outcome.measured.online.failed > 0);
  CHECK(outcome.measured.online.finished + outcome.measured.online.failed == 60);
}

TEST_CASE("an item that the engine always fails under is given up by its queue, and is told of") {
  const Quiet quiet;
  Workload workload;
  for (int i = 0; i < 3; ++i) workload.requests.push_back(request(offline, 0s, 30, 40));
  auto options = test::small_run();
  options.faults.failure_share = 0.5;
  options.faults.restart = 1ms;
  const auto outcome = run(Mode::full, workload, options);
  CHECK(outcome.violation == "");
  CHECK(drained(outcome));
  CHECK(outcome.log.find(" given_up item=") != std::string::npos);
  CHECK(outcome.measured.offline.requests == 3);
  CHECK(outcome.measured.offline.finished + outcome.measured.offline.failed == 3);
}

namespace {

void check_promises(std::uint64_t seeds) {
  const Quiet quiet;
  for (std::uint64_t seed = 0; seed < seeds; ++seed) {
    const auto workload = test::small_workload(seed, 30 + seed % 20, 25 + seed % 15);
    auto options = test::small_run(10 + static_cast<std::int64_t>(seed % 40));
    options.scheduler.plans_in_flight = 1 + seed % 2;
    options.scheduler.prefix_cache = seed % 3 != 0;
    options.faults = all_faults();
    options.seed = seed;
    const auto outcome = run(Mode::full, workload, options);
    INFO("seed " << seed);
    REQUIRE(outcome.violation == "");
    REQUIRE(drained(outcome));
  }
}

}  // namespace

TEST_CASE("in full mode many seeds with faults keep every promise") { check_promises(60); }

TEST_CASE("in full mode a thousand seeds do, too", "[.thousand]") { check_promises(1000); }

TEST_CASE("full mode says what it does not offer, and which item does not fit into a batch") {
  const Quiet quiet;
  Workload workload{"set.jsonl", Tokens(512), {request(offline, 0s, 100, 5)}};
  CHECK(check_full(workload).has_value());
  workload.requests.push_back(request(offline, 0s, 1'200'000, 5));
  const auto too_long = run_full(workload, test::small_run(80'000), {});
  REQUIRE_FALSE(too_long.has_value());
  CHECK_THAT(too_long.error().message,
             Catch::Contains("set.jsonl: request 2 is no batch item: a line is longer than"));
  workload.requests[1].deadline = 5s;
  CHECK_THAT(check_full(workload).error().message,
             Catch::Contains("set.jsonl: request 2 has a deadline"));
}

}  // namespace tandem::sim
