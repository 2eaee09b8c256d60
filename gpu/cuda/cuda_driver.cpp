// See cuda_driver.hpp. Completion is waited for by threads of the driver's own, one for each stream
// that is asked about, which sleep in the runtime and call back: no thread of the actors waits, and
// no iteration's report stands behind a copy's.
#include "gpu/cuda/cuda_driver.hpp"

#include "core/check.hpp"
#include "gpu/cuda_devices.hpp"

#ifdef TANDEM_HAS_CUDA

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cuda_runtime_api.h>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "gpu/cuda/cuda_errors.hpp"
#define TANDEM_KERNEL_BUILD device_build  // as in device.cuh, which is for nvcc alone
#include "gpu/cuda/kernels/families.hpp"

namespace tandem::gpu::cuda {
namespace {

static_assert(is_sticky(cudaErrorIllegalAddress) && is_sticky(cudaErrorLaunchTimeout) &&
              is_sticky(cudaErrorAssert) && is_sticky(cudaErrorHardwareStackError) &&
              is_sticky(cudaErrorIllegalInstruction) && is_sticky(cudaErrorMisalignedAddress) &&
              is_sticky(cudaErrorInvalidAddressSpace) && is_sticky(cudaErrorInvalidPc) &&
              is_sticky(cudaErrorLaunchFailure) && is_sticky(cudaErrorECCUncorrectable) &&
              is_sticky(cudaErrorNvlinkUncorrectable) && is_sticky(cudaErrorContextIsDestroyed) &&
              is_sticky(cudaErrorCudartUnloading) && is_sticky(cudaErrorUnknown));
static_assert(!is_sticky(cudaSuccess) && !is_sticky(cudaErrorMemoryAllocation) &&
              !is_sticky(cudaErrorInvalidValue) && !is_sticky(cudaErrorNotReady));

cudaStream_t of(Stream stream) { return reinterpret_cast<cudaStream_t>(stream); }
cudaEvent_t of(Event event) { return reinterpret_cast<cudaEvent_t>(event); }
cudaGraphExec_t of(Graph graph) { return reinterpret_cast<cudaGraphExec_t>(graph); }
std::size_t size_of(Bytes bytes) { return static_cast<std::size_t>(bytes.value()); }

class CudaDriver final : public Driver {
 public:
  CudaDriver(int index, DeviceProperties properties)
      : index_(index), properties_(std::move(properties)) {}

  ~CudaDriver() override {
    {
      const std::scoped_lock lock(mutex_);
      stopping_ = true;
      for (auto& [stream, waiter] : waiters_) waiter->wake.notify_one();
    }
    for (auto& [stream, waiter] : waiters_) waiter->thread.join();
    for (const auto event : spare_events_) cudaEventDestroy(event);
  }

  [[nodiscard]] const DeviceProperties& properties() const override { return properties_; }
  [[nodiscard]] bool lost() const override { return lost_.load() != cudaSuccess; }

  Result<void> make_current() override {
    // Known by the thread, so that it costs nothing while serving.
    thread_local int current = -1;
    if (current == index_) return {};
    auto result = judge(cudaSetDevice(index_), "choosing the device");
    if (result) current = index_;
    return result;
  }

  Result<MemoryInfo> memory() override {
    std::size_t free = 0, total = 0;
    if (auto r = judge(cudaMemGetInfo(&free, &total), "asking for free memory"); !r)
      return r.error();
    return MemoryInfo{Bytes(static_cast<std::int64_t>(free)),
                      Bytes(static_cast<std::int64_t>(total))};
  }

  Result<void*> allocate(Bytes size) override {
    void* memory = nullptr;
    const auto what = "allocating " + std::to_string(size.value()) + " bytes of device memory";
    if (auto r = judge(cudaMalloc(&memory, size_of(size)), what.c_str()); !r) return r.error();
    return memory;
  }
  void release(void* memory) noexcept override { cudaFree(memory); }

  Result<MappedMemory> allocate_mapped(Bytes size) override {
    MappedMemory memory;
    const auto what = "allocating " + std::to_string(size.value()) + " bytes of pinned memory";
    const auto flags = cudaHostAllocMapped | cudaHostAllocPortable;
    if (auto r = judge(cudaHostAlloc(&memory.host, size_of(size), flags), what.c_str()); !r)
      return r.error();
    if (auto r = judge(cudaHostGetDevicePointer(&memory.device, memory.host, 0), what.c_str());
        !r) {
      cudaFreeHost(memory.host);
      return r.error();
    }
    return memory;
  }
  void release_mapped(MappedMemory memory) noexcept override { cudaFreeHost(memory.host); }

  Result<Stream> create_stream(StreamPriority priority) override {
    int least = 0, greatest = 0;
    if (auto r = judge(cudaDeviceGetStreamPriorityRange(&least, &greatest), "asking priorities");
        !r)
      return r.error();
    cudaStream_t stream = nullptr;
    const int level = priority == StreamPriority::low ? least : greatest;
    if (auto r = judge(cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking, level),
                       "creating a stream");
        !r)
      return r.error();
    return reinterpret_cast<Stream>(stream);
  }
  void destroy(Stream stream) noexcept override { cudaStreamDestroy(of(stream)); }

  Result<Event> create_event() override {
    cudaEvent_t event = nullptr;
    if (auto r =
            judge(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "creating an event");
        !r)
      return r.error();
    return reinterpret_cast<Event>(event);
  }
  Result<Event> create_timing_event() override {
    cudaEvent_t event = nullptr;
    if (auto r = judge(cudaEventCreate(&event), "creating a timing event"); !r) return r.error();
    return reinterpret_cast<Event>(event);
  }
  void destroy(Event event) noexcept override { cudaEventDestroy(of(event)); }
  void destroy(Graph graph) noexcept override { cudaGraphExecDestroy(of(graph)); }

  Result<void> record(Event event, Stream stream) override {
    return judge(cudaEventRecord(of(event), of(stream)), "recording an event");
  }
  Result<void> wait(Stream stream, Event event) override {
    return judge(cudaStreamWaitEvent(of(stream), of(event), 0), "waiting for an event");
  }
  Result<bool> finished(Event event) override {
    const auto status = cudaEventQuery(of(event));
    if (status == cudaErrorNotReady) return false;
    if (auto r = judge(status, "looking at an event"); !r) return r.error();
    return true;
  }
  Result<Duration> elapsed(Event first, Event second) override {
    float ms = 0;
    if (auto r = judge(cudaEventElapsedTime(&ms, of(first), of(second)),
                       "asking for a time between events");
        !r)
      return r.error();
    return std::chrono::duration_cast<Duration>(std::chrono::duration<double, std::milli>(ms));
  }
  Result<void> synchronize(Stream stream) override {
    return judge(cudaStreamSynchronize(of(stream)), "waiting for a stream");
  }
  void notify(Stream stream, Notification done) override;

  Result<void> copy_to_device(void* to, const void* from, Bytes size, Stream stream) override {
    return judge(cudaMemcpyAsync(to, from, size_of(size), cudaMemcpyHostToDevice, of(stream)),
                 "copying to the device");
  }
  Result<void> copy_to_host(void* to, const void* from, Bytes size, Stream stream) override {
    return judge(cudaMemcpyAsync(to, from, size_of(size), cudaMemcpyDeviceToHost, of(stream)),
                 "copying to the host");
  }
  Result<void> copy_on_device(void* to, const void* from, Bytes size, Stream stream) override {
    return judge(cudaMemcpyAsync(to, from, size_of(size), cudaMemcpyDeviceToDevice, of(stream)),
                 "copying on the device");
  }
  Result<void> fill(void* to, std::uint8_t byte, Bytes size, Stream stream) override {
    return judge(cudaMemsetAsync(to, byte, size_of(size), of(stream)), "filling memory");
  }

  Result<void> begin_capture(Stream stream) override {
    return judge(cudaStreamBeginCapture(of(stream), cudaStreamCaptureModeThreadLocal),
                 "beginning a capture");
  }
  Result<Graph> end_capture(Stream stream) override {
    cudaGraph_t graph = nullptr;
    if (auto r = judge(cudaStreamEndCapture(of(stream), &graph), "ending a capture"); !r)
      return r.error();
    cudaGraphExec_t executable = nullptr;
    const auto status = cudaGraphInstantiate(&executable, graph, 0);
    cudaGraphDestroy(graph);
    if (auto r = judge(status, "instantiating a graph"); !r) return r.error();
    return reinterpret_cast<Graph>(executable);
  }
  Result<void> launch(Graph graph, Stream stream) override {
    return judge(cudaGraphLaunch(of(graph), of(stream)), "launching a graph");
  }
  Result<void> launch_errors() override { return judge(cudaGetLastError(), "launching kernels"); }

 private:
  struct Waiting {
    cudaEvent_t event = nullptr;
    std::optional<Error> failed;  ///< already when it was to be recorded
    Notification done;
  };
  struct Waiter {
    std::deque<Waiting> waiting;  ///< in the order in which they were asked for
    std::condition_variable wake;
    std::thread thread;
  };

  /// A sticky error is remembered: whatever is asked afterwards, it is the answer.
  Result<void> judge(cudaError_t status, const char* doing) {
    const auto before = lost_.load();
    if (before != cudaSuccess) status = static_cast<cudaError_t>(before);
    if (status == cudaSuccess) return {};
    const bool sticky = is_sticky(status);
    if (sticky) lost_ = status;
    return error(
        Errc::device_failed,
        std::string("CUDA, ") + doing + ": " + cudaGetErrorString(status) + " (" +
            cudaGetErrorName(status) + ")" +
            (sticky ? "; the device is lost to this process, which must be restarted" : ""),
        "device");
  }

  Result<cudaEvent_t> take_event();
  void wait_for_events(Waiter& waiter);
  bool next_waiting(Waiter& waiter, Waiting& next);

  const int index_;
  const DeviceProperties properties_;
  std::atomic<int> lost_{cudaSuccess};

  std::mutex mutex_;
  bool stopping_ = false;
  std::vector<cudaEvent_t> spare_events_;
  std::map<Stream, std::unique_ptr<Waiter>> waiters_;  ///< last: they use all the others
};

Result<cudaEvent_t> CudaDriver::take_event() {
  {
    const std::scoped_lock lock(mutex_);
    if (!spare_events_.empty()) {
      const auto event = spare_events_.back();
      spare_events_.pop_back();
      return event;
    }
  }
  cudaEvent_t event = nullptr;
  if (auto r =
          judge(cudaEventCreateWithFlags(&event, cudaEventDisableTiming | cudaEventBlockingSync),
                "creating an event");
      !r)
    return r.error();
  return event;
}

void CudaDriver::notify(Stream stream, Notification done) {
  Waiting next{.done = std::move(done)};
  auto event = take_event();
  if (event) {
    next.event = *event;
    if (auto r = judge(cudaEventRecord(*event, of(stream)), "recording an event"); !r)
      next.failed = r.error();
  } else {
    next.failed = event.error();
  }
  const std::scoped_lock lock(mutex_);
  auto& waiter = waiters_[stream];
  if (!waiter) {
    waiter = std::make_unique<Waiter>();
    waiter->thread = std::thread([this, own = waiter.get()] { wait_for_events(*own); });
  }
  waiter->waiting.push_back(std::move(next));
  waiter->wake.notify_one();
}

bool CudaDriver::next_waiting(Waiter& waiter, Waiting& next) {
  std::unique_lock lock(mutex_);
  waiter.wake.wait(lock, [&] { return stopping_ || !waiter.waiting.empty(); });
  if (waiter.waiting.empty()) return false;
  next = std::move(waiter.waiting.front());
  waiter.waiting.pop_front();
  return true;
}

void CudaDriver::wait_for_events(Waiter& waiter) {
  static_cast<void>(make_current());  // a failure is met again at the first event
  Waiting next;
  while (next_waiting(waiter, next)) {
    Result<void> result;
    if (next.failed)
      result = *next.failed;
    else
      result = judge(cudaEventSynchronize(next.event), "running what was queued");
    if (next.event) {
      const std::scoped_lock lock(mutex_);
      spare_events_.push_back(next.event);
    }
    next.done(std::move(result));
    next = {};
  }
}

}  // namespace

Result<std::unique_ptr<Driver>> open_driver(std::uint32_t index) {
  const auto devices = cuda_devices();
  if (!devices) return devices.error();
  if (index >= devices->size())
    return error(Errc::unsupported,
                 devices->empty()
                     ? std::string("no NVIDIA device was found")
                     : "device_index is " + std::to_string(index) +
                           "; this machine has devices 0 to " + std::to_string(devices->size() - 1),
                 devices->empty() ? "device" : "device_index");
  const auto& device = (*devices)[index];
  int multiprocessors = 0, block_memory = 0;
  auto status = cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount,
                                       static_cast<int>(index));
  if (status == cudaSuccess)
    status = cudaDeviceGetAttribute(&block_memory, cudaDevAttrMaxSharedMemoryPerBlockOptin,
                                    static_cast<int>(index));
  int compiled_for = 0;
  if (status == cudaSuccess) status = cudaSetDevice(static_cast<int>(index));
  if (status == cudaSuccess)
    status = static_cast<cudaError_t>(device_build::find_compiled_for(compiled_for));
  if (status != cudaSuccess)
    return error(Errc::device_failed,
                 device.name + " cannot be used: " + cudaGetErrorString(status), "device");
  return std::unique_ptr<Driver>(std::make_unique<CudaDriver>(
      static_cast<int>(index),
      DeviceProperties{.name = device.name,
                       .compute_major = device.compute_major,
                       .compute_minor = device.compute_minor,
                       .compiled_for = compiled_for,
                       .multiprocessors = static_cast<std::uint32_t>(multiprocessors),
                       .block_memory = Bytes(block_memory),
                       .memory = device.memory}));
}

const KernelTable& device_kernels(Launching how) {
  static const auto serial = device_build::all_kernels<Launching::serial>();
  static const auto dependent = device_build::all_kernels<Launching::dependent>();
  return how == Launching::dependent ? dependent : serial;
}

}  // namespace tandem::gpu::cuda

#else

namespace tandem::gpu::cuda {

Result<std::unique_ptr<Driver>> open_driver(std::uint32_t) { return cuda_devices().error(); }

const KernelTable& device_kernels(Launching) {
  TANDEM_CHECK(false, "kernels without a driver");
  static const KernelTable none{};
  return none;
}

}  // namespace tandem::gpu::cuda

#endif
