// See offline_source.hpp.
#include "sim/offline_source.hpp"

#include <algorithm>
#include <limits>

#include "policy/prefix_key.hpp"

namespace tandem::sim {
namespace {

/// All items are of one group, whose deadline never comes near.
constexpr policy::GroupId only_group = 0;
constexpr std::int64_t no_deadline = std::numeric_limits<std::int64_t>::max() / 2;

/// Whether it matters how prompts begin. Under prefix_fair items that share nothing run by age, and
/// made-up prompts share only what prefix ids say: then no token needs to be made up.
bool looks_at_prompts(const Workload& workload, policy::OrderRule rule) {
  if (rule != policy::OrderRule::prefix_fair) return rule == policy::OrderRule::prefix;
  return std::any_of(workload.requests.begin(), workload.requests.end(),
                     [](const WorkloadRequest& each) {
                       return each.request_class == RequestClass::offline &&
                              !(each.prompt.empty() && each.prefix_ids.empty());
                     });
}

}  // namespace

OfflineSource::OfflineSource(const Workload& workload, bool endless,
                             const policy::OfflineOrderOptions& order, std::int64_t vocab_size)
    : workload_(&workload),
      vocab_size_(vocab_size),
      looks_at_prompts_(looks_at_prompts(workload, order.rule)),
      batches_(workload, endless),
      order_(order) {
  order_.add_group(only_group, no_deadline);
}

void OfflineSource::insert(OfflineItem item) {
  const WorkloadRequest& request = workload_->requests[item.index];
  const std::uint64_t number = item.number(*workload_);
  policy::PrefixKey key;
  if (looks_at_prompts_)
    key = policy::make_prefix_key(hasher_, 0,
                                  prompt_of(*workload_, item.index, vocab_size_, item.repetition));
  order_.insert({.id = number,
                 .group = only_group,
                 .age = number,
                 .work = request.prompt_tokens + request.output_tokens},
                key);
}

void OfflineSource::push(Duration now) {
  for (;;) {
    const auto items = batches_.next(now, ready());
    if (items.empty()) return;
    for (const OfflineItem& item : items) insert(item);
  }
}

std::vector<OfflineItem> OfflineSource::take(std::uint32_t count) {
  const std::uint64_t size = workload_->requests.size();
  std::vector<OfflineItem> items;
  while (items.size() < count) {
    const auto taken = order_.take();
    if (!taken) break;
    items.push_back({static_cast<std::size_t>(taken->id % size), taken->id / size});
  }
  return items;
}

void OfflineSource::give_back(OfflineItem item) { insert(item); }

}  // namespace tandem::sim
