// Fast mode: what a run promises, with and without faults.
#include "sim/fast_run.hpp"

#include <catch2/catch.hpp>

#include "tests/sim/support.hpp"

namespace tandem::sim {
namespace {

using namespace std::chrono_literals;
using test::request;
using test::run;

constexpr auto online = RequestClass::online, offline = RequestClass::offline;

bool drained(const test::Outcome& outcome) {
  return outcome.log.find(" drained\n") != std::string::npos;
}

FaultOptions all_faults() {
  FaultOptions faults;
  faults.noise = 0.2;
  faults.slow_share = 0.02;
  faults.abort_share = 0.05;
  faults.failure_share = 0.01;
  faults.death_share = 0.003;
  faults.restart = 200ms;
  faults.cancel_share = 0.1;
  faults.cancel_within = 300ms;
  return faults;
}

}  // namespace

TEST_CASE("a lone request's times are those of its iterations") {
  Workload workload;
  workload.requests = {request(online, 5ms, 100, 3)};
  const auto outcome = run(workload, test::small_run());
  CHECK(outcome.violation.empty());
  CHECK(drained(outcome));
  // 64 + 36 rows, then two decodes of one row.
  CHECK(outcome.measured.ttft.max == Approx(2.28 + 1.72));
  CHECK(outcome.measured.tbt.count == 2);
  CHECK(outcome.measured.tbt.mean == Approx(1.02));
  CHECK(outcome.measured.online.served == 102);
  CHECK(outcome.measured.online.generated == 2);
  CHECK(outcome.measured.online.wasted == 0);
}

TEST_CASE("offline items run in what online leaves, and each once") {
  const auto workload = test::small_workload(3, 40, 40);
  const auto outcome = run(workload, test::small_run());
  CHECK(outcome.violation == "");
  CHECK(drained(outcome));
  CHECK(outcome.measured.online.finished == 40);
  CHECK(outcome.measured.offline.finished == 40);
  std::int64_t online_tokens = 0, offline_tokens = 0;
  for (const auto& each : workload.requests)
    (each.request_class == online ? online_tokens : offline_tokens) +=
        (each.prompt_tokens + each.output_tokens).value() - 1;
  CHECK(outcome.measured.online.served == online_tokens);
  CHECK(outcome.measured.offline.served == offline_tokens);
}

TEST_CASE("items that come later are asked for when they are there") {
  Workload workload;
  workload.requests = {request(offline, 0s, 20, 2), request(offline, 3s, 20, 2)};
  const auto outcome = run(workload, test::small_run());
  CHECK(outcome.violation == "");
  CHECK(drained(outcome));
  CHECK(outcome.ended_at.time_since_epoch() > 3s);
  CHECK(outcome.ended_at.time_since_epoch() < 3100ms);
}

TEST_CASE("a run whose horizon lies behind its work tells when the work was done") {
  Workload workload;
  workload.requests = {request(online, 1s, 20, 2)};
  auto options = test::small_run();
  options.horizon = 60s;
  const auto outcome = run(workload, options);
  CHECK(outcome.measured.seconds == Approx(60));
  CHECK(outcome.measured.end_seconds == Approx(to_seconds(outcome.ended_at.time_since_epoch())));
  CHECK(outcome.measured.end_seconds < 1.1);
}

TEST_CASE("an endless set fills the whole horizon, and arrivals after it are left out") {
  Workload workload;
  workload.requests = {request(offline, 0s, 50, 5), request(offline, 0s, 70, 5),
                       request(online, 1s, 10, 2), request(online, 9s, 10, 2)};
  auto options = test::small_run();
  options.endless_offline = true;
  options.horizon = 4s;
  const auto outcome = run(workload, options);
  CHECK(outcome.violation == "");
  CHECK(outcome.measured.seconds == Approx(4));
  CHECK(outcome.measured.online.requests == 1);
  CHECK(outcome.measured.offline.finished > 100);
  CHECK(outcome.measured.busy_share > 0.95);
  CHECK(outcome.measured.offline.cached == 0);
}

TEST_CASE("equal prefix ids are computed once") {
  Workload workload;
  workload.prefix_id_tokens = Tokens(32);
  workload.requests = {request(online, 0s, 64, 2), request(online, 1s, 64, 2)};
  for (auto& each : workload.requests) each.prefix_ids = {11, 12};
  workload.requests[1].prefix_ids = {11, 13};
  const auto outcome = run(workload, test::small_run());
  CHECK(outcome.violation == "");
  CHECK(outcome.measured.online.cached == 32);
  CHECK(outcome.measured.online.served == 2 * 65);
}

TEST_CASE("offline items run in the order of the prefixes that they share, as they are served") {
  Workload workload;
  workload.prefix_id_tokens = Tokens(64);
  for (std::uint64_t i = 0; i < 60; ++i) {
    workload.requests.push_back(request(offline, 0s, 90, 2));
    workload.requests.back().prefix_ids = {i % 10};
  }
  auto options = test::small_run(20);  // room for few families at once
  const auto by_prefix = run(workload, options);
  options.offline_order.rule = policy::OrderRule::fcfs;
  const auto by_age = run(workload, options);
  for (const auto& outcome : {by_prefix, by_age}) {
    CHECK(outcome.violation == "");
    CHECK(outcome.measured.offline.finished == 60);
  }
  // At best all but the first of each family find its 64 tokens.
  CHECK(by_prefix.measured.offline.cached >= 48 * 64);
  CHECK(by_age.measured.offline.cached < 20 * 64);
  CHECK(by_prefix.ended_at < by_age.ended_at);
}

TEST_CASE("an item that comes later runs with those that begin alike, before older ones") {
  Workload workload;
  workload.prefix_id_tokens = Tokens(64);
  for (std::uint64_t i = 0; i < 40; ++i) {
    workload.requests.push_back(request(offline, 0s, 90, 2));
    workload.requests.back().prefix_ids = {i / 20};
  }
  workload.requests.push_back(request(offline, 1ms, 80, 2));
  workload.requests.back().prefix_ids = {0};
  auto options = test::small_run(60);
  const auto items_after_it = [&] {
    const auto outcome = run(workload, options);
    CHECK(outcome.violation == "");
    int count = 0;
    for (auto at = outcome.log.find(" prompt=80 "); at != std::string::npos;
         at = outcome.log.find(" arrived ", at + 1))
      ++count;
    return count - 1;
  };
  CHECK(items_after_it() >= 20);
  options.offline_order.rule = policy::OrderRule::fcfs;
  CHECK(items_after_it() == 0);
}

TEST_CASE("a short KV cache preempts offline work, and what is computed again is counted") {
  auto workload = test::small_workload(5, 60, 60);
  auto options = test::small_run(10);
  options.scheduler.prefix_cache = false;
  const auto outcome = run(workload, options);
  CHECK(outcome.violation == "");
  CHECK(drained(outcome));
  CHECK(outcome.measured.preemptions > 0);
  CHECK(outcome.measured.offline.wasted > 0);
}

TEST_CASE("equal seeds give byte-equal logs, other seeds other ones") {
  const auto workload = test::small_workload(11, 60, 60);
  auto options = test::small_run(24);
  options.faults = all_faults();
  options.seed = 42;
  const auto first = run(workload, options);
  const auto again = run(workload, options);
  CHECK(first.log.size() > 10000);
  CHECK(first.log == again.log);
  options.seed = 43;
  CHECK(first.log != run(workload, options).log);
}

TEST_CASE("a device that fails or dies loses no item, and no online request is left hanging") {
  const auto workload = test::small_workload(2, 60, 60);
  auto options = test::small_run(24);
  options.faults.failure_share = 0.02;
  options.faults.death_share = 0.01;
  options.faults.restart = 100ms;
  options.seed = 7;
  const auto outcome = run(workload, options);
  CHECK(outcome.violation == "");
  CHECK(drained(outcome));
  CHECK(outcome.log.find(" died\n") != std::string::npos);
  CHECK(outcome.log.find(" given_back ") != std::string::npos);
  CHECK(outcome.measured.offline.finished == 60);
  CHECK(outcome.measured.online.failed > 0);
  CHECK(outcome.measured.online.finished + outcome.measured.online.failed == 60);
}

TEST_CASE("a thousand seeds with faults keep every promise") {
  for (std::uint64_t seed = 0; seed < 1000; ++seed) {
    const auto workload = test::small_workload(seed, 30 + seed % 20, 25 + seed % 15);
    auto options = test::small_run(10 + static_cast<std::int64_t>(seed % 40));
    options.scheduler.plans_in_flight = 1 + seed % 2;
    options.scheduler.prefix_cache = seed % 3 != 0;
    options.faults = all_faults();
    options.seed = seed;
    const auto outcome = run(workload, options);
    INFO("seed " << seed);
    REQUIRE(outcome.violation == "");
    REQUIRE(drained(outcome));
  }
}

TEST_CASE("the checker sees what it is there for") {
  // A promise that nobody can break is no promise: hand the checker broken runs.
  Workload workload;
  workload.requests = {request(online, 0s, 4, 2)};
  Request asked{.id = RequestId(1), .prompt = {1, 2, 3, 4}};
  asked.stop.max_tokens = Tokens(2);
  const auto token = [](std::uint64_t context) {
    return TokenEvent{.id = RequestId(1), .token = simulated_token(RequestId(1), context, 1000)};
  };
  InvariantChecker checker(workload, 1000, false);
  checker.arrived(asked, 0, TimePoint{});
  checker.emitted({token(4)}, TimePoint{});
  CHECK(checker.violation() == "");
  SECTION("a gap") {
    checker.emitted({token(6)}, TimePoint{});
    CHECK_THAT(checker.violation(), Catch::Contains("in order and without gap"));
  }
  SECTION("an early end") {
    checker.emitted({{.id = RequestId(1), .finish = FinishReason::length}}, TimePoint{});
    CHECK_THAT(checker.violation(), Catch::Contains("last token asked for"));
  }
  SECTION("a word after the end") {
    auto last = token(5);
    last.finish = FinishReason::length;
    checker.emitted({last, token(6)}, TimePoint{});
    CHECK_THAT(checker.violation(), Catch::Contains("nothing is said after its end"));
  }
  SECTION("no end") {
    checker.finished(true, TimePoint{});
    CHECK_THAT(checker.violation(), Catch::Contains("every request has ended"));
  }
  SECTION("a gap in progress") {
    Plan plan;
    plan.slices = {{.id = RequestId(1), .context = 2, .num_tokens = 2}};
    checker.reported(plan, {}, TimePoint{});
    CHECK_THAT(checker.violation(), Catch::Contains("progress is without gap"));
  }
}

TEST_CASE("a request longer than the KV cache is refused by name before a run") {
  Workload workload{"trace.csv", Tokens(512), {request(online, 0s, 100, 5)}};
  const auto fits = check_fits(workload, test::small_run(4));
  REQUIRE_FALSE(fits.has_value());
  CHECK_THAT(fits.error().message, Catch::Contains("trace.csv: request 1 has 100 prompt"));
  CHECK(check_fits(workload, test::small_run(7)).has_value());
}

}  // namespace tandem::sim
