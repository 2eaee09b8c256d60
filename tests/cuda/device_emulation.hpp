// Stands in for gpu/cuda/kernels/device.cuh: the kernels' own text, run on the host. A block's
// threads are fibers that run until they meet a barrier or an exchange of their warp, in an order
// that is shuffled anew each time, a few blocks by turns; what a kernel may not do (a lane missing
// from an exchange, a barrier that some never reach, a thread that meets others or ends before it
// waited for the stream, an address that is not aligned or not in shared memory) stops the program
// with a word on what was wrong. Matrix instructions follow the PTX ISA's fragment layouts ("Matrix
// Fragments for mma.m16n8k16", "ldmatrix"). Asynchronous copies arrive at once or at their wait, by
// chance; shared memory begins as NaN.
#pragma once

#define TANDEM_DEVICE_EMULATED
#define TANDEM_KERNEL
#define TANDEM_DEVICE inline
#define TANDEM_UNROLL
#define TANDEM_LAUNCH_BOUNDS(...)
#define TANDEM_KERNEL_BUILD emulated_build

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>

#include "gpu/cuda/driver.hpp"
#include "gpu/cuda/kernels/launching.hpp"
#include "model/float_formats.hpp"

namespace tandem::tests {

/// What a Stream handle points to under emulation.
class EmulatedStream {
 public:
  virtual ~EmulatedStream() = default;
  /// Takes work that a kernel launch or a copy queued.
  virtual void enqueue(std::function<void()> work) = 0;
};

void emulation_require(bool holds, const char* what);

/// Runs a grid of (x, y) blocks to its end: some at the same time, in any order.
void run_grid(std::int64_t x, std::int64_t y, int threads, std::size_t shared_bytes,
              const std::function<void()>& kernel);

// What the running thread asks of its block.
int emulated_thread_index();
int emulated_num_threads();
int emulated_block_x();
int emulated_block_y();
std::byte* emulated_shared_memory();
bool in_shared_memory(const void* address, std::size_t bytes);
void emulated_wait_for_stream();
void emulated_barrier();
/// All lanes of the warp meet here with their `data`; `complete` sees them in order of lanes.
void emulated_exchange(void* data, void (*complete)(void* const* lanes));
void emulated_copy_async(void* to, const void* from, bool valid);
void emulated_commit();
void emulated_wait(int pending);

struct TileOperands {
  float* d;
  const std::uint32_t* a;
  std::uint32_t b[2];
};
void complete_multiply(void* const* lanes);
struct TileLoad {
  std::uint32_t* result;
  const std::uint16_t* row;
};
void complete_load(void* const* lanes);
void complete_load_transposed(void* const* lanes);

}  // namespace tandem::tests

namespace tandem::gpu::cuda::emulated_build {

inline constexpr int warp_size = 32;

inline int thread_index() { return tests::emulated_thread_index(); }
inline int num_threads() { return tests::emulated_num_threads(); }
inline int block_x() { return tests::emulated_block_x(); }
inline int block_y() { return tests::emulated_block_y(); }
inline int lane_index() { return thread_index() % warp_size; }
inline int warp_index() { return thread_index() / warp_size; }
inline std::byte* shared_memory() { return tests::emulated_shared_memory(); }
inline void wait_for_stream() { tests::emulated_wait_for_stream(); }
inline void block_barrier() { tests::emulated_barrier(); }
inline void warp_barrier() {
  tests::emulated_exchange(nullptr, [](void* const*) {});
}

template <class T>
struct Shuffle {
  T value;
  int from;
  T result;
};
template <class T>
T exchange(T value, int from) {
  Shuffle<T> own{value, from, value};
  tests::emulated_exchange(&own, [](void* const* lanes) {
    for (int lane = 0; lane < warp_size; ++lane) {
      auto* one = static_cast<Shuffle<T>*>(lanes[lane]);
      one->result = static_cast<Shuffle<T>*>(lanes[one->from])->value;
    }
  });
  return own.result;
}
template <class T>
T shuffle(T value, int lane) {
  return exchange(value, lane % warp_size);
}
template <class T>
T shuffle_xor(T value, int mask) {
  return exchange(value, lane_index() ^ mask);
}
template <class T>
T shuffle_up(T value, int distance) {
  return exchange(value, lane_index() < distance ? lane_index() : lane_index() - distance);
}

template <class T>
void atomic_add(T* to, T value) {
  *to += value;
}
inline std::uint32_t count_arrival(std::uint32_t* counter, std::uint32_t others) {
  const auto before = *counter;
  *counter = before >= others ? 0 : before + 1;
  return before;
}
inline void system_fence() {}

inline float bits_as_float(std::uint32_t bits) { return std::bit_cast<float>(bits); }
inline std::uint32_t float_as_bits(float value) { return std::bit_cast<std::uint32_t>(value); }
inline float exp2_of(float x) { return std::exp2(x); }
inline float log2_of(float x) { return std::log2(x); }
inline std::uint32_t pack_bf16(float low, float high) {
  return static_cast<std::uint32_t>(model::bf16_of_f32(low)) |
         static_cast<std::uint32_t>(model::bf16_of_f32(high)) << 16;
}

inline void multiply_tiles(float (&d)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                           std::uint32_t b1) {
  tests::TileOperands own{d, a, {b0, b1}};
  tests::emulated_exchange(&own, tests::complete_multiply);
}
inline void load_tiles(std::uint32_t (&r)[4], const std::uint16_t* row) {
  tests::TileLoad own{r, row};
  tests::emulated_exchange(&own, tests::complete_load);
}
inline void load_tiles_transposed(std::uint32_t (&r)[4], const std::uint16_t* row) {
  tests::TileLoad own{r, row};
  tests::emulated_exchange(&own, tests::complete_load_transposed);
}

inline void copy_async(void* to, const void* from, bool valid) {
  tests::emulated_copy_async(to, from, valid);
}
inline void copy_async_commit() { tests::emulated_commit(); }
template <int pending>
void copy_async_wait() {
  tests::emulated_wait(pending);
}

template <auto kernel>
int compiled_for(int& architecture) {
  architecture = 90;
  return 0;
}

/// Without a stream the grid runs at once.
template <Launching, auto kernel, class Args>
void launch(std::int64_t x, std::int64_t y, int threads, std::size_t shared_bytes, Stream stream,
            const Args& args) {
  if (x <= 0 || y <= 0) return;
  auto work = [=] { tests::run_grid(x, y, threads, shared_bytes, [&args] { kernel(args); }); };
  if (stream == nullptr) return work();
  reinterpret_cast<tests::EmulatedStream*>(stream)->enqueue(work);
}

}  // namespace tandem::gpu::cuda::emulated_build
