// The load generator's arithmetic: lengths, percentiles, goodput.
#include <catch2/catch.hpp>

#include "cli/client/length.hpp"
#include "cli/client/statistics.hpp"

using namespace tandem;
using namespace tandem::client;

namespace {

Measured measured(double ttft, std::vector<float> gaps, std::int64_t tokens) {
  Measured one;
  one.ok = true;
  one.ttft_ms = ttft;
  one.e2e_ms = ttft;
  for (const auto gap : gaps) one.e2e_ms += static_cast<double>(gap);
  one.gaps_ms = std::move(gaps);
  one.output_tokens = tokens;
  return one;
}

}  // namespace

TEST_CASE("percentiles interpolate as numpy's do") {
  const auto s = spread({4, 1, 3, 2});
  CHECK(s.count == 4);
  CHECK(s.mean == Approx(2.5));
  CHECK(s.p50 == Approx(2.5));
  CHECK(s.p90 == Approx(3.7));
  CHECK(s.p99 == Approx(3.97));
  CHECK(s.max == 4);
  CHECK(spread({7}).p99 == 7);
  CHECK(spread({}).count == 0);
}

TEST_CASE("goodput counts requests that meet every objective, tbt in each gap") {
  const auto objectives = parse_objectives("ttft:100,tbt:50");
  REQUIRE(objectives.has_value());
  CHECK(objectives->met_by(measured(100, {50, 10}, 3)));
  CHECK_FALSE(objectives->met_by(measured(100.1, {10}, 2)));
  CHECK_FALSE(objectives->met_by(measured(10, {10, 51, 10}, 4)));
  auto failed = measured(1, {}, 1);
  failed.ok = false;
  CHECK_FALSE(objectives->met_by(failed));
  const auto others = parse_objectives("tpot:20,e2e:120");
  CHECK(others->met_by(measured(100, {20}, 2)));
  CHECK_FALSE(others->met_by(measured(70, {21}, 2)));
  CHECK_FALSE(others->met_by(measured(101, {20}, 2)));
  CHECK_FALSE(parse_objectives("")->any());
  for (const auto* text : {"ttft", "ttft:", "ttft:x", "ttft:-1", "ttft:0", "tbt:1s", "fast:1",
                           "ttft:nan", "ttft:1,,tbt:1"}) {
    INFO(text);
    CHECK_FALSE(parse_objectives(text).has_value());
  }
}

TEST_CASE("a summary pools gaps, and takes TPOT per request") {
  auto late = measured(30, {}, 1);
  late.scheduled_ms = 5;
  late.sent_ms = 9;
  Measured failed;
  failed.failure = "status 503";
  const auto s = summarize({measured(10, {1, 3}, 3), measured(20, {5}, 3), late, failed, failed},
                           *parse_objectives("ttft:25"));
  CHECK(s.completed == 3);
  CHECK(s.failed == 2);
  CHECK(s.good == 2);
  CHECK(s.tbt.count == 3);
  CHECK(s.tbt.mean == Approx(3));
  CHECK(s.tpot.count == 2);
  CHECK(s.tpot.mean == Approx((2.0 + 2.5) / 2));
  CHECK(s.ttft.p50 == Approx(20));
  CHECK(s.chunks == 6);
  CHECK(s.output_tokens == 7);
  CHECK(s.lateness.max == Approx(4));
  REQUIRE(s.failures.size() == 1);
  CHECK(s.failures[0] == std::pair<std::string, std::size_t>("status 503", 2));
}

TEST_CASE("lengths are one number or a range") {
  CHECK(parse_length("128")->least == 128);
  CHECK(parse_length("64:256")->most == 256);
  for (const auto* text : {"", "0", "-1", "a", "5:4", "1:", ":5", "1:2:3", "1048577", "1.5"}) {
    INFO(text);
    CHECK_FALSE(parse_length(text).has_value());
  }
}
