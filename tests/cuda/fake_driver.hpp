// A CUDA device in virtual time: streams, events, graphs, copies and failures, with the kernels run
// by the emulation. Work on a stream runs in order, each piece taking a fixed time; nothing runs
// until the test lets time pass. Device memory is the host's and begins as NaN.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gpu/cuda/driver.hpp"
#include "gpu/cuda/gemm.hpp"
#include "tests/cuda/device_emulation.hpp"

namespace tandem::tests {

class FakeDriver final : public gpu::cuda::Driver {
 public:
  FakeDriver();
  ~FakeDriver() override;

  // ---- what a test does ----
  /// Lets time pass until nothing is left to run.
  void run_all();
  /// Runs the next piece of work. False: there is none.
  bool run_one();
  [[nodiscard]] Duration now() const { return now_; }
  /// The piece of work that would be the `pieces`-th from now fails, and so does what follows it.
  void fail_after(std::int64_t pieces, bool sticky) {
    fail_in_ = pieces;
    fail_sticky_ = sticky;
  }
  /// Every call that queues work fails from now on, as after a sticky error.
  void lose() { lost_ = failure("lost"); }
  [[nodiscard]] std::int64_t pieces_run() const { return pieces_run_; }
  [[nodiscard]] std::int64_t graphs_launched() const { return graphs_launched_; }
  [[nodiscard]] std::int64_t queued() const;
  /// Streams, events, graphs and memory that nobody has destroyed.
  [[nodiscard]] std::int64_t alive() const { return alive_; }
  /// Calls to allocate or create anything.
  [[nodiscard]] std::int64_t created() const { return created_; }
  /// Streams of low priority that were created.
  [[nodiscard]] std::int64_t low_priority_streams() const { return low_priority_streams_; }
  [[nodiscard]] std::int64_t synchronized() const { return synchronized_; }

  gpu::cuda::DeviceProperties described{.name = "Fake GPU",
                                        .compute_major = 9,
                                        .compute_minor = 0,
                                        .compiled_for = 90,
                                        .multiprocessors = 4,
                                        .block_memory = Bytes(227 << 10),
                                        .memory = Bytes(128 << 20)};
  /// Every copy to the host arrives with its first byte counted up.
  bool lose_a_bit_to_host = false;
  gpu::cuda::MemoryInfo memory_info{Bytes(96 << 20), Bytes(128 << 20)};

  // ---- Driver ----
  [[nodiscard]] const gpu::cuda::DeviceProperties& properties() const override { return described; }
  [[nodiscard]] bool lost() const override { return lost_.has_value(); }
  Result<void> make_current() override { return check(); }
  Result<gpu::cuda::MemoryInfo> memory() override { return memory_info; }
  Result<void*> allocate(Bytes size) override;
  void release(void* memory) noexcept override;
  Result<gpu::cuda::MappedMemory> allocate_mapped(Bytes size) override;
  void release_mapped(gpu::cuda::MappedMemory memory) noexcept override;
  Result<gpu::cuda::Stream> create_stream(gpu::cuda::StreamPriority priority) override;
  void destroy(gpu::cuda::Stream stream) noexcept override;
  Result<gpu::cuda::Event> create_event() override;
  Result<gpu::cuda::Event> create_timing_event() override { return create_event(); }
  void destroy(gpu::cuda::Event event) noexcept override;
  void destroy(gpu::cuda::Graph graph) noexcept override;
  Result<void> record(gpu::cuda::Event event, gpu::cuda::Stream stream) override;
  Result<void> wait(gpu::cuda::Stream stream, gpu::cuda::Event event) override;
  Result<bool> finished(gpu::cuda::Event event) override;
  Result<Duration> elapsed(gpu::cuda::Event first, gpu::cuda::Event second) override;
  Result<void> synchronize(gpu::cuda::Stream stream) override;
  void notify(gpu::cuda::Stream stream, Notification done) override;
  Result<void> copy_to_device(void* to, const void* from, Bytes size,
                              gpu::cuda::Stream stream) override;
  Result<void> copy_to_host(void* to, const void* from, Bytes size,
                            gpu::cuda::Stream stream) override;
  Result<void> copy_on_device(void* to, const void* from, Bytes size,
                              gpu::cuda::Stream stream) override;
  Result<void> fill(void* to, std::uint8_t byte, Bytes size, gpu::cuda::Stream stream) override;
  Result<void> begin_capture(gpu::cuda::Stream stream) override;
  Result<gpu::cuda::Graph> end_capture(gpu::cuda::Stream stream) override;
  Result<void> launch(gpu::cuda::Graph graph, gpu::cuda::Stream stream) override;
  Result<void> launch_errors() override { return check(); }

 private:
  struct FakeEvent {
    std::int64_t recorded = 0, reached = 0;
    Duration at{0};
  };
  /// One piece of work; it may have to wait for an event to be reached.
  struct Piece {
    std::function<void()> run;
    FakeEvent* waits_for = nullptr;
    std::int64_t at = 0;
    bool free = false;  ///< takes no time and cannot fail: events, notifications
  };
  class FakeStream;
  struct FakeGraph {
    std::vector<std::function<void()>> pieces;
  };

  static Error failure(const std::string& what);
  Result<void> check() const;
  static FakeStream& of(gpu::cuda::Stream stream);
  static FakeEvent& of(gpu::cuda::Event event);

  std::vector<FakeStream*> streams_;
  std::map<void*, std::unique_ptr<std::byte[]>> memory_;
  std::optional<Error> lost_;
  std::optional<Error> pending_;  ///< a failure that notifications report
  std::int64_t fail_in_ = -1;
  bool fail_sticky_ = false;
  Duration now_{0};
  std::int64_t pieces_run_ = 0, graphs_launched_ = 0, alive_ = 0, created_ = 0, synchronized_ = 0,
               low_priority_streams_ = 0;
};

/// Products written out, queued on the emulated stream. Refuses shapes that were not prepared.
class FakeGemm final : public gpu::cuda::Gemm {
 public:
  [[nodiscard]] std::string name() const override { return "written_out"; }
  void set_workspace(std::byte*, Bytes) override {}
  Result<void> prepare(const gpu::cuda::GemmKey& key, std::int64_t out_stride) override {
    prepared[key] = out_stride;
    return {};
  }
  Result<void> run(const gpu::cuda::GemmKey& key, const gpu::cuda::GemmOperands& operands,
                   gpu::cuda::Stream stream) override;

  std::map<gpu::cuda::GemmKey, std::int64_t> prepared;
};

}  // namespace tandem::tests
