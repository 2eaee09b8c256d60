// A driver that puts timing events around the graphs that are launched through it, when it is told
// to: so it is known how long the device had nothing to compute between two of them. Everything
// else it passes on.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "gpu/cuda/resources.hpp"

namespace tandem::gpu_check {

class TimedDriver final : public gpu::cuda::Driver {
 public:
  using Stream = gpu::cuda::Stream;
  using Event = gpu::cuda::Event;
  using Graph = gpu::cuda::Graph;

  explicit TimedDriver(std::unique_ptr<gpu::cuda::Driver> device) : device_(std::move(device)) {}

  /// Times the next `launches` launches of a graph.
  Result<void> time_launches(std::size_t launches) {
    marks_.clear();
    next_ = 0;
    while (marks_.size() < 2 * launches) {
      const auto event = device_->create_timing_event();
      if (!event) return event.error();
      marks_.emplace_back(*device_, *event);
    }
    return {};
  }
  /// From the end of each timed launch to the begin of the next; everything has run. How long the
  /// device takes from a graph's begin to its first kernel is part of spans().
  Result<std::vector<Duration>> gaps() { return between(1, 2); }
  /// From the begin of each timed launch to its end.
  Result<std::vector<Duration>> spans() { return between(0, 1); }

  Result<void> launch(Graph graph, Stream stream) override {
    if (next_ == marks_.size()) return device_->launch(graph, stream);
    if (auto r = device_->record(marks_[next_++].get(), stream); !r) return r;
    if (auto r = device_->launch(graph, stream); !r) return r;
    return device_->record(marks_[next_++].get(), stream);
  }

  [[nodiscard]] const gpu::cuda::DeviceProperties& properties() const override {
    return device_->properties();
  }
  [[nodiscard]] bool lost() const override { return device_->lost(); }
  Result<void> make_current() override { return device_->make_current(); }
  Result<gpu::cuda::MemoryInfo> memory() override { return device_->memory(); }
  Result<void*> allocate(Bytes size) override { return device_->allocate(size); }
  void release(void* memory) noexcept override { device_->release(memory); }
  Result<gpu::cuda::MappedMemory> allocate_mapped(Bytes size) override {
    return device_->allocate_mapped(size);
  }
  void release_mapped(gpu::cuda::MappedMemory memory) noexcept override {
    device_->release_mapped(memory);
  }
  Result<Stream> create_stream(gpu::cuda::StreamPriority priority) override {
    return device_->create_stream(priority);
  }
  void destroy(Stream stream) noexcept override { device_->destroy(stream); }
  Result<Event> create_event() override { return device_->create_event(); }
  Result<Event> create_timing_event() override { return device_->create_timing_event(); }
  void destroy(Event event) noexcept override { device_->destroy(event); }
  void destroy(Graph graph) noexcept override { device_->destroy(graph); }
  Result<void> record(Event event, Stream stream) override {
    return device_->record(event, stream);
  }
  Result<void> wait(Stream stream, Event event) override { return device_->wait(stream, event); }
  Result<bool> finished(Event event) override { return device_->finished(event); }
  Result<Duration> elapsed(Event first, Event second) override {
    return device_->elapsed(first, second);
  }
  Result<void> synchronize(Stream stream) override { return device_->synchronize(stream); }
  void notify(Stream stream, Notification done) override {
    device_->notify(stream, std::move(done));
  }
  Result<void> copy_to_device(void* to, const void* from, Bytes size, Stream stream) override {
    return device_->copy_to_device(to, from, size, stream);
  }
  Result<void> copy_to_host(void* to, const void* from, Bytes size, Stream stream) override {
    return device_->copy_to_host(to, from, size, stream);
  }
  Result<void> copy_on_device(void* to, const void* from, Bytes size, Stream stream) override {
    return device_->copy_on_device(to, from, size, stream);
  }
  Result<void> fill(void* to, std::uint8_t byte, Bytes size, Stream stream) override {
    return device_->fill(to, byte, size, stream);
  }
  Result<void> begin_capture(Stream stream) override { return device_->begin_capture(stream); }
  Result<Graph> end_capture(Stream stream) override { return device_->end_capture(stream); }
  Result<void> launch_errors() override { return device_->launch_errors(); }

 private:
  /// From marks `first`, `first` + 2, … to `second`, `second` + 2, ….
  Result<std::vector<Duration>> between(std::size_t first, std::size_t second) {
    std::vector<Duration> found;
    for (; second < next_; first += 2, second += 2) {
      const auto time = device_->elapsed(marks_[first].get(), marks_[second].get());
      if (!time) return time.error();
      found.push_back(*time);
    }
    return found;
  }

  std::unique_ptr<gpu::cuda::Driver> device_;
  std::vector<gpu::cuda::OwnedEvent> marks_;  ///< begin and end of each launch
  std::size_t next_ = 0;
};

}  // namespace tandem::gpu_check
