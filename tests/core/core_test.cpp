// The vocabulary: units that do not mix, plans that add up, failures that name themselves.
#include <catch2/catch.hpp>
#include <set>
#include <stdexcept>
#include <type_traits>

#include "core/check.hpp"
#include "core/plan.hpp"
#include "core/request.hpp"
#include "core/result.hpp"
#include "core/units.hpp"
#include "tests/support/death.hpp"

namespace tandem {
namespace {

template <class A, class B>
concept Addable = requires(A a, B b) {
  a + b;
};
template <class A, class B>
concept Comparable = requires(A a, B b) {
  a < b;
};

// Counts of different things, and counts and bare numbers, do not mix; ids are never added.
static_assert(Addable<Tokens, Tokens>);
static_assert(!Addable<Tokens, Blocks> && !Addable<Tokens, int> && !Comparable<Tokens, Bytes>);
static_assert(!std::is_convertible_v<int, Tokens>);
static_assert(!Addable<RequestId, RequestId> && !Comparable<BlockId, SlotId>);

}  // namespace

TEST_CASE("counts add, subtract and compare") {
  Tokens count(5);
  count += Tokens(3);
  count -= Tokens(10);
  CHECK(count == Tokens(-2));
  CHECK(count + Tokens(2) == Tokens(0));
  CHECK((count + Tokens(2)).is_zero());
  CHECK(Tokens(1) - Tokens(2) < Tokens(0));
}

TEST_CASE("time converts to the units of logs and metrics") {
  CHECK(to_ms(std::chrono::microseconds(1500)) == 1.5);
  CHECK(to_seconds(std::chrono::milliseconds(250)) == 0.25);
}

TEST_CASE("blocks are counted upwards") {
  CHECK(blocks_for(Tokens(0)) == Blocks(0));
  CHECK(blocks_for(Tokens(1)) == Blocks(1));
  CHECK(blocks_for(Tokens(16)) == Blocks(1));
  CHECK(blocks_for(Tokens(17)) == Blocks(2));
}

TEST_CASE("a plan's slices see their own tokens") {
  Plan plan;
  plan.token_ids = {1, 2, 3, 4};
  Slice prefill, decode;
  prefill.request_class = decode.request_class = RequestClass::offline;
  prefill.num_tokens = 3;
  prefill.tokens = {1, 3};
  decode.num_tokens = 1;
  plan.slices = {prefill, decode};
  CHECK(plan.tokens_of(plan.slices[0])[0] == 2);
  CHECK(plan.tokens_of(plan.slices[1]).empty());
  CHECK(plan.num_rows() == 4);
  CHECK(plan.offline_only());
  plan.slices[1].request_class = RequestClass::online;
  CHECK_FALSE(plan.offline_only());
}

TEST_CASE("every name of an enumerator is its own") {
  std::set<std::string_view> names;
  const int last = static_cast<int>(Errc::internal);
  for (int code = 1; code <= last; ++code) names.insert(to_string(static_cast<Errc>(code)));
  CHECK(names.size() == static_cast<std::size_t>(last));
  CHECK(names.count("unknown") == 0);
  CHECK(to_string(Errc::context_length_exceeded) == "context_length_exceeded");
  CHECK(to_string(RequestClass::online) == "online");
  CHECK(to_string(RequestClass::offline) == "offline");
  CHECK(to_string(FinishReason::stop) == "stop");
  CHECK(to_string(FinishReason::length) == "length");
  CHECK(to_string(FinishReason::cancelled) == "cancelled");
  CHECK(to_string(FinishReason::failed) == "failed");
}

TEST_CASE("a result holds a value or says what was wrong") {
  const Result<int> good = 3;
  CHECK(good.value() == 3);
  const Result<int> bad = error(Errc::invalid_value, "port must be 1 to 65535", "port");
  REQUIRE(bad.has_error());
  CHECK(bad.error() == Error{Errc::invalid_value, "port must be 1 to 65535", "port"});
  CHECK_THROWS_WITH(bad.value(), Catch::Contains("port must be 1 to 65535"));
}

TEST_CASE("a failed check names its condition, its place and the rule, and aborts") {
  const int blocks = 3;
  const std::string words =
      test::last_words([&] { TANDEM_CHECK(blocks == 4, "blocks are conserved"); });
  CHECK_THAT(words, Catch::Contains("blocks == 4") && Catch::Contains("core_test.cpp") &&
                        Catch::Contains("blocks are conserved"));
  CHECK(test::last_words([&] { TANDEM_CHECK(blocks == 3, "fine"); }).empty());
}

}  // namespace tandem
