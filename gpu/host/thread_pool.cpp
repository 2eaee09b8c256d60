// See thread_pool.hpp.
#include "gpu/host/thread_pool.hpp"

#include <chrono>
#include <immintrin.h>

namespace tandem::gpu {
namespace {

constexpr std::uint64_t open_bit = 1ULL << 16;
constexpr std::uint64_t inside_mask = open_bit - 1;
constexpr std::uint64_t generation_step = 1ULL << 17;
/// The phases of an iteration follow each other within this time; a sleep and a wake cost twice as
/// much.
constexpr auto spin_time = std::chrono::microseconds(40);

std::uint64_t generation(std::uint64_t state) { return state / generation_step; }

}  // namespace

ThreadPool::ThreadPool(std::uint32_t threads) {
  for (std::uint32_t i = 1; i < threads; ++i) workers_.emplace_back([this] { work(); });
}

ThreadPool::~ThreadPool() {
  ends_ = true;
  ++wake_;
  wake_.notify_all();
  for (auto& worker : workers_) worker.join();
}

void ThreadPool::take_pieces() {
  for (auto i = next_.fetch_add(1, std::memory_order_relaxed); i < count_;
       i = next_.fetch_add(1, std::memory_order_relaxed))
    piece_(context_, i);
}

void ThreadPool::run_job(std::int64_t count, Piece piece, void* context) {
  if (count <= 0) return;
  piece_ = piece;
  context_ = context;
  count_ = count;
  next_.store(0, std::memory_order_relaxed);
  if (workers_.empty() || count == 1) return take_pieces();
  state_.store(
      (generation(state_.load(std::memory_order_relaxed)) + 1) * generation_step | open_bit,
      std::memory_order_seq_cst);
  if (sleepers_.load(std::memory_order_seq_cst) > 0) {
    ++wake_;
    wake_.notify_all();
  }
  take_pieces();
  state_.fetch_and(~open_bit, std::memory_order_acq_rel);
  for (int spins = 0; (state_.load(std::memory_order_acquire) & inside_mask) != 0; ++spins)
    spins < 1000 ? _mm_pause() : std::this_thread::yield();
}

/// Enters the job that is open, if it is not the one this worker was in last.
bool ThreadPool::join(std::uint64_t& seen) {
  auto state = state_.load(std::memory_order_seq_cst);
  while ((state & open_bit) != 0 && generation(state) != seen)
    if (state_.compare_exchange_weak(state, state + 1, std::memory_order_acq_rel)) {
      seen = generation(state);
      return true;
    }
  return false;
}

void ThreadPool::work() {
  std::uint64_t seen = 0;
  auto idle_since = std::chrono::steady_clock::now();
  while (!ends_) {
    if (join(seen)) {
      take_pieces();
      state_.fetch_sub(1, std::memory_order_acq_rel);
      idle_since = std::chrono::steady_clock::now();
      continue;
    }
    if (std::chrono::steady_clock::now() - idle_since < spin_time) {
      _mm_pause();
      continue;
    }
    const auto wake = wake_.load();
    ++sleepers_;
    // A job that was opened before the count was raised is seen here; one opened after it wakes us.
    const auto state = state_.load(std::memory_order_seq_cst);
    if (!ends_ && ((state & open_bit) == 0 || generation(state) == seen)) wake_.wait(wake);
    --sleepers_;
    idle_since = std::chrono::steady_clock::now();
  }
}

}  // namespace tandem::gpu
