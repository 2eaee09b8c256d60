// The order of offline items: sharing, age with its bound, deadlines, and leaving.
#include "policy/offline_order.hpp"

#include <catch2/catch.hpp>
#include <map>
#include <random>

#include "policy/age_heap.hpp"

namespace tandem::policy {
namespace {

constexpr std::int64_t far = 1'000'000'000;

OfflineOrderOptions options(OrderRule rule, double ratio = 0.9) {
  return {.rule = rule, .utility_ratio = ratio, .deadline_margin_seconds = 60};
}

/// A key of `length` landmarks whose first `shared` are those of family `family`.
PrefixKey key_of(std::uint32_t family, std::uint32_t own, std::size_t length, std::size_t shared) {
  PrefixKey key(length);
  for (std::size_t i = 0; i < length; ++i)
    key[i] = i < shared ? family * 1000 + 1 : 1'000'000 + own * 31 + static_cast<std::uint32_t>(i);
  return key;
}

std::vector<std::uint64_t> drain(OfflineOrder& order) {
  std::vector<std::uint64_t> ids;
  while (const auto taken = order.take()) {
    ids.push_back(taken->id);
    order.check();
  }
  return ids;
}
using Ids = std::vector<std::uint64_t>;

/// Two families, interleaved: even ids share with each other, odd ones likewise.
OfflineOrder interleaved(OrderRule rule, double ratio = 0.9) {
  OfflineOrder order(options(rule, ratio));
  order.add_group(1, far);
  for (std::uint32_t id = 0; id < 6; ++id)
    order.insert({.id = id, .group = 1, .age = id, .work = Tokens(100)}, key_of(id % 2, id, 10, 9));
  return order;
}

}  // namespace

TEST_CASE("fcfs goes by age, prefix by what is shared with the last") {
  auto fcfs = interleaved(OrderRule::fcfs);
  CHECK(drain(fcfs) == Ids{0, 1, 2, 3, 4, 5});
  auto prefix = interleaved(OrderRule::prefix);
  CHECK(drain(prefix) == Ids{0, 2, 4, 1, 3, 5});
}

TEST_CASE("the utility ratio weighs sharing against being passed over") {
  auto age_only = interleaved(OrderRule::prefix_fair, 0);
  CHECK(drain(age_only) == Ids{0, 1, 2, 3, 4, 5});
  // 0.5: a fraction of 0.9 shared is worth less than one item passed over.
  auto even = interleaved(OrderRule::prefix_fair, 0.5);
  CHECK(drain(even) == Ids{0, 2, 1, 3, 5, 4});
  auto sharing = interleaved(OrderRule::prefix_fair, 0.9);
  CHECK(drain(sharing) == Ids{0, 2, 4, 1, 3, 5});
}

TEST_CASE("what shares nothing with the last yields to the oldest") {
  OfflineOrder order(options(OrderRule::prefix_fair, 0.99));
  order.add_group(1, far);
  order.insert({.id = 5, .group = 1, .age = 5, .work = Tokens(1)}, key_of(1, 5, 4, 4));
  order.insert({.id = 3, .group = 1, .age = 3, .work = Tokens(1)}, key_of(2, 3, 4, 4));
  order.insert({.id = 4, .group = 1, .age = 4, .work = Tokens(1)}, {});
  CHECK(drain(order) == Ids{3, 4, 5});
}

TEST_CASE("max_passed is ratio / (1 - ratio), rounded up") {
  CHECK(max_passed(0) == 0);
  CHECK(max_passed(0.5) == 1);
  CHECK(max_passed(0.75) == 3);
  CHECK(max_passed(0.9) == 9);
  CHECK(max_passed(0.99) == 99);
  CHECK(max_passed(0.92) == 12);
}

TEST_CASE("no item waits longer than the stated bound under an endless stream that shares") {
  // Each take is answered by a new item that shares nearly all of its prompt with what was taken.
  // The loner shares nothing; `older` items that share are queued before it.
  for (const double ratio : {0.0, 0.3, 0.5, 0.9, 0.97, 0.99}) {
    for (const std::uint64_t older : {0U, 1U, 7U, 40U}) {
      for (const bool is_urgent : {false, true}) {
        OfflineOrder order(options(OrderRule::prefix_fair, ratio));
        order.add_group(1, is_urgent ? 1000 : far);
        order.add_group(2, far);
        std::uint64_t next = 0;
        const auto stream = [&order, &next] {
          const auto own = static_cast<std::uint32_t>(next);
          order.insert({.id = next, .group = 1, .age = next, .work = Tokens(100)},
                       key_of(1, own, 30, 29));
          ++next;
        };
        while (next < older) stream();
        const std::uint64_t loner = next++;
        order.insert({.id = loner, .group = 2, .age = loner, .work = Tokens(100)},
                     key_of(7, 7, 30, 30));
        for (int i = 0; i < 20; ++i) stream();
        order.set_clock(990, 0);  // the stream, if its deadline is 1000, is urgent as well
        const std::uint64_t bound = (older + 1) * (max_passed(ratio) + 1);
        std::uint64_t takes = 0;
        for (bool found = false; !found; stream()) {
          found = order.take()->id == loner;
          ++takes;
          INFO("ratio " << ratio << " older " << older << " takes " << takes);
          REQUIRE(takes <= bound);
        }
      }
    }
  }
}

TEST_CASE("without the age rule the same item starves") {
  OfflineOrder order(options(OrderRule::prefix));
  order.add_group(1, far);
  std::uint32_t next = 0;
  const auto stream = [&order, &next] {
    order.insert({.id = next, .group = 1, .age = next, .work = Tokens(100)},
                 key_of(1, next, 30, 29));
    ++next;
  };
  stream();
  order.take();
  order.insert({.id = 1'000'000, .group = 1, .age = 1, .work = Tokens(100)}, key_of(7, 7, 30, 30));
  for (int takes = 0; takes < 10'000; ++takes) {
    stream();
    REQUIRE(order.take()->id != 1'000'000);
  }
}

TEST_CASE("the bound holds for every item of random streams") {
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    std::mt19937_64 random(seed);
    const double ratio = static_cast<double>(random() % 96) / 100;
    OfflineOrder order(options(OrderRule::prefix_fair, ratio));
    for (GroupId group = 0; group < 4; ++group)
      order.add_group(group, static_cast<std::int64_t>(100 * group));
    std::map<std::uint64_t, std::uint64_t> latest;  // id -> number of the take that is its bound
    std::uint64_t next = 0, taken = 0;
    for (int step = 0; step < 3000; ++step) {
      if (random() % 100 < (step < 1000 ? 70U : 50U)) {
        const auto own = static_cast<std::uint32_t>(next);
        latest[next] = taken + (latest.size() + 1) * (max_passed(ratio) + 1);
        order.insert({.id = next, .group = random() % 4, .age = next, .work = Tokens(10)},
                     key_of(static_cast<std::uint32_t>(random() % 3), own, 12, random() % 13));
        ++next;
      } else if (const auto item = order.take()) {
        ++taken;
        INFO("seed " << seed << " item " << item->id);
        REQUIRE(taken <= latest.at(item->id));
        latest.erase(item->id);
      }
      if (random() % 50 == 0) order.set_clock(static_cast<std::int64_t>(random() % 500), 5);
      for (const auto& [id, take] : latest) REQUIRE(taken < take);
    }
    order.check();
  }
}

TEST_CASE("an item whose deadline nears goes first, and its like with it") {
  OfflineOrder order(options(OrderRule::prefix_fair, 0.9));
  order.add_group(1, far);
  order.add_group(2, 10'000);
  for (std::uint32_t id = 0; id < 4; ++id)
    order.insert({.id = id, .group = 1, .age = id, .work = Tokens(100)}, key_of(1, id, 10, 9));
  for (std::uint32_t id = 4; id < 7; ++id)
    order.insert({.id = id, .group = 2, .age = id, .work = Tokens(100)}, key_of(2, id, 10, 9));
  order.set_clock(5'000, 1'000);
  CHECK(order.take()->id == 0);
  order.set_clock(9'950, 1'000);  // fifty seconds: less than the margin
  CHECK(order.take()->id == 4);
  CHECK(order.take()->id == 5);
  CHECK(order.take()->id == 6);
  CHECK(order.take()->id == 1);
}

TEST_CASE("laxity counts all work that is due before: a long queue is urgent early") {
  OfflineOrder order(options(OrderRule::prefix, 0.9));
  order.add_group(1, far);
  order.add_group(2, 10'000);
  order.insert({.id = 1, .group = 1, .age = 1, .work = Tokens(100)}, key_of(1, 1, 10, 9));
  order.insert({.id = 2, .group = 1, .age = 2, .work = Tokens(100)}, key_of(1, 2, 10, 9));
  order.insert({.id = 3, .group = 2, .age = 3, .work = Tokens(40'000)}, key_of(2, 3, 10, 9));
  CHECK(order.take()->id == 1);
  order.set_clock(4'000, 10);  // 40,000 tokens at 10/s and a quarter: 5,000 s of 6,000 s
  order.insert({.id = 4, .group = 1, .age = 4, .work = Tokens(100)}, key_of(1, 4, 10, 9));
  CHECK(order.take()->id == 2);
  order.set_clock(4'950, 10);  // 5,050 s are left, 5,000 needed: less than the margin
  CHECK(order.take()->id == 3);
  order.set_clock(4'950, 10);
  CHECK(order.take()->id == 4);
}

TEST_CASE("a group that leaves takes its items along, and nothing else") {
  OfflineOrder order(options(OrderRule::prefix_fair));
  order.add_group(1, far);
  order.add_group(2, far);
  for (std::uint32_t id = 0; id < 10; ++id)
    order.insert({.id = id, .group = 1 + id % 2, .age = id, .work = Tokens(1)},
                 key_of(1, id, 10, id % 5));
  order.remove_group(1);
  order.remove_group(9);
  order.check();
  CHECK(order.size() == 5);
  CHECK(order.num_groups() == 1);
  auto ids = drain(order);
  std::sort(ids.begin(), ids.end());
  CHECK(ids == Ids{1, 3, 5, 7, 9});
  CHECK(!order.take());
  order.add_group(1, far);  // the number is free again
}

TEST_CASE("an item that comes back with its old age is as old as it was") {
  OfflineOrder order(options(OrderRule::fcfs));
  order.add_group(1, far);
  for (std::uint32_t id = 0; id < 3; ++id)
    order.insert({.id = id, .group = 1, .age = id, .work = Tokens(1)}, {});
  const auto first = *order.take();
  order.insert(first, {});
  CHECK(drain(order) == Ids{0, 1, 2});
}

TEST_CASE("order rules have names, and an unknown name is told the known") {
  CHECK(parse_order_rule("fcfs").value() == OrderRule::fcfs);
  CHECK(parse_order_rule("prefix").value() == OrderRule::prefix);
  CHECK(parse_order_rule("prefix_fair").value() == OrderRule::prefix_fair);
  const auto wrong = parse_order_rule("fifo");
  REQUIRE(!wrong);
  CHECK(wrong.error().message.find("fcfs, prefix and prefix_fair") != std::string::npos);
}

TEST_CASE("the age heap gives the oldest over random histories") {
  std::mt19937_64 random(11);
  AgeHeap heap;
  std::map<std::uint64_t, AgeHeap::Item> model;
  std::vector<bool> used(400);
  for (int step = 0; step < 20'000; ++step) {
    const auto item = static_cast<AgeHeap::Item>(random() % used.size());
    const auto found = std::find_if(model.begin(), model.end(),
                                    [item](const auto& entry) { return entry.second == item; });
    if (found == model.end()) {
      const std::uint64_t age = random() << 10 | static_cast<std::uint64_t>(item);
      heap.insert(item, age);
      model[age] = item;
    } else {
      heap.remove(item);
      model.erase(found);
    }
    REQUIRE(heap.oldest() == (model.empty() ? nowhere : model.begin()->second));
    if (step % 500 == 0) heap.check();
  }
}

}  // namespace tandem::policy
