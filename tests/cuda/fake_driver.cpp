// See fake_driver.hpp.
#include "tests/cuda/fake_driver.hpp"

#include <algorithm>
#include <cstring>

namespace tandem::tests {

using namespace gpu::cuda;

namespace {
constexpr std::chrono::microseconds piece_time{10};
}

class FakeDriver::FakeStream final : public EmulatedStream {
 public:
  void enqueue(std::function<void()> work) override { add({.run = std::move(work)}); }
  void add(Piece piece) {
    if (!capturing) return pieces.push_back(std::move(piece));
    emulation_require(!piece.waits_for && !piece.free, "an event inside a captured graph");
    captured.push_back(std::move(piece.run));
  }

  std::deque<Piece> pieces;
  bool capturing = false;
  std::vector<std::function<void()>> captured;
};

FakeDriver::FakeDriver() = default;
FakeDriver::~FakeDriver() {
  for (auto* stream : streams_) delete stream;
}

Error FakeDriver::failure(const std::string& what) {
  return error(Errc::device_failed, "fake device: " + what, "device");
}
Result<void> FakeDriver::check() const {
  if (lost_) return *lost_;
  return {};
}
FakeDriver::FakeStream& FakeDriver::of(Stream stream) {
  return *static_cast<FakeStream*>(reinterpret_cast<EmulatedStream*>(stream));
}
FakeDriver::FakeEvent& FakeDriver::of(Event event) { return *reinterpret_cast<FakeEvent*>(event); }

// ---- time --------------------------------------------------------------------------------------

bool FakeDriver::run_one() {
  for (auto* stream : streams_) {
    if (stream->pieces.empty()) continue;
    auto& next = stream->pieces.front();
    if (next.waits_for && next.waits_for->reached < next.at) continue;
    auto piece = std::move(next);
    stream->pieces.pop_front();
    if (!piece.free) {
      now_ += piece_time;
      ++pieces_run_;
      if (fail_in_ >= 0 && fail_in_-- == 0) {
        pending_ = failure("a kernel failed");
        if (fail_sticky_) lost_ = pending_;
      }
      if (pending_) return true;  // what follows a failure does not run
    }
    if (piece.run) piece.run();
    return true;
  }
  return false;
}

void FakeDriver::run_all() {
  while (run_one()) {
  }
}

std::int64_t FakeDriver::queued() const {
  std::int64_t count = 0;
  for (const auto* stream : streams_)
    count += std::count_if(stream->pieces.begin(), stream->pieces.end(),
                           [](const Piece& piece) { return !piece.free; });
  return count;
}

// ---- memory and handles ------------------------------------------------------------------------

Result<void*> FakeDriver::allocate(Bytes size) {
  if (auto r = check(); !r) return r.error();
  if (size.value() > memory_info.free.value())
    return error(Errc::device_failed, "fake device: out of memory", "device");
  auto memory = std::make_unique<std::byte[]>(static_cast<std::size_t>(size.value()) + 256);
  std::memset(memory.get(), 0xFF, static_cast<std::size_t>(size.value()) + 256);
  auto* at = memory.get();
  while (reinterpret_cast<std::uintptr_t>(at) % 256 != 0) ++at;
  memory_[at] = std::move(memory);
  memory_info.free -= size;
  ++alive_;
  ++created_;
  return static_cast<void*>(at);
}
void FakeDriver::release(void* memory) noexcept {
  memory_.erase(memory);
  --alive_;
}
Result<MappedMemory> FakeDriver::allocate_mapped(Bytes size) {
  const auto memory = allocate(size);
  if (!memory) return memory.error();
  memory_info.free += size;
  std::memset(*memory, 0, static_cast<std::size_t>(size.value()));
  return MappedMemory{*memory, *memory};
}
void FakeDriver::release_mapped(MappedMemory memory) noexcept { release(memory.host); }

Result<Stream> FakeDriver::create_stream(StreamPriority priority) {
  if (auto r = check(); !r) return r.error();
  low_priority_streams_ += priority == StreamPriority::low;
  auto* stream = new FakeStream;
  streams_.push_back(stream);
  ++alive_;
  ++created_;
  return reinterpret_cast<Stream>(static_cast<EmulatedStream*>(stream));
}
void FakeDriver::destroy(Stream stream) noexcept {
  auto* own = &of(stream);
  std::erase(streams_, own);
  delete own;
  --alive_;
}
Result<Event> FakeDriver::create_event() {
  if (auto r = check(); !r) return r.error();
  ++alive_;
  ++created_;
  return reinterpret_cast<Event>(new FakeEvent);
}
void FakeDriver::destroy(Event event) noexcept {
  delete &of(event);
  --alive_;
}
void FakeDriver::destroy(Graph graph) noexcept {
  delete reinterpret_cast<FakeGraph*>(graph);
  --alive_;
}

// ---- streams -----------------------------------------------------------------------------------

Result<void> FakeDriver::record(Event event, Stream stream) {
  if (auto r = check(); !r) return r;
  auto& own = of(event);
  const auto number = ++own.recorded;
  of(stream).add({.run =
                      [this, &own, number] {
                        own.reached = number;
                        own.at = now_;
                      },
                  .free = true});
  return {};
}
Result<void> FakeDriver::wait(Stream stream, Event event) {
  if (auto r = check(); !r) return r;
  of(stream).add({.waits_for = &of(event), .at = of(event).recorded, .free = true});
  return {};
}
Result<bool> FakeDriver::finished(Event event) {
  if (auto r = check(); !r) return r.error();
  return of(event).reached == of(event).recorded;
}
Result<Duration> FakeDriver::elapsed(Event first, Event second) {
  if (auto r = check(); !r) return r.error();
  return of(second).at - of(first).at;
}
Result<void> FakeDriver::synchronize(Stream stream) {
  ++synchronized_;
  while (!of(stream).pieces.empty() && run_one()) {
  }
  if (pending_) return *std::exchange(pending_, lost_);
  return check();
}
void FakeDriver::notify(Stream stream, Notification done) {
  of(stream).add({.run =
                      [this, done = std::move(done)] {
                        if (pending_) return done(*std::exchange(pending_, lost_));
                        done({});
                      },
                  .free = true});
}
Result<void> FakeDriver::copy_to_device(void* to, const void* from, Bytes size, Stream stream) {
  if (auto r = check(); !r) return r;
  of(stream).enqueue([=] { std::memcpy(to, from, static_cast<std::size_t>(size.value())); });
  return {};
}
Result<void> FakeDriver::copy_to_host(void* to, const void* from, Bytes size, Stream stream) {
  if (auto r = copy_to_device(to, from, size, stream); !r || !lose_a_bit_to_host) return r;
  of(stream).enqueue([to] { ++*static_cast<std::uint8_t*>(to); });
  return {};
}
Result<void> FakeDriver::copy_on_device(void* to, const void* from, Bytes size, Stream stream) {
  return copy_to_device(to, from, size, stream);
}
Result<void> FakeDriver::fill(void* to, std::uint8_t byte, Bytes size, Stream stream) {
  if (auto r = check(); !r) return r;
  of(stream).enqueue([=] { std::memset(to, byte, static_cast<std::size_t>(size.value())); });
  return {};
}

Result<void> FakeDriver::begin_capture(Stream stream) {
  if (auto r = check(); !r) return r;
  of(stream).capturing = true;
  return {};
}
Result<Graph> FakeDriver::end_capture(Stream stream) {
  auto& own = of(stream);
  own.capturing = false;
  auto* graph = new FakeGraph{std::exchange(own.captured, {})};
  ++alive_;
  ++created_;
  return reinterpret_cast<Graph>(graph);
}
Result<void> FakeDriver::launch(Graph graph, Stream stream) {
  if (auto r = check(); !r) return r;
  ++graphs_launched_;
  for (const auto& piece : reinterpret_cast<FakeGraph*>(graph)->pieces) of(stream).enqueue(piece);
  return {};
}

// ---- products ----------------------------------------------------------------------------------

Result<void> FakeGemm::run(const GemmKey& key, const GemmOperands& operands, Stream stream) {
  const auto known = prepared.find(key);
  if (known == prepared.end() || known->second != operands.out_stride)
    return error(Errc::internal, "a product of " + std::to_string(key.rows) + " x " +
                                     std::to_string(key.n) + " x " + std::to_string(key.k) +
                                     " that was not prepared");
  auto work = [key, operands] {
    for (std::int64_t row = 0; row < key.rows; ++row)
      for (std::int64_t column = 0; column < key.n; ++column) {
        float sum = 0;
        const auto* a = operands.a + row * key.k;
        const auto* w = operands.weights + column * key.k;
        for (std::int64_t i = 0; i < key.k; ++i)
          sum += model::f32_of_bf16(a[i]) * model::f32_of_bf16(w[i]);
        const auto at = row * operands.out_stride + column;
        if (key.output == GemmOutput::bf16)
          static_cast<std::uint16_t*>(operands.out)[at] = model::bf16_of_f32(sum);
        else if (key.output == GemmOutput::f32)
          static_cast<float*>(operands.out)[at] = sum;
        else
          static_cast<float*>(operands.out)[at] += sum;
      }
  };
  reinterpret_cast<EmulatedStream*>(stream)->enqueue(work);
  return {};
}

}  // namespace tandem::tests
