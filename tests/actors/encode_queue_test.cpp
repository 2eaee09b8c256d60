// Which job an encoder takes next, and what does not fit.
#include "actors/encode_queue.hpp"

#include <catch2/catch.hpp>

namespace tandem {
namespace {

constexpr auto online = RequestClass::online;
constexpr auto offline = RequestClass::offline;
using Start = EncodeQueue::Start;

/// All that may start now.
std::vector<Start> started(EncodeQueue& queue) {
  std::vector<Start> all;
  while (const auto start = queue.next()) all.push_back(*start);
  return all;
}

}  // namespace

TEST_CASE("each encoder has one job, and the next one goes to whoever is done first") {
  EncodeQueue queue(2, 8);
  for (EncodeQueue::Job job = 1; job <= 4; ++job) REQUIRE(queue.add(job, online));
  CHECK(started(queue) == std::vector<Start>{{1, 0}, {2, 1}});
  queue.done(1);
  CHECK(started(queue) == std::vector<Start>{{3, 1}});
  queue.done(1);
  queue.done(0);
  CHECK(started(queue) == std::vector<Start>{{4, 0}});
}

TEST_CASE("online jobs go before offline ones, each class by age") {
  EncodeQueue queue(1, 8);
  REQUIRE(queue.add(1, offline));
  CHECK(started(queue) == std::vector<Start>{{1, 0}});
  REQUIRE(queue.add(2, offline));
  REQUIRE(queue.add(3, online));
  REQUIRE(queue.add(4, offline));
  REQUIRE(queue.add(5, online));
  std::vector<EncodeQueue::Job> order;
  for (int i = 0; i < 4; ++i) {
    queue.done(0);
    for (const auto& start : started(queue)) order.push_back(start.job);
  }
  CHECK(order == std::vector<EncodeQueue::Job>{3, 5, 2, 4});
}

TEST_CASE("jobs that wait are bounded; one that an idle encoder takes does not wait") {
  EncodeQueue queue(1, 2);
  REQUIRE(queue.add(1, online));
  REQUIRE(started(queue).size() == 1);
  REQUIRE(queue.add(2, online));
  REQUIRE(queue.add(3, offline));
  CHECK_FALSE(queue.add(4, online));
  CHECK_FALSE(queue.add(4, offline));
  CHECK(queue.waiting() == 2);
  CHECK(queue.remove(3));
  CHECK(queue.add(4, online));

  EncodeQueue none(1, 0);
  REQUIRE(none.add(1, online));
  REQUIRE(started(none).size() == 1);
  CHECK_FALSE(none.add(2, online));
}

TEST_CASE("only a job that waits can be taken out") {
  EncodeQueue queue(1, 4);
  REQUIRE(queue.add(1, online));
  REQUIRE(started(queue).size() == 1);
  REQUIRE(queue.add(2, offline));
  CHECK_FALSE(queue.remove(1));
  CHECK(queue.remove(2));
  CHECK_FALSE(queue.remove(2));
  queue.done(0);
  CHECK(started(queue).empty());
}

}  // namespace tandem
