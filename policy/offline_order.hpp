// Which offline items run next: those that share the longest prefix with the one before, unless an
// item is old enough, or its deadline near enough, to go first. Prefix sharing maximization of
// HyGen (arXiv 2501.14808), plain and fair, with deadlines as laxity.
//
// Fair: let d be the item that shares best, sharing the fraction s of its prompt with the last
// taken; o the oldest item; w the number of items taken since one was the oldest of its time. o is
// taken if (1 - utility_ratio) * w >= utility_ratio * s, else d. After o, the order goes on among
// those that share with o. So at most
//     max_passed = ceil(utility_ratio / (1 - utility_ratio))
// items in a row pass over the oldest, whatever they share, whatever is inserted meanwhile, and
// even if their deadlines are near.
//   Bound: an item before which n older ones are queued is taken at the latest as number
//   (n + 1) * (max_passed + 1) from now. (Items given back with their old age count as older.)
//
// Deadlines: an item is urgent if the work that is due by its deadline would, at the rate given and
// with a quarter on top, end less than deadline_margin before it. Urgent items go before all
// others, the earliest deadline first, but while the best sharing item is urgent too, that one.
//
// Memory per item: its record, its place in tree and heap, and the fingerprints of what it shares
// with nobody (bench/offline_order.cpp prints the sum). Prompts are not kept.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/result.hpp"
#include "core/units.hpp"
#include "policy/age_heap.hpp"
#include "policy/prefix_key.hpp"
#include "policy/prefix_tree.hpp"
#include "policy/slab.hpp"

namespace tandem::policy {

enum class OrderRule : std::uint8_t { fcfs, prefix, prefix_fair };
/// "fcfs", "prefix" or "prefix_fair"; another name is an error that lists them.
Result<OrderRule> parse_order_rule(std::string_view name);
std::string_view to_string(OrderRule rule);

struct OfflineOrderOptions {
  OrderRule rule = OrderRule::prefix_fair;
  double utility_ratio = 0.99;  ///< of sharing to age, 0 .. 0.9999
  std::int64_t deadline_margin_seconds = 60;
};

/// How many items in a row may pass over the oldest under `prefix_fair`.
std::uint64_t max_passed(double utility_ratio);

/// Items that have a deadline in common and leave together: a batch. The caller gives numbers.
using GroupId = std::uint64_t;

struct OrderedItem {
  std::uint64_t id = 0;  ///< the caller's; given back by take()
  GroupId group = 0;
  std::uint64_t age = 0;  ///< lower is older
  Tokens work{0};         ///< tokens to compute, cached or not: what its deadline is weighed with
};

class OfflineOrder {
 public:
  explicit OfflineOrder(const OfflineOrderOptions& options);

  /// `deadline` in seconds of the caller's clock.
  void add_group(GroupId group, std::int64_t deadline);
  /// With all items that are left in it. Unknown groups are ignored.
  void remove_group(GroupId group);
  /// The item's group is there. `key` may be empty: it shares with nobody.
  void insert(const OrderedItem& item, std::span<const std::uint32_t> key);
  /// Which items are urgent until the next call; they are not before the first. `tokens_per_second`
  /// is what offline work gets done of `work`; 0: unknown, deadlines alone count.
  void set_clock(std::int64_t now, double tokens_per_second);
  /// Removes and returns the item that is to run next.
  std::optional<OrderedItem> take();

  [[nodiscard]] std::size_t size() const { return items_.size(); }
  [[nodiscard]] std::size_t num_groups() const { return groups_.size(); }
  [[nodiscard]] std::size_t bytes() const;  ///< memory taken
  /// Walks everything and aborts on a broken invariant; for tests.
  void check() const;

 private:
  using Item = std::uint32_t;
  struct Record {
    std::uint64_t id = 0, age = 0;
    std::int64_t work = 0;
    std::uint32_t group = nowhere;
    Item next = nowhere, previous = nowhere;  ///< in its group
  };
  struct Group {
    GroupId id = 0;
    std::int64_t deadline = 0;
    std::int64_t work = 0;
    Item first = nowhere, last = nowhere;
  };

  [[nodiscard]] Item choose() const;
  [[nodiscard]] bool is_urgent(Item item) const;
  void remove(Item item);

  OfflineOrderOptions options_;
  std::uint64_t max_passed_;
  Slab<Record> items_;
  PrefixTree tree_;
  AgeHeap ages_;
  Slab<Group> groups_;
  std::unordered_map<GroupId, std::uint32_t> group_of_;
  std::set<std::pair<std::int64_t, std::uint32_t>> waiting_groups_;  ///< with items, by deadline
  std::optional<std::int64_t> urgent_until_;  ///< items with deadlines up to it are urgent
  std::uint64_t passed_ = 0;                  ///< items taken since the oldest was
};

}  // namespace tandem::policy
