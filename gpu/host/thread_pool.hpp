// The host device's threads. A job is a count of equal pieces that threads take one by one, so a
// thread that is held up by a neighbour on its core costs its own piece and nothing else: there is
// no barrier at which everybody waits for everybody. Workers that find nothing spin for some
// microseconds, then sleep; an idle pool costs nothing.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <type_traits>
#include <vector>

namespace tandem::gpu {

class ThreadPool {
 public:
  /// `threads`: how many work on a job, the caller included; at least 1.
  explicit ThreadPool(std::uint32_t threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  [[nodiscard]] std::uint32_t threads() const {
    return static_cast<std::uint32_t>(workers_.size()) + 1;
  }

  /// A job that takes less than this, in nanoseconds, is not worth waking anybody for.
  static constexpr std::int64_t least_job = 6000;

  /// Calls body(i) once for each i in [0, count), on any thread; returns when all are done. One
  /// caller at a time. `cost` is a guess of what one piece takes, in nanoseconds.
  template <class Body>
  void run(std::int64_t count, Body&& body, std::int64_t cost = least_job) {
    if (count == 1 || count * cost < least_job) {
      for (std::int64_t i = 0; i < count; ++i) body(i);
      return;
    }
    using Plain = std::remove_reference_t<Body>;
    run_job(
        count, [](void* context, std::int64_t i) { (*static_cast<Plain*>(context))(i); }, &body);
  }

 private:
  using Piece = void (*)(void* context, std::int64_t index);
  void run_job(std::int64_t count, Piece piece, void* context);
  void work();
  void take_pieces();
  bool join(std::uint64_t& seen);

  // The job, valid while state_ says that it is open or somebody is in it.
  Piece piece_ = nullptr;
  void* context_ = nullptr;
  std::int64_t count_ = 0;
  alignas(64) std::atomic<std::int64_t> next_{0};
  /// generation << 17 | open << 16 | workers inside. Workers join an open job by raising the count;
  /// the caller closes it and then waits only for those that did join.
  alignas(64) std::atomic<std::uint64_t> state_{0};
  alignas(64) std::atomic<std::uint32_t> sleepers_{0};
  std::atomic<std::uint32_t> wake_{0};
  std::atomic<bool> ends_{false};
  std::vector<std::thread> workers_;
};

}  // namespace tandem::gpu
