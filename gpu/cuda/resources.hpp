// Owners of what a Driver hands out: memory, streams, events and graphs end with the object that
// holds them. Move-only; the driver outlives them all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "gpu/cuda/driver.hpp"

namespace tandem::gpu::cuda {

/// A handle that is destroyed with its owner.
template <class Handle>
class Owned {
 public:
  Owned() = default;
  Owned(Driver& driver, Handle handle) : driver_(&driver), handle_(handle) {}
  Owned(Owned&& other) noexcept
      : driver_(std::exchange(other.driver_, nullptr)),
        handle_(std::exchange(other.handle_, nullptr)) {}
  Owned& operator=(Owned&& other) noexcept {
    std::swap(driver_, other.driver_);
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~Owned() {
    if (handle_) driver_->destroy(handle_);
  }

  [[nodiscard]] Handle get() const { return handle_; }
  [[nodiscard]] explicit operator bool() const { return handle_ != nullptr; }

 private:
  Driver* driver_ = nullptr;
  Handle handle_ = nullptr;
};

using OwnedStream = Owned<Stream>;
using OwnedEvent = Owned<Event>;
using OwnedGraph = Owned<Graph>;

inline Result<OwnedStream> make_stream(Driver& driver, StreamPriority priority) {
  const auto stream = driver.create_stream(priority);
  if (!stream) return stream.error();
  return OwnedStream(driver, *stream);
}

inline Result<OwnedEvent> make_event(Driver& driver) {
  const auto event = driver.create_event();
  if (!event) return event.error();
  return OwnedEvent(driver, *event);
}

/// Device memory, not initialised.
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  static Result<DeviceBuffer> make(Driver& driver, Bytes size) {
    const auto memory = driver.allocate(size);
    if (!memory) return memory.error();
    return DeviceBuffer(driver, *memory, size);
  }
  DeviceBuffer(DeviceBuffer&& other) noexcept
      : driver_(std::exchange(other.driver_, nullptr)),
        memory_(std::exchange(other.memory_, nullptr)),
        size_(std::exchange(other.size_, Bytes(0))) {}
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
    std::swap(driver_, other.driver_);
    std::swap(memory_, other.memory_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~DeviceBuffer() {
    if (memory_) driver_->release(memory_);
  }

  [[nodiscard]] std::byte* data() const { return static_cast<std::byte*>(memory_); }
  [[nodiscard]] Bytes size() const { return size_; }

 private:
  DeviceBuffer(Driver& driver, void* memory, Bytes size)
      : driver_(&driver), memory_(memory), size_(size) {}
  Driver* driver_ = nullptr;
  void* memory_ = nullptr;
  Bytes size_{0};
};

/// Pinned host memory that the device sees as well.
class MappedBuffer {
 public:
  MappedBuffer() = default;
  static Result<MappedBuffer> make(Driver& driver, Bytes size) {
    const auto memory = driver.allocate_mapped(size);
    if (!memory) return memory.error();
    return MappedBuffer(driver, *memory);
  }
  MappedBuffer(MappedBuffer&& other) noexcept
      : driver_(std::exchange(other.driver_, nullptr)), memory_(std::exchange(other.memory_, {})) {}
  MappedBuffer& operator=(MappedBuffer&& other) noexcept {
    std::swap(driver_, other.driver_);
    std::swap(memory_, other.memory_);
    return *this;
  }
  ~MappedBuffer() {
    if (memory_.host) driver_->release_mapped(memory_);
  }

  [[nodiscard]] std::byte* host() const { return static_cast<std::byte*>(memory_.host); }
  [[nodiscard]] std::byte* device() const { return static_cast<std::byte*>(memory_.device); }

 private:
  MappedBuffer(Driver& driver, MappedMemory memory) : driver_(&driver), memory_(memory) {}
  Driver* driver_ = nullptr;
  MappedMemory memory_;
};

}  // namespace tandem::gpu::cuda
