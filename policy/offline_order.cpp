// See offline_order.hpp.
#include "policy/offline_order.hpp"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "core/check.hpp"

namespace tandem::policy {
namespace {

/// Work is estimated; so much more of it is reckoned with when deadlines are weighed.
constexpr double work_allowance = 1.25;

}  // namespace

Result<OrderRule> parse_order_rule(std::string_view name) {
  if (name == "fcfs") return OrderRule::fcfs;
  if (name == "prefix") return OrderRule::prefix;
  if (name == "prefix_fair") return OrderRule::prefix_fair;
  return error(
      Errc::invalid_value,
      "offline_order is '" + std::string(name) + "'; allowed are fcfs, prefix and prefix_fair",
      "offline_order");
}

std::string_view to_string(OrderRule rule) {
  switch (rule) {
    case OrderRule::fcfs: return "fcfs";
    case OrderRule::prefix: return "prefix";
    case OrderRule::prefix_fair: break;
  }
  return "prefix_fair";
}

std::uint64_t max_passed(double utility_ratio) {
  // The subtraction rounds: 0.9 / (1 - 0.9) is a little above 9, and is meant to be 9.
  return static_cast<std::uint64_t>(std::ceil(utility_ratio / (1 - utility_ratio) - 1e-6));
}

OfflineOrder::OfflineOrder(const OfflineOrderOptions& options) : options_(options) {
  TANDEM_CHECK(options.utility_ratio >= 0 && options.utility_ratio <= 0.9999,
               "the utility ratio is in 0 .. 0.9999");
  max_passed_ = max_passed(options.utility_ratio);
}

void OfflineOrder::add_group(GroupId group, std::int64_t deadline) {
  const std::uint32_t index = groups_.add();
  groups_[index].id = group;
  groups_[index].deadline = deadline;
  TANDEM_CHECK(group_of_.emplace(group, index).second, "a group is added once");
}

void OfflineOrder::remove_group(GroupId group) {
  const auto found = group_of_.find(group);
  if (found == group_of_.end()) return;
  const std::uint32_t index = found->second;
  while (groups_[index].first != nowhere) remove(groups_[index].first);
  groups_.remove(index);
  group_of_.erase(found);
}

void OfflineOrder::insert(const OrderedItem& item, std::span<const std::uint32_t> key) {
  const auto found = group_of_.find(item.group);
  TANDEM_CHECK(found != group_of_.end(), "an item's group is there");
  const Item index = items_.add();
  Record& record = items_[index];
  Group& group = groups_[found->second];
  record.id = item.id;
  record.age = item.age;
  record.work = item.work.value();
  record.group = found->second;
  record.previous = std::exchange(group.last, index);
  (record.previous == nowhere ? group.first : items_[record.previous].next) = index;
  if (group.first == index) waiting_groups_.emplace(group.deadline, found->second);
  group.work += record.work;
  tree_.insert(index, key);
  ages_.insert(index, item.age);
}

void OfflineOrder::remove(Item item) {
  const Record record = items_[item];
  Group& group = groups_[record.group];
  (record.previous == nowhere ? group.first : items_[record.previous].next) = record.next;
  (record.next == nowhere ? group.last : items_[record.next].previous) = record.previous;
  if (group.first == nowhere) waiting_groups_.erase({group.deadline, record.group});
  group.work -= record.work;
  tree_.remove(item);
  ages_.remove(item);
  items_.remove(item);
}

void OfflineOrder::set_clock(std::int64_t now, double tokens_per_second) {
  urgent_until_.reset();
  double due = 0;  // work with this deadline or an earlier one
  for (const auto& [deadline, index] : waiting_groups_) {
    due += static_cast<double>(groups_[index].work);
    const double seconds = tokens_per_second > 0 ? work_allowance * due / tokens_per_second : 0;
    const double laxity = static_cast<double>(deadline - now) - seconds;
    if (laxity < static_cast<double>(options_.deadline_margin_seconds)) urgent_until_ = deadline;
  }
}

bool OfflineOrder::is_urgent(Item item) const {
  return urgent_until_ && groups_[items_[item].group].deadline <= *urgent_until_;
}

OfflineOrder::Item OfflineOrder::choose() const {
  const Item oldest = ages_.oldest();
  const PrefixTree::Next best = tree_.next();
  Item chosen = options_.rule == OrderRule::fcfs ? oldest : best.item;
  double shared = best.length == 0 || best.shared == 0
                      ? 0
                      : static_cast<double>(landmark_blocks(best.shared - 1).value()) /
                            static_cast<double>(landmark_blocks(best.length - 1).value());
  const auto& [first_deadline, first_group] = *waiting_groups_.begin();
  const bool some_are_urgent = urgent_until_ && first_deadline <= *urgent_until_;
  if (some_are_urgent) {
    if (!is_urgent(chosen)) chosen = groups_[first_group].first;
    shared = 1;
  }
  if (options_.rule != OrderRule::prefix_fair) return chosen;
  const bool age_wins = (1 - options_.utility_ratio) * static_cast<double>(passed_) >=
                        options_.utility_ratio * shared;
  return age_wins || passed_ >= max_passed_ ? oldest : chosen;
}

std::optional<OrderedItem> OfflineOrder::take() {
  if (items_.size() == 0) return std::nullopt;
  const Item item = choose();
  passed_ = item == ages_.oldest() ? 0 : passed_ + 1;
  const Record& record = items_[item];
  const OrderedItem taken{.id = record.id,
                          .group = groups_[record.group].id,
                          .age = record.age,
                          .work = Tokens(record.work)};
  tree_.visit(item);
  remove(item);
  return taken;
}

std::size_t OfflineOrder::bytes() const {
  return items_.bytes() + tree_.bytes() + ages_.bytes() + groups_.bytes();
}

void OfflineOrder::check() const {
  tree_.check();
  ages_.check();
  TANDEM_CHECK(ages_.size() == items_.size(), "every item has an age");
  std::size_t waiting = 0, counted = 0;
  for (const auto& [id, index] : group_of_) {
    const Group& group = groups_[index];
    TANDEM_CHECK(group.id == id, "a group is found by its id");
    waiting += group.first == nowhere ? 0U : 1U;
    TANDEM_CHECK(waiting_groups_.contains({group.deadline, index}) == (group.first != nowhere),
                 "a group with items waits");
    std::int64_t work = 0;
    Item previous = nowhere;
    for (Item item = group.first; item != nowhere; previous = item, item = items_[item].next) {
      TANDEM_CHECK(items_[item].previous == previous, "the links of a group agree");
      TANDEM_CHECK(items_[item].group == index, "an item is in its group");
      work += items_[item].work;
      ++counted;
    }
    TANDEM_CHECK(group.last == previous && group.work == work, "a group's sums are right");
  }
  TANDEM_CHECK(waiting == waiting_groups_.size(), "only groups with items wait");
  TANDEM_CHECK(counted == items_.size(), "every item is in a group");
}

}  // namespace tandem::policy
