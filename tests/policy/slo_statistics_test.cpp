// The SLO profiler's arithmetic: percentiles of what requests felt.
#include "policy/slo_statistics.hpp"

#include <catch2/catch.hpp>

using namespace tandem;
using namespace tandem::policy;
using namespace std::chrono_literals;

TEST_CASE("quantiles are samples of the latest window") {
  SampleWindow window(100);
  CHECK(window.quantile(0.5) == 0);
  for (int i = 1; i <= 100; ++i) window.add(i);
  CHECK(window.quantile(0.5) == 50);
  CHECK(window.quantile(0.99) == 99);
  CHECK(window.quantile(1.0) == 100);
  CHECK(window.quantile(0.0) == 1);
  for (int i = 0; i < 100; ++i) window.add(7);
  CHECK(window.quantile(0.99) == 7);
  CHECK(window.count() == 200);
}

TEST_CASE("first tokens and gaps are told apart, and only online ones are pooled") {
  SloStatistics statistics;
  const TimePoint start{1s};
  statistics.admitted(RequestId(1), RequestClass::online, start);
  statistics.admitted(RequestId(2), RequestClass::offline, start);
  CHECK_FALSE(statistics.token(RequestId(3), start).has_value());
  auto first = statistics.token(RequestId(1), start + 20ms);
  REQUIRE(first.has_value());
  CHECK(first->first);
  CHECK(first->since_last == 20ms);
  auto second = statistics.token(RequestId(1), start + 25ms);
  CHECK_FALSE(second->first);
  CHECK(second->since_last == 5ms);
  statistics.token(RequestId(2), start + 900ms);
  const auto snapshot = statistics.snapshot();
  CHECK(snapshot.ttft_samples == 1);
  CHECK(snapshot.ttft_ms_p99 == Approx(20));
  CHECK(snapshot.tbt_samples == 1);
  CHECK(snapshot.tbt_ms_p50 == Approx(5));
  CHECK(snapshot.ttft_ms_mean == Approx(20));
  CHECK(snapshot.tbt_ms_mean == Approx(5));
  const auto times = statistics.ended(RequestId(1));
  REQUIRE(times.has_value());
  CHECK(start + 30ms - times->arrival == 30ms);
  CHECK_FALSE(times->launched.has_value());
  CHECK(times->first_token == start + 20ms);
  CHECK(times->last_token == start + 25ms);
  CHECK(times->num_tokens == 2);
  CHECK_FALSE(statistics.ended(RequestId(1)).has_value());
}

TEST_CASE("a request is launched once, whatever preemptions come after it") {
  SloStatistics statistics;
  const TimePoint start{};
  statistics.launched(RequestId(1), start);  // of one that was never admitted
  statistics.admitted(RequestId(1), RequestClass::offline, start);
  statistics.launched(RequestId(1), start + 3ms);
  statistics.launched(RequestId(1), start + 9ms);
  const auto times = statistics.ended(RequestId(1));
  CHECK(times->launched == start + 3ms);
  CHECK_FALSE(times->first_token.has_value());
  CHECK(times->request_class == RequestClass::offline);
}
