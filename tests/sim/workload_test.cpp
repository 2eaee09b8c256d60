// The rules of a workload, and the prompts made up for it.
#include "sim/workload.hpp"

#include <catch2/catch.hpp>

namespace tandem::sim {
namespace {

using std::chrono::seconds;

WorkloadRequest request(std::int64_t at, std::int64_t prompt, std::int64_t output) {
  WorkloadRequest request;
  request.arrival = seconds(at);
  request.prompt_tokens = Tokens(prompt);
  request.output_tokens = Tokens(output);
  return request;
}

std::string error_of(std::vector<WorkloadRequest> requests) {
  const auto checked = check(Workload{"trace.csv", Tokens(512), std::move(requests)});
  return checked ? "" : checked.error().message;
}

}  // namespace

TEST_CASE("a workload that breaks a rule is named with the place of the request") {
  CHECK(error_of({request(0, 1, 1), request(0, 5, 2), request(3, 1, 1)}).empty());
  CHECK_THAT(error_of({request(-1, 1, 1)}), Catch::Contains("request 1 arrives before the start"));
  CHECK_THAT(error_of({request(2, 1, 1), request(1, 1, 1)}), Catch::Contains("request 2 arrives"));
  CHECK_THAT(error_of({request(0, 0, 1)}), Catch::Contains("no prompt"));
  CHECK_THAT(error_of({request(0, 1, 0)}), Catch::Contains("generates nothing"));
  auto wrong = request(0, 3, 1);
  wrong.prompt = {1, 2};
  CHECK_THAT(error_of({wrong}), Catch::Contains("says 3 prompt tokens and has a prompt of 2"));
  auto many = request(0, 512, 1);
  many.prefix_ids = {1, 2};
  CHECK_THAT(error_of({many}), Catch::Contains("more than its 512 prompt tokens"));
}

TEST_CASE("prompts begin alike for as many tokens as their leading prefix ids are equal") {
  Workload workload{"", Tokens(4), {request(0, 14, 1), request(0, 14, 1), request(0, 14, 1)}};
  workload.requests[0].prefix_ids = {7, 8, 9};
  workload.requests[1].prefix_ids = {7, 8, 5};
  const auto a = prompt_of(workload, 0, 50000);
  const auto b = prompt_of(workload, 1, 50000);
  const auto c = prompt_of(workload, 2, 50000);
  REQUIRE(a.size() == 14);
  CHECK(std::equal(a.begin(), a.begin() + 8, b.begin()));
  CHECK_FALSE(std::equal(a.begin() + 8, a.begin() + 12, b.begin() + 8));
  CHECK_FALSE(std::equal(a.begin() + 12, a.end(), b.begin() + 12));
  CHECK_FALSE(std::equal(a.begin(), a.begin() + 4, c.begin()));
  CHECK(a == prompt_of(workload, 0, 50000));
  for (const TokenId token : prompt_of(workload, 0, 10)) CHECK((token >= 0 && token < 10));
}

TEST_CASE("merging keeps the order of arrival, and online in front") {
  Workload online{"conv", Tokens(512), {request(0, 1, 1), request(5, 2, 1)}};
  Workload offline{"arxiv", Tokens(512), {request(0, 3, 1), request(0, 4, 1)}};
  const auto merged = merge(online, offline);
  CHECK(merged.name == "conv + arxiv");
  std::vector<std::int64_t> prompts;
  for (const auto& each : merged.requests) prompts.push_back(each.prompt_tokens.value());
  CHECK(prompts == std::vector<std::int64_t>{1, 3, 4, 2});
  CHECK(check(merged).has_value());
}

}  // namespace tandem::sim
