// The batch items that the engine is working on: which requests belong to which item, what they
// have said so far, and what becomes of the item when the last of them has ended. No CAF, no store
// calls.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "actors/served_model.hpp"
#include "api/choice_stream.hpp"
#include "api/parse.hpp"
#include "core/request.hpp"
#include "core/result.hpp"
#include "store/store.hpp"

namespace tandem {

/// An item of a batch, as the store gives it.
struct ItemText {
  std::string_view text, endpoint, batch_id;
  std::int64_t line_no = 0;
};
struct PreparedItem {
  GenerateCall call;
  std::vector<Request> requests;  ///< without ids and arrival
  PromptEnd prompt_end = PromptEnd::plain;
};
/// Parses and tokenizes an item. An error is the item's own fault.
Result<PreparedItem> prepare_item(const ItemText& item, const ServedModel& model,
                                  const api::ParseLimits& limits);

class ItemDesk {
 public:
  ItemDesk(ServedModelPtr model, api::ParseLimits limits);

  /// Takes a claimed item in: its engine requests. On an error, which is the item's own fault, the
  /// item is not kept; `rejected` turns it into a result.
  Result<std::vector<RequestPtr>> open(const store::ClaimedItem& item, TimePoint now);
  static store::FinishedItem rejected(const store::ItemRef& ref, const Error& reason);

  /// What an event led to. Nothing is set while the item goes on.
  struct Step {
    std::optional<store::FinishedItem> finished;
    std::optional<store::ItemRef>
        returned;  ///< the engine failed under it, or it was cancelled: give it back
    store::ReturnReason return_reason = store::ReturnReason::drained;
    std::vector<RequestId> cancel;  ///< requests that need not go on
  };
  Step push(const TokenEvent& event, std::int64_t unix_now);

  /// Requests of the batch's items, to be cancelled; the items will be returned, not finished.
  std::vector<RequestId> give_up_batch(const std::string& batch_id);
  [[nodiscard]] std::size_t size() const { return items_.size(); }

 private:
  struct Item {
    store::ItemRef ref;
    std::unique_ptr<api::CallCollector> collector;
    std::size_t requests_left = 0;
    std::vector<RequestId> requests;
    bool given_up = false;
    bool engine_failed = false;
  };
  Step close(std::uint64_t key, std::int64_t unix_now);

  ServedModelPtr model_;
  api::ParseLimits limits_;
  std::uint64_t next_request_ = first_item_request_id;
  std::uint64_t next_item_ = 0;
  std::map<std::uint64_t, Item> items_;  ///< by age
  std::unordered_map<RequestId, std::uint64_t> item_of_;
};

}  // namespace tandem
