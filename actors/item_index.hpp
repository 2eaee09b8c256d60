// The batch items that are still to be run, in the order in which they are to run: what lies
// between the store, which knows them all, and the scheduler, which is handed a few. Of an item it
// keeps its place in its batch, its length and the fingerprints of its prompt, never its text; the
// store is read in portions, and a new process reads it again from the first line. Claims stay
// the store's: an item is handed out only under a fencing token. No CAF.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <set>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "actors/served_model.hpp"
#include "api/parse.hpp"
#include "core/result.hpp"
#include "policy/offline_order.hpp"
#include "store/store.hpp"

namespace tandem {

class ItemIndex {
 public:
  ItemIndex(ServedModelPtr model, api::ParseLimits limits,
            const policy::OfflineOrderOptions& options);

  /// A batch in progress: its items will be read, batches with near deadlines first.
  void add_batch(const store::BatchInfo& batch);
  /// It ended, or will: what is left of its items leaves. Unknown ones are ignored.
  void drop_batch(const std::string& id);
  /// Items went back to the store and may be ready again.
  void add_returned(std::span<const store::ItemRef> items);

  /// Something is still to be read.
  [[nodiscard]] bool reading() const { return !returned_.empty() || !to_read_.empty(); }
  /// Reads, tokenizes and inserts one portion: 64 items or 256 KiB of text. An error is the
  /// store's; the same portion is read again by the next call.
  Result<void> read_some(store::Store& store);

  /// Claims up to `count` items, the next ones in order; reads on if it has none. A suspect whose
  /// turn it is goes before all others, alone. Empty: there is nothing to claim now.
  Result<std::vector<store::ClaimedItem>> claim(store::Store& store, std::int64_t count,
                                                std::int64_t unix_now);
  /// True if claim() might return something now.
  Result<bool> has_claimable(store::Store& store, std::int64_t unix_now);
  /// See OfflineOrder::set_clock.
  void set_clock(std::int64_t unix_now, double tokens_per_second);

  /// Items that are read and not claimed.
  [[nodiscard]] std::size_t size() const { return order_.size() + first_.size(); }

 private:
  struct Batch {
    std::string id, endpoint;
    std::int64_t deadline = 0;
    std::int64_t next_line = 0;
  };
  using Number = std::uint32_t;  ///< batches are numbered in the order in which they were added

  Result<void> read_returned(store::Store& store);
  void insert(Number number, const Batch& batch, const store::ReadyItem& item);
  std::vector<store::ItemKey> take(std::int64_t count);

  ServedModelPtr model_;
  api::ParseLimits limits_;
  policy::BlockHasher hasher_;
  policy::OfflineOrder order_;
  std::map<Number, Batch> batches_;
  std::unordered_map<std::string, Number> number_of_;
  std::set<std::pair<std::int64_t, Number>> to_read_;  ///< by deadline
  std::deque<store::ItemKey> returned_;                ///< to be read one by one
  std::deque<store::ItemKey> first_;                   ///< taken, and then not claimed
  Number next_number_ = 0;
};

}  // namespace tandem
