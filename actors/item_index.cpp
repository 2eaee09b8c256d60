// See item_index.hpp.
#include "actors/item_index.hpp"

#include <algorithm>

#include "actors/item_desk.hpp"

namespace tandem {
namespace {

constexpr std::int64_t portion_items = 64, portion_bytes = 256 << 10;
/// How much of an allowed answer is reckoned with when deadlines are weighed: calls often allow
/// all that the context has left and use little of it.
constexpr Tokens likely_answer{256};

/// An item's number in the order, and its age: batches one after the other, lines in order.
std::uint64_t item_id(std::uint32_t batch, std::int64_t line_no) {
  return std::uint64_t{batch} << 32 | static_cast<std::uint32_t>(line_no);
}

Tokens work_of(const std::vector<Request>& requests) {
  Tokens work{0};
  for (const auto& request : requests)
    work += Tokens(static_cast<std::int64_t>(request.prompt.size())) +
            std::min(request.stop.max_tokens, likely_answer);
  return work;
}

}  // namespace

ItemIndex::ItemIndex(ServedModelPtr model, api::ParseLimits limits,
                     const policy::OfflineOrderOptions& options)
    : model_(std::move(model)), limits_(std::move(limits)), hasher_(0), order_(options) {}

void ItemIndex::add_batch(const store::BatchInfo& batch) {
  if (number_of_.contains(batch.id)) return;
  const Number number = next_number_++;
  number_of_.emplace(batch.id, number);
  batches_.emplace(number, Batch{batch.id, batch.endpoint, batch.expires_at, 0});
  to_read_.emplace(batch.expires_at, number);
  order_.add_group(number, batch.expires_at);
}

void ItemIndex::drop_batch(const std::string& id) {
  const auto found = number_of_.find(id);
  if (found == number_of_.end()) return;
  const Number number = found->second;
  to_read_.erase({batches_.at(number).deadline, number});
  const auto of_batch = [&id](const store::ItemKey& item) { return item.batch_id == id; };
  std::erase_if(returned_, of_batch);
  std::erase_if(first_, of_batch);
  order_.remove_group(number);
  batches_.erase(number);
  number_of_.erase(found);
}

void ItemIndex::add_returned(std::span<const store::ItemRef> items) {
  for (const auto& item : items)
    if (number_of_.contains(item.batch_id)) returned_.push_back({item.batch_id, item.line_no});
}

/// An item that is wrong by itself shares with nobody; it is rejected when its turn comes.
void ItemIndex::insert(Number number, const Batch& batch, const store::ReadyItem& item) {
  policy::OrderedItem entry{.id = item_id(number, item.line_no),
                            .group = number,
                            .age = item_id(number, item.line_no),
                            .work = Tokens(1)};
  policy::PrefixKey key;
  const auto prepared = prepare_item({.text = item.text,
                                      .endpoint = batch.endpoint,
                                      .batch_id = batch.id,
                                      .line_no = item.line_no},
                                     *model_, limits_);
  if (prepared && !prepared->requests.empty()) {
    const Request& first = prepared->requests.front();
    key = policy::make_prefix_key(hasher_, first.cache_namespace, first.prompt);
    entry.work = work_of(prepared->requests);
  }
  order_.insert(entry, key);
}

Result<void> ItemIndex::read_returned(store::Store& store) {
  std::int64_t bytes = 0;
  for (std::int64_t n = 0; n < portion_items && bytes < portion_bytes && !returned_.empty(); ++n) {
    const auto key = returned_.front();
    const auto ready = store.ready_items(key.batch_id, key.line_no, 1, portion_bytes);
    if (!ready) return ready.error();
    returned_.pop_front();
    // Only if it is still the same: it may have ended with its batch, or be a suspect.
    if (ready->empty() || ready->front().line_no != key.line_no) continue;
    bytes += static_cast<std::int64_t>(ready->front().text.size());
    const Number number = number_of_.at(key.batch_id);
    insert(number, batches_.at(number), ready->front());
  }
  return {};
}

Result<void> ItemIndex::read_some(store::Store& store) {
  if (!returned_.empty()) return read_returned(store);
  if (to_read_.empty()) return {};
  const auto next = *to_read_.begin();
  Batch& batch = batches_.at(next.second);
  const auto ready = store.ready_items(batch.id, batch.next_line, portion_items, portion_bytes);
  if (!ready) return ready.error();
  if (ready->empty()) to_read_.erase(next);
  for (const auto& item : *ready) {
    insert(next.second, batch, item);
    batch.next_line = item.line_no + 1;
  }
  return {};
}

std::vector<store::ItemKey> ItemIndex::take(std::int64_t count) {
  std::vector<store::ItemKey> items;
  while (static_cast<std::int64_t>(items.size()) < count) {
    if (!first_.empty()) {
      items.push_back(std::move(first_.front()));
      first_.pop_front();
      continue;
    }
    const auto item = order_.take();
    if (!item) break;
    const auto line_no = static_cast<std::int64_t>(item->id & 0xffffffffU);
    items.push_back({batches_.at(static_cast<Number>(item->group)).id, line_no});
  }
  return items;
}

Result<std::vector<store::ClaimedItem>> ItemIndex::claim(store::Store& store, std::int64_t count,
                                                         std::int64_t unix_now) {
  const auto turn = store.suspect_turn(unix_now);
  if (!turn) return turn.error();
  if (turn->running || (turn->due && turn->others_run)) return std::vector<store::ClaimedItem>();
  if (turn->due) return store.claim_items(std::span(&*turn->due, 1), unix_now);
  for (;;) {
    // Returned items are old, and few; the others are read ahead, a portion at a time.
    while (!returned_.empty() || (size() == 0 && reading()))
      if (auto read = read_some(store); !read) return read.error();
    auto items = take(count);
    if (items.empty()) return std::vector<store::ClaimedItem>();
    auto claimed = store.claim_items(items, unix_now);
    if (!claimed) {
      first_.insert(first_.end(), items.begin(), items.end());
      return claimed;
    }
    if (!claimed->empty()) return claimed;  // else all of them had ended: on to the next
  }
}

Result<bool> ItemIndex::has_claimable(store::Store& store, std::int64_t unix_now) {
  const auto turn = store.suspect_turn(unix_now);
  if (!turn) return turn.error();
  if (turn->running) return false;
  if (turn->due) return !turn->others_run;
  return size() > 0 || reading();
}

void ItemIndex::set_clock(std::int64_t unix_now, double tokens_per_second) {
  order_.set_clock(unix_now, tokens_per_second);
}

}  // namespace tandem
