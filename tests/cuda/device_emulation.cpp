// The engine behind device_emulation.hpp: fibers, barriers, exchanges.
#include "tests/cuda/device_emulation.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <random>
#include <sys/mman.h>
#include <vector>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

// Saves the registers that a called function must keep, and the stack they lie on; loads another's.
extern "C" void tandem_emulation_switch(void** save, void* load);
asm(R"(
.text
.globl tandem_emulation_switch
.type tandem_emulation_switch, @function
tandem_emulation_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size tandem_emulation_switch, .-tandem_emulation_switch
)");

namespace tandem::tests {
namespace {

constexpr int warp_size = 32;
constexpr std::size_t stack_bytes = 64U << 10;

enum class State : std::uint8_t { ready, at_barrier, at_exchange, ended };

struct PendingCopy {
  void* to;
  const void* from;
  bool valid;
  int group;
};

struct Fiber {
  void* stack_pointer = nullptr;
  std::byte* stack = nullptr;
  State state = State::ended;
  bool waited = false;  ///< for the stream
  std::vector<PendingCopy> copies;
  int groups = 0;  ///< committed
};

struct Warp {
  std::array<void*, warp_size> data{};
  int arrived = 0;
  void (*complete)(void* const*) = nullptr;
};

struct Block {
  int x = 0, y = 0, threads = 0;
  std::vector<Fiber> fibers;
  std::vector<std::byte> shared;
  std::byte* shared_begin = nullptr;
  std::size_t shared_bytes = 0;
  const std::function<void()>* kernel = nullptr;
  std::vector<Warp> warps;
  std::vector<int> order_of_warps;
};

/// Blocks that run at the same time: each goes on for a while, then any of them.
std::array<Block, 3> residents;
Block* block = residents.data();  ///< the one that goes on
int running = -1;
void* engine_stack_pointer = nullptr;
std::mt19937 order_of_threads(1);

#ifdef __SANITIZE_ADDRESS__
const void* engine_bottom = nullptr;
std::size_t engine_size = 0;
#endif

void back_to_engine(bool ends) {
  Fiber& own = block->fibers[static_cast<std::size_t>(running)];
#ifdef __SANITIZE_ADDRESS__
  void* fake = nullptr;
  __sanitizer_start_switch_fiber(ends ? nullptr : &fake, engine_bottom, engine_size);
#endif
  static_cast<void>(ends);
  tandem_emulation_switch(&own.stack_pointer, engine_stack_pointer);
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(fake, &engine_bottom, &engine_size);
#endif
}

void run_fiber(int index) {
  running = index;
  Fiber& fiber = block->fibers[static_cast<std::size_t>(index)];
#ifdef __SANITIZE_ADDRESS__
  void* fake = nullptr;
  __sanitizer_start_switch_fiber(&fake, fiber.stack, stack_bytes);
#endif
  tandem_emulation_switch(&engine_stack_pointer, fiber.stack_pointer);
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#endif
}

void require_waited() {
  emulation_require(block->fibers[static_cast<std::size_t>(running)].waited,
                    "a thread that did not wait for the stream");
}

extern "C" void tandem_emulation_entry() {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(nullptr, &engine_bottom, &engine_size);
#endif
  (*block->kernel)();
  require_waited();
  block->fibers[static_cast<std::size_t>(running)].state = State::ended;
  back_to_engine(true);
  std::abort();  // an ended fiber is not run again
}

void prepare(Fiber& fiber) {
  if (!fiber.stack) {
    auto* memory = ::mmap(nullptr, stack_bytes, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    emulation_require(memory != MAP_FAILED, "no memory for a thread's stack");
    fiber.stack = static_cast<std::byte*>(memory);
  }
#ifdef __SANITIZE_ADDRESS__
  // The thread that ended here before did not return: its frames are still marked.
  __asan_unpoison_memory_region(fiber.stack, stack_bytes);
#endif
  // Six registers, the entry, and one word so that the entry finds the stack as after a call.
  auto* top = reinterpret_cast<void**>(fiber.stack + stack_bytes) - 8;
  std::fill(top, top + 8, nullptr);
  top[6] = reinterpret_cast<void*>(&tandem_emulation_entry);
  fiber.stack_pointer = top;
  fiber.state = State::ready;
  fiber.waited = false;
  fiber.copies.clear();
  fiber.groups = 0;
}

Fiber& current() { return block->fibers[static_cast<std::size_t>(running)]; }

/// Runs the warp's threads that can, in any order. False: none can.
bool run_warp(int warp) {
  std::array<int, warp_size> lanes{};
  for (int i = 0; i < warp_size; ++i) lanes[static_cast<std::size_t>(i)] = warp * warp_size + i;
  std::shuffle(lanes.begin(), lanes.end(), order_of_threads);
  bool any = false;
  for (const int i : lanes) {
    if (block->fibers[static_cast<std::size_t>(i)].state != State::ready) continue;
    run_fiber(i);
    any = true;
  }
  return any;
}

/// When no thread can run: all wait at the barrier, or all have ended, which is answered by false.
bool release_barrier() {
  bool any = false;
  for (int i = 0; i < block->threads; ++i) {
    auto& state = block->fibers[static_cast<std::size_t>(i)].state;
    emulation_require(state == State::at_barrier || state == State::ended,
                      "a barrier of the block that a thread never reaches");
    any = any || state == State::at_barrier;
    if (state == State::at_barrier) state = State::ready;
  }
  return any;
}

}  // namespace

void emulation_require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "device emulation: %s (block %d, %d; thread %d)\n", what, block->x, block->y,
               running);
  std::abort();
}

namespace {

void begin_block(int x, int y, int threads, std::size_t shared_bytes,
                 const std::function<void()>& kernel) {
  block->x = x;
  block->y = y;
  block->threads = threads;
  block->shared.assign(shared_bytes + 16, std::byte{0xFF});
  block->shared_begin = block->shared.data();
  while (reinterpret_cast<std::uintptr_t>(block->shared_begin) % 16 != 0) ++block->shared_begin;
  block->shared_bytes = shared_bytes;
  block->kernel = &kernel;
  block->warps.assign(static_cast<std::size_t>(threads / warp_size), {});
  if (block->fibers.size() < static_cast<std::size_t>(threads))
    block->fibers.resize(static_cast<std::size_t>(threads));
  for (int i = 0; i < threads; ++i) prepare(block->fibers[static_cast<std::size_t>(i)]);
  block->order_of_warps.resize(block->warps.size());
  std::iota(block->order_of_warps.begin(), block->order_of_warps.end(), 0);
  std::shuffle(block->order_of_warps.begin(), block->order_of_warps.end(), order_of_threads);
}

/// One warp runs as far ahead as it can, then another: what a barrier is missing for shows. False:
/// the block has ended.
bool go_on() {
  for (const int warp : block->order_of_warps)
    if (run_warp(warp)) return true;
  running = -1;
  if (!release_barrier()) return false;
  std::shuffle(block->order_of_warps.begin(), block->order_of_warps.end(), order_of_threads);
  return true;
}

}  // namespace

void run_grid(std::int64_t x, std::int64_t y, int threads, std::size_t shared_bytes,
              const std::function<void()>& kernel) {
  emulation_require(threads % warp_size == 0 && threads <= 1024,
                    "a block is whole warps, up to 1024 threads");
  std::vector<std::int64_t> waiting(static_cast<std::size_t>(x * y));
  std::iota(waiting.begin(), waiting.end(), std::int64_t{0});
  std::shuffle(waiting.begin(), waiting.end(), order_of_threads);
  std::vector<Block*> free, live;
  for (auto& one : residents) free.push_back(&one);
  while (!waiting.empty() || !live.empty()) {
    while (!waiting.empty() && !free.empty()) {
      block = free.back();
      begin_block(static_cast<int>(waiting.back() % x), static_cast<int>(waiting.back() / x),
                  threads, shared_bytes, kernel);
      live.push_back(block);
      free.pop_back();
      waiting.pop_back();
    }
    const auto chosen = static_cast<std::ptrdiff_t>(order_of_threads() % live.size());
    block = live[static_cast<std::size_t>(chosen)];
    // Long turns: one block may be far ahead while another stands in the midst of something.
    bool ended = false;
    for (auto turns = order_of_threads() % 64; turns > 0 && !ended; --turns) ended = !go_on();
    if (!ended) continue;
    free.push_back(block);
    live.erase(live.begin() + chosen);
  }
  running = -1;
}

int emulated_thread_index() { return running; }
int emulated_num_threads() { return block->threads; }
int emulated_block_x() { return block->x; }
int emulated_block_y() { return block->y; }
std::byte* emulated_shared_memory() { return block->shared_begin; }

bool in_shared_memory(const void* address, std::size_t bytes) {
  const auto* at = static_cast<const std::byte*>(address);
  return at >= block->shared_begin && at + bytes <= block->shared_begin + block->shared_bytes;
}

void emulated_wait_for_stream() { current().waited = true; }

void emulated_barrier() {
  require_waited();
  current().state = State::at_barrier;
  back_to_engine(false);
}

void emulated_exchange(void* data, void (*complete)(void* const*)) {
  require_waited();
  auto& warp = block->warps[static_cast<std::size_t>(running / warp_size)];
  const int first = running / warp_size * warp_size;
  emulation_require(warp.arrived == 0 || warp.complete == complete,
                    "the lanes of a warp meet in different exchanges");
  warp.complete = complete;
  warp.data[static_cast<std::size_t>(running % warp_size)] = data;
  if (++warp.arrived < warp_size) {
    current().state = State::at_exchange;
    back_to_engine(false);
    return;
  }
  complete(warp.data.data());
  warp.arrived = 0;
  for (int lane = 0; lane < warp_size; ++lane)
    block->fibers[static_cast<std::size_t>(first + lane)].state = State::ready;
}

// ---- asynchronous copies -----------------------------------------------------------------------

namespace {
void arrive(const PendingCopy& copy) {
  if (copy.valid)
    std::memcpy(copy.to, copy.from, 16);
  else
    std::memset(copy.to, 0, 16);
}
}  // namespace

void emulated_copy_async(void* to, const void* from, bool valid) {
  emulation_require(in_shared_memory(to, 16), "an asynchronous copy to outside shared memory");
  emulation_require(reinterpret_cast<std::uintptr_t>(to) % 16 == 0 &&
                        reinterpret_cast<std::uintptr_t>(from) % 16 == 0,
                    "an asynchronous copy that is not aligned to 16 bytes");
  const PendingCopy copy{to, from, valid, current().groups};
  // It may arrive at any time until its wait: at once, or as late as can be.
  if (order_of_threads() % 2 == 0)
    arrive(copy);
  else
    current().copies.push_back(copy);
}

void emulated_commit() { ++current().groups; }

void emulated_wait(int pending) {
  auto& own = current();
  const auto arrived = [&](const PendingCopy& copy) { return copy.group < own.groups - pending; };
  for (const auto& copy : own.copies) {
    if (arrived(copy)) arrive(copy);
  }
  std::erase_if(own.copies, arrived);
}

// ---- matrix instructions -----------------------------------------------------------------------

namespace {
float half_of(std::uint32_t word, int index) {
  return model::f32_of_bf16(static_cast<std::uint16_t>(word >> (16 * index)));
}

void load(void* const* lanes, bool transposed) {
  for (int tile = 0; tile < 4; ++tile) {
    std::uint16_t values[8][8];
    for (int row = 0; row < 8; ++row) {
      const auto* from = static_cast<TileLoad*>(lanes[tile * 8 + row])->row;
      emulation_require(in_shared_memory(from, 16), "a tile's row outside shared memory");
      emulation_require(reinterpret_cast<std::uintptr_t>(from) % 16 == 0,
                        "a tile's row that is not aligned to 16 bytes");
      std::memcpy(values[row], from, 16);
    }
    for (int lane = 0; lane < warp_size; ++lane) {
      const int a = lane / 4, b = lane % 4 * 2;
      const std::uint32_t low = transposed ? values[b][a] : values[a][b];
      const std::uint32_t high = transposed ? values[b + 1][a] : values[a][b + 1];
      static_cast<TileLoad*>(lanes[lane])->result[tile] = low | high << 16;
    }
  }
}
}  // namespace

void complete_load(void* const* lanes) { load(lanes, false); }
void complete_load_transposed(void* const* lanes) { load(lanes, true); }

void complete_multiply(void* const* lanes) {
  float a[16][16], b[16][8];
  for (int lane = 0; lane < warp_size; ++lane) {
    const auto* own = static_cast<TileOperands*>(lanes[lane]);
    const int group = lane / 4, place = lane % 4 * 2;
    for (int half = 0; half < 2; ++half) {
      a[group][place + half] = half_of(own->a[0], half);
      a[group + 8][place + half] = half_of(own->a[1], half);
      a[group][place + 8 + half] = half_of(own->a[2], half);
      a[group + 8][place + 8 + half] = half_of(own->a[3], half);
      b[place + half][group] = half_of(own->b[0], half);
      b[place + 8 + half][group] = half_of(own->b[1], half);
    }
  }
  for (int lane = 0; lane < warp_size; ++lane) {
    const auto* own = static_cast<TileOperands*>(lanes[lane]);
    for (int i = 0; i < 4; ++i) {
      const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
      double sum = static_cast<double>(own->d[i]);
      for (int k = 0; k < 16; ++k)
        sum += static_cast<double>(a[row][k]) * static_cast<double>(b[k][column]);
      own->d[i] = static_cast<float>(sum);
    }
  }
}

}  // namespace tandem::tests
