// The client of full mode that pushes offline work: writes items into files, creates batches of
// them, and looks at what has become of them, by the messages that the front sends for a real one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "actors/protocols.hpp"
#include "core/result.hpp"
#include "sim/offline_batches.hpp"
#include "sim/virtual_runtime.hpp"

namespace tandem::sim {

class BatchClient {
 public:
  /// References must outlive this.
  BatchClient(VirtualRuntime& virtual_time, const Workload& workload, std::int64_t vocab_size,
              std::string model)
      : virtual_time_(&virtual_time),
        workload_(&workload),
        vocab_size_(vocab_size),
        model_(std::move(model)) {}

  /// The queue of the process's new life; null while there is none.
  void attach(OfflineQueue queue) { queue_ = std::move(queue); }

  /// One batch of `items`, validated when this returns. Errors are the store's, or say what the
  /// validation found.
  Result<void> push(const std::vector<OfflineItem>& items);
  [[nodiscard]] std::uint64_t items_pushed() const { return items_pushed_; }

  /// Looks for batches that have ended, and removes their files. Returns the items without a
  /// result, which the queue gave up.
  Result<std::vector<OfflineItem>> collect();
  /// Every batch had ended at the last collect().
  [[nodiscard]] bool all_ended() const { return open_.empty(); }

 private:
  template <class T, class Message>
  Result<T> ask(Message message);
  Result<void> write(const std::string& path, const std::vector<OfflineItem>& items) const;
  Result<std::vector<OfflineItem>> read_errors(const std::string& file_id);

  VirtualRuntime* virtual_time_;
  const Workload* workload_;
  std::int64_t vocab_size_;
  std::string model_;
  OfflineQueue queue_;
  std::vector<std::string> open_;  ///< batches that have not ended
  std::uint64_t items_pushed_ = 0;
};

}  // namespace tandem::sim
