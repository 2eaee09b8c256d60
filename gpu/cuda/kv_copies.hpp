// KV blocks between the device's pool and pinned host memory, beside the work of the compute
// stream: checkpoints leave on one low-priority stream, prefetches come back on another. The arena
// of block-sized slots is allocated once. A copy out begins when everything that was queued on the
// compute stream before it is done; a copy in likewise, and the compute stream waits for it only
// where before_read() says so. Nothing here waits; completion is told by the driver. Who calls
// (one thread at a time) keeps a block as it is until its copy is reported, and decides what is
// copied.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "gpu/cuda/model_shape.hpp"
#include "gpu/cuda/resources.hpp"

namespace tandem::gpu::cuda {

/// No copy is larger, so that none keeps another waiting for long.
inline constexpr std::int64_t max_copy_bytes = 2LL << 20;

struct KvPool {
  std::byte* data = nullptr;
  ModelShape shape;
  Blocks blocks{0};
  KvOrder order = kv_order;
};

/// A part of a block that is contiguous in the pool.
struct KvPiece {
  std::byte* at = nullptr;       ///< in the pool
  std::int64_t slot_offset = 0;  ///< in a slot, which holds its block as a block-major pool does
  Bytes size{0};
};
/// The whole of a block, in pieces of at most `largest` bytes: in one row over all layers where the
/// pool is block-major, layer by layer otherwise.
std::vector<KvPiece> pieces_of(const KvPool& pool, BlockId block,
                               std::int64_t largest = max_copy_bytes);

/// A place for one block in the arena.
enum class HostSlot : std::uint32_t {};

class KvCopies {
 public:
  /// Fails if `arena` holds no block (`host_kv_bytes`) or the driver refuses. `largest_piece` is at
  /// most max_copy_bytes.
  static Result<std::unique_ptr<KvCopies>> make(Driver& driver, const KvPool& pool, Bytes arena,
                                                std::int64_t largest_piece = max_copy_bytes);
  /// Waits for what is being copied.
  ~KvCopies();

  [[nodiscard]] Blocks slots() const { return Blocks(static_cast<std::int64_t>(num_slots_)); }
  [[nodiscard]] Blocks free_slots() const {
    return Blocks(static_cast<std::int64_t>(free_.size()));
  }

  /// Queues copies of `blocks` to slots of the arena, which it takes; `done` comes when all have
  /// arrived or failed. An error queues nothing and takes nothing: Errc::overloaded if there are
  /// too few free slots, Errc::invalid_value for a block beyond the pool. After an error of the
  /// device every call returns that error.
  Result<std::vector<HostSlot>> checkpoint(std::span<const BlockId> blocks, Stream compute,
                                           Driver::Notification done);
  /// Queues the way back: slots[i] to blocks[i]. Slots stay taken. Errc::invalid_value if a slot
  /// holds no complete block or is being read, or the two differ in length.
  Result<void> prefetch(std::span<const HostSlot> slots, std::span<const BlockId> blocks,
                        Stream compute, Driver::Notification done);
  /// What is queued on `compute` from now on runs after every prefetch so far.
  Result<void> before_read(Stream compute);
  /// Gives slots back. Errc::invalid_value for one that is free already or being copied.
  Result<void> release(std::span<const HostSlot> slots);
  /// A slot's bytes; of meaning once its checkpoint is reported.
  [[nodiscard]] std::span<const std::byte> bytes_of(HostSlot slot) const;

 private:
  enum class State : std::uint8_t { free, writing, full, reading, torn };
  /// Changed by notifications, which may come after this object is gone.
  using States = std::shared_ptr<std::vector<std::atomic<State>>>;

  KvCopies(Driver& driver, const KvPool& pool, std::size_t num_slots, std::int64_t largest_piece);
  Result<void> make_resources();
  [[nodiscard]] Result<void> check_blocks(std::span<const BlockId> blocks) const;
  [[nodiscard]] Result<void> check_slots(std::span<const HostSlot> slots, bool to_read) const;
  /// What `queue` fails with is what every later call returns.
  template <class Queue>
  Result<void> attempt(const Queue& queue);
  Result<void> queue_out(std::span<const BlockId> blocks, std::span<const HostSlot> slots,
                         Stream compute);
  Result<void> queue_in(std::span<const HostSlot> slots, std::span<const BlockId> blocks,
                        Stream compute);
  void notify(Stream stream, std::vector<HostSlot> slots, State after_failure,
              Driver::Notification done);

  Driver& driver_;
  const KvPool pool_;
  const std::int64_t slot_bytes_, largest_piece_;
  const std::size_t num_slots_;
  MappedBuffer arena_;
  OwnedStream out_, in_;
  OwnedEvent out_gate_, in_gate_, prefetched_;
  States states_;
  std::vector<HostSlot> free_;
  std::optional<Error> failed_;
};

}  // namespace tandem::gpu::cuda
