// The load generator's arithmetic: arrivals, traces, prompts, percentiles, goodput.
#include <catch2/catch.hpp>
#include <cmath>
#include <fstream>

#include "cli/client/statistics.hpp"
#include "cli/client/workload.hpp"
#include "tests/support/temporary_folder.hpp"

using namespace tandem;
using namespace tandem::client;

namespace {

Result<std::vector<Arrival>> trace_of(const std::string& text, std::size_t count = 1000,
                                      double speed = 1) {
  const tests::TemporaryFolder folder;
  std::ofstream(folder.path() / "trace.csv") << text;
  return read_trace(folder.path() / "trace.csv", count, speed);
}

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

TEST_CASE("Poisson arrivals have the rate, and depend on the seed alone") {
  ArrivalOptions options{.rate = 50, .count = 20000, .input = {10, 20}, .output = {5, 5}};
  const auto arrivals = poisson_arrivals(options);
  REQUIRE(arrivals.size() == 20000);
  CHECK(arrivals.front().seconds == 0);
  const double mean = arrivals.back().seconds / static_cast<double>(arrivals.size() - 1);
  CHECK(mean == Approx(0.02).epsilon(0.05));
  double variance = 0;
  for (std::size_t i = 1; i < arrivals.size(); ++i) {
    const auto gap = arrivals[i].seconds - arrivals[i - 1].seconds;
    REQUIRE(gap >= 0);
    variance += (gap - mean) * (gap - mean) / static_cast<double>(arrivals.size() - 1);
  }
  CHECK(std::sqrt(variance) == Approx(mean).epsilon(0.05));  // as an exponential distribution's
  for (const auto& one : arrivals) {
    REQUIRE(one.input_tokens >= 10);
    REQUIRE(one.input_tokens <= 20);
    REQUIRE(one.output_tokens == 5);
  }
  const auto again = poisson_arrivals(options);
  CHECK(again.back().seconds == arrivals.back().seconds);
  options.seed = 1;
  CHECK(poisson_arrivals(options).back().seconds != arrivals.back().seconds);
}

TEST_CASE("arrivals end with the duration, or come all at once") {
  ArrivalOptions options{.rate = 100, .count = 100000, .duration = 2};
  const auto timed = poisson_arrivals(options);
  CHECK(timed.back().seconds <= 2);
  CHECK(timed.size() > 100);
  options = {.rate = std::numeric_limits<double>::infinity(), .count = 7};
  const auto burst = poisson_arrivals(options);
  REQUIRE(burst.size() == 7);
  CHECK(burst.back().seconds == 0);
}

TEST_CASE("lengths are one number or a range") {
  CHECK(parse_length("128")->least == 128);
  CHECK(parse_length("64:256")->most == 256);
  for (const auto* text : {"", "0", "-1", "a", "5:4", "1:", ":5", "1:2:3", "1048577", "1.5"}) {
    INFO(text);
    CHECK_FALSE(parse_length(text).has_value());
  }
}

TEST_CASE("a trace has seconds or timestamps, with or without a header") {
  const auto plain = trace_of("10.5,100,20\n11,50,0\n");
  REQUIRE(plain.has_value());
  REQUIRE(plain->size() == 2);
  CHECK((*plain)[0].seconds == 0);
  CHECK((*plain)[1].seconds == Approx(0.5));
  CHECK((*plain)[1].input_tokens == 50);
  CHECK((*plain)[1].output_tokens == 1);  // at least one is asked for
  const auto azure = trace_of(
      "TIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-11-16 23:59:59.5000000,374,44\r\n"
      "2023-11-17 00:00:01.5000000,396,109\r\n",
      1000, 4);
  REQUIRE(azure.has_value());
  REQUIRE(azure->size() == 2);
  CHECK((*azure)[1].seconds == Approx(0.5));
  CHECK((*azure)[1].output_tokens == 109);
  CHECK(trace_of("1,1,1\n2,1,1\n3,1,1\n", 2)->size() == 2);
}

TEST_CASE("a wrong trace is refused with its line") {
  struct Row {
    const char *text, *says;
  };
  const auto row = GENERATE(
      Row{"a,b,c\n1,2,3\nx,2,3\n", ":3: 'x,2,3'"}, Row{"1,2\n", ":1: "}, Row{"1,2,3,4\n", ":1: "},
      Row{"1,0,3\n1,1,1\n1,-1,1\n", ":3: "}, Row{"1,9999999,3\n0,a,b\n", ":2: "},
      Row{"5,1,1\n4,1,1\n", ":2: arrives before"}, Row{"2023-13-01 00:00:00,1,1\nx\n", ":2: "},
      Row{"", "no trace"}, Row{"arrival,prompt,output\n", "no trace"});
  const auto result = trace_of(row.text);
  INFO(row.text);
  REQUIRE_FALSE(result.has_value());
  INFO(result.error().message);
  CHECK(result.error().message.find(row.says) != std::string::npos);
}

TEST_CASE("the Azure traces are read whole") {
  const std::string file = "../shared/data/azure-llm-2023/AzureLLMInferenceTrace_conv.csv";
  if (!std::filesystem::exists(file)) {
    WARN("skipped: " << file << " is not here");
    return;
  }
  const auto arrivals = read_trace(file, 1 << 20, 1);
  REQUIRE(arrivals.has_value());
  CHECK(arrivals->size() == 19366);
  CHECK(arrivals->back().seconds > 3000);
}

TEST_CASE("random prompts differ but for the prefix they are to share") {
  const auto a = random_prompt(1, 0, 100, 30, 500), b = random_prompt(1, 1, 100, 30, 500);
  CHECK(a == random_prompt(1, 0, 100, 30, 500));
  CHECK(std::equal(a.begin(), a.begin() + 30, b.begin()));
  CHECK_FALSE(std::equal(a.begin() + 30, a.end(), b.begin() + 30));
  CHECK(random_prompt(2, 0, 100, 30, 500) != a);
  for (const auto token : a) CHECK((token >= 0 && token < 500));
}

TEST_CASE("prompts are the lines of a file that hold something") {
  const tests::TemporaryFolder folder;
  const auto file = folder.path() / "prompts.txt";
  std::ofstream(file) << "one\n\n  \ntwo words\n";
  CHECK(*read_prompts(file) == std::vector<std::string>{"one", "two words"});
  std::ofstream(file) << "\n";
  CHECK_FALSE(read_prompts(file).has_value());
  CHECK_FALSE(read_prompts(folder.path() / "none").has_value());
}
