// What the CUDA backend needs of the CUDA runtime, as an interface: the backend's own logic runs
// over it on a fake device in virtual time as well (tests/cuda). Every call that can fail returns a
// Result; after a sticky error every later call fails with that same error and `lost()` says so.
// Owners of what is created here are in resources.hpp.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "core/result.hpp"
#include "core/units.hpp"

namespace tandem::gpu::cuda {

/// Handles; what they point to is the driver's business. nullptr is none.
using Stream = struct StreamTag*;
using Event = struct EventTag*;
using Graph = struct GraphTag*;

enum class StreamPriority : std::uint8_t { normal, low };

struct DeviceProperties {
  std::string name;
  int compute_major = 0, compute_minor = 0;
  /// What its code of our kernels was compiled for, times ten: 90 for sm_90a; what waits for the
  /// stream is left out below that, whatever the device is.
  int compiled_for = 0;
  std::uint32_t multiprocessors = 0;
  Bytes block_memory{0};  ///< shared memory that a thread block may ask for
  Bytes memory{0};
};

struct MemoryInfo {
  Bytes free{0}, total{0};
};

/// Host memory that the device reads and writes in place.
struct MappedMemory {
  void* host = nullptr;
  void* device = nullptr;
};

class Driver {
 public:
  /// Called once, from any thread but never from inside the call that took it.
  using Notification = std::function<void(Result<void>)>;

  virtual ~Driver() = default;

  [[nodiscard]] virtual const DeviceProperties& properties() const = 0;
  /// True once a sticky error was seen: the process can use this device no more.
  [[nodiscard]] virtual bool lost() const = 0;
  /// Every thread that launches kernels or products calls this first.
  virtual Result<void> make_current() = 0;
  virtual Result<MemoryInfo> memory() = 0;

  virtual Result<void*> allocate(Bytes size) = 0;
  virtual void release(void* memory) noexcept = 0;
  virtual Result<MappedMemory> allocate_mapped(Bytes size) = 0;
  virtual void release_mapped(MappedMemory memory) noexcept = 0;

  virtual Result<Stream> create_stream(StreamPriority priority) = 0;
  virtual void destroy(Stream stream) noexcept = 0;
  virtual Result<Event> create_event() = 0;
  /// One whose time `elapsed` tells; for measurements.
  virtual Result<Event> create_timing_event() = 0;
  virtual void destroy(Event event) noexcept = 0;
  virtual void destroy(Graph graph) noexcept = 0;

  virtual Result<void> record(Event event, Stream stream) = 0;
  /// What is queued on `stream` from now on runs after `event`.
  virtual Result<void> wait(Stream stream, Event event) = 0;
  virtual Result<bool> finished(Event event) = 0;
  /// From one timing event to another on the device; both are finished.
  virtual Result<Duration> elapsed(Event first, Event second) = 0;
  /// Blocks the caller; only for start, end and checks, never while serving.
  virtual Result<void> synchronize(Stream stream) = 0;
  /// Tells when everything queued on `stream` so far is done, or that it failed. Blocks nobody, and
  /// no other stream's notifications.
  virtual void notify(Stream stream, Notification done) = 0;

  virtual Result<void> copy_to_device(void* to, const void* from, Bytes size, Stream stream) = 0;
  virtual Result<void> copy_to_host(void* to, const void* from, Bytes size, Stream stream) = 0;
  virtual Result<void> copy_on_device(void* to, const void* from, Bytes size, Stream stream) = 0;
  virtual Result<void> fill(void* to, std::uint8_t byte, Bytes size, Stream stream) = 0;

  /// Between the two, what is queued on `stream` is recorded and not run.
  virtual Result<void> begin_capture(Stream stream) = 0;
  virtual Result<Graph> end_capture(Stream stream) = 0;
  virtual Result<void> launch(Graph graph, Stream stream) = 0;
  /// Kernel launches report nothing themselves: the first error among them since the last call.
  virtual Result<void> launch_errors() = 0;
};

}  // namespace tandem::gpu::cuda
