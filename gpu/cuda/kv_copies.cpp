// See kv_copies.hpp.
#include "gpu/cuda/kv_copies.hpp"

#include <algorithm>
#include <string>
#include <utility>

#include "core/check.hpp"

namespace tandem::gpu::cuda {
namespace {

std::size_t index_of(HostSlot slot) { return static_cast<std::size_t>(slot); }

std::string text_of(std::size_t value) { return std::to_string(value); }

}  // namespace

std::vector<KvPiece> pieces_of(const KvPool& pool, BlockId block, std::int64_t largest) {
  const KvStrides strides(pool.shape, pool.blocks.value(), pool.order);
  const bool by_block = pool.order == KvOrder::block_major;
  const std::int64_t runs = by_block ? 1 : pool.shape.layers;
  const std::int64_t run_bytes = kv_block_bytes(pool.shape).value() / runs;
  std::vector<KvPiece> pieces;
  for (std::int64_t run = 0; run < runs; ++run) {
    auto* begin = pool.data + 2 * strides.key_at(raw(block), run, 0, 0);
    for (std::int64_t at = 0; at < run_bytes; at += largest)
      pieces.push_back(
          {begin + at, run * run_bytes + at, Bytes(std::min(largest, run_bytes - at))});
  }
  return pieces;
}

KvCopies::KvCopies(Driver& driver, const KvPool& pool, std::size_t num_slots,
                   std::int64_t largest_piece)
    : driver_(driver),
      pool_(pool),
      slot_bytes_(kv_block_bytes(pool.shape).value()),
      largest_piece_(largest_piece),
      num_slots_(num_slots),
      states_(std::make_shared<std::vector<std::atomic<State>>>(num_slots)) {
  for (auto i = num_slots; i-- > 0;) free_.push_back(HostSlot(static_cast<std::uint32_t>(i)));
}

Result<std::unique_ptr<KvCopies>> KvCopies::make(Driver& driver, const KvPool& pool, Bytes arena,
                                                 std::int64_t largest_piece) {
  TANDEM_CHECK(largest_piece > 0 && largest_piece <= max_copy_bytes, "a piece beyond its bound");
  const auto block = kv_block_bytes(pool.shape).value();
  // An id of a slot has 32 bits.
  const auto slots = std::min<std::int64_t>(arena.value() / block, (1LL << 32) - 1);
  if (slots < 1)
    return error(Errc::invalid_value,
                 "host_kv_bytes is " + std::to_string(arena.value()) +
                     "; allowed is what holds at least one KV block of " + std::to_string(block) +
                     " bytes",
                 "host_kv_bytes");
  std::unique_ptr<KvCopies> made(
      new KvCopies(driver, pool, static_cast<std::size_t>(slots), largest_piece));
  if (auto r = made->make_resources(); !r) return r.error();
  return made;
}

Result<void> KvCopies::make_resources() {
  if (auto r = driver_.make_current(); !r) return r;
  auto arena =
      MappedBuffer::make(driver_, Bytes(static_cast<std::int64_t>(num_slots_) * slot_bytes_));
  if (!arena) return arena.error();
  arena_ = std::move(*arena);
  for (auto* stream : {&out_, &in_}) {
    auto made = make_stream(driver_, StreamPriority::low);
    if (!made) return made.error();
    *stream = std::move(*made);
  }
  for (auto* event : {&out_gate_, &in_gate_, &prefetched_}) {
    auto made = make_event(driver_);
    if (!made) return made.error();
    *event = std::move(*made);
  }
  return {};
}

KvCopies::~KvCopies() {
  // A failure was reported to whoever queued the copy.
  static_cast<void>(driver_.make_current());
  for (const auto* stream : {&out_, &in_})
    if (*stream) static_cast<void>(driver_.synchronize(stream->get()));
}

std::span<const std::byte> KvCopies::bytes_of(HostSlot slot) const {
  const auto size = static_cast<std::size_t>(slot_bytes_);
  return {arena_.host() + index_of(slot) * size, size};
}

// ---- what may be asked -------------------------------------------------------------------------

Result<void> KvCopies::check_blocks(std::span<const BlockId> blocks) const {
  for (const auto block : blocks)
    if (raw(block) >= pool_.blocks.value())
      return error(Errc::invalid_value,
                   "KV block " + std::to_string(raw(block)) +
                       " is to be copied; allowed are 0 to " +
                       std::to_string(pool_.blocks.value() - 1),
                   "blocks");
  return {};
}

Result<void> KvCopies::check_slots(std::span<const HostSlot> slots, bool to_read) const {
  std::vector<HostSlot> sorted(slots.begin(), slots.end());
  std::sort(sorted.begin(), sorted.end());
  if (const auto twice = std::adjacent_find(sorted.begin(), sorted.end()); twice != sorted.end())
    return error(Errc::invalid_value, "host slot " + text_of(index_of(*twice)) + " is named twice",
                 "slots");
  for (const auto slot : slots) {
    const auto index = index_of(slot);
    if (index >= num_slots_)
      return error(
          Errc::invalid_value,
          "host slot " + text_of(index) + " is none; allowed are 0 to " + text_of(num_slots_ - 1),
          "slots");
    const auto state = (*states_)[index].load();
    if (state == State::full || (state == State::torn && !to_read)) continue;
    const char* is = state == State::free      ? "free"
                     : state == State::writing ? "still being written"
                     : state == State::reading ? "being read"
                                               : "incomplete after a failure";
    return error(Errc::invalid_value,
                 "host slot " + text_of(index) + " is " + is +
                     "; allowed are slots whose checkpoint was reported done",
                 "slots");
  }
  return {};
}

template <class Queue>
Result<void> KvCopies::attempt(const Queue& queue) {
  auto result = queue();
  if (!result) failed_ = result.error();
  return result;
}

// ---- copies ------------------------------------------------------------------------------------

Result<std::vector<HostSlot>> KvCopies::checkpoint(std::span<const BlockId> blocks, Stream compute,
                                                   Driver::Notification done) {
  if (failed_) return *failed_;
  if (auto r = check_blocks(blocks); !r) return r.error();
  if (blocks.size() > free_.size())
    return error(Errc::overloaded,
                 text_of(blocks.size()) + " KV blocks are to be kept on the host; " +
                     text_of(free_.size()) + " of " + text_of(num_slots_) +
                     " slots are free (host_kv_bytes)",
                 "host_kv_bytes");
  std::vector<HostSlot> slots(free_.end() - static_cast<std::ptrdiff_t>(blocks.size()),
                              free_.end());
  if (auto r = attempt([&] { return queue_out(blocks, slots, compute); }); !r) return r.error();
  free_.resize(free_.size() - slots.size());
  for (const auto slot : slots) (*states_)[index_of(slot)] = State::writing;
  notify(out_.get(), slots, State::torn, std::move(done));
  return slots;
}

Result<void> KvCopies::queue_out(std::span<const BlockId> blocks, std::span<const HostSlot> slots,
                                 Stream compute) {
  if (auto r = driver_.make_current(); !r) return r;
  if (auto r = driver_.record(out_gate_.get(), compute); !r) return r;
  if (auto r = driver_.wait(out_.get(), out_gate_.get()); !r) return r;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    auto* slot = arena_.host() + static_cast<std::int64_t>(index_of(slots[i])) * slot_bytes_;
    for (const auto& piece : pieces_of(pool_, blocks[i], largest_piece_))
      if (auto r = driver_.copy_to_host(slot + piece.slot_offset, piece.at, piece.size, out_.get());
          !r)
        return r;
  }
  return {};
}

Result<void> KvCopies::prefetch(std::span<const HostSlot> slots, std::span<const BlockId> blocks,
                                Stream compute, Driver::Notification done) {
  if (failed_) return *failed_;
  if (slots.size() != blocks.size())
    return error(Errc::invalid_value,
                 text_of(slots.size()) + " host slots are to go to " + text_of(blocks.size()) +
                     " KV blocks; allowed is one for each",
                 "slots");
  if (auto r = check_blocks(blocks); !r) return r;
  if (auto r = check_slots(slots, true); !r) return r;
  if (auto r = attempt([&] { return queue_in(slots, blocks, compute); }); !r) return r;
  for (const auto slot : slots) (*states_)[index_of(slot)] = State::reading;
  // What failed to arrive is still whole on the host.
  notify(in_.get(), {slots.begin(), slots.end()}, State::full, std::move(done));
  return {};
}

Result<void> KvCopies::queue_in(std::span<const HostSlot> slots, std::span<const BlockId> blocks,
                                Stream compute) {
  if (auto r = driver_.make_current(); !r) return r;
  if (auto r = driver_.record(in_gate_.get(), compute); !r) return r;
  if (auto r = driver_.wait(in_.get(), in_gate_.get()); !r) return r;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const auto* slot = bytes_of(slots[i]).data();
    for (const auto& piece : pieces_of(pool_, blocks[i], largest_piece_))
      if (auto r =
              driver_.copy_to_device(piece.at, slot + piece.slot_offset, piece.size, in_.get());
          !r)
        return r;
  }
  return driver_.record(prefetched_.get(), in_.get());
}

Result<void> KvCopies::before_read(Stream compute) {
  if (failed_) return *failed_;
  return attempt([&] { return driver_.wait(compute, prefetched_.get()); });
}

void KvCopies::notify(Stream stream, std::vector<HostSlot> slots, State after_failure,
                      Driver::Notification done) {
  driver_.notify(stream, [states = states_, slots = std::move(slots), after_failure,
                          done = std::move(done)](Result<void> result) {
    for (const auto slot : slots) (*states)[index_of(slot)] = result ? State::full : after_failure;
    done(std::move(result));
  });
}

Result<void> KvCopies::release(std::span<const HostSlot> slots) {
  if (auto r = check_slots(slots, false); !r) return r;
  for (const auto slot : slots) {
    (*states_)[index_of(slot)] = State::free;
    free_.push_back(slot);
  }
  return {};
}

}  // namespace tandem::gpu::cuda
