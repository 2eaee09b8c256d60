// See device_model.hpp.
#include "gpu/cuda/device_model.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <span>

#include "model/float_formats.hpp"

namespace tandem::gpu::cuda {
namespace {

constexpr std::int64_t alignment = 256;
constexpr std::int64_t staging_elements = 4LL << 20;

/// A tensor, or several of equal width one below the other, and where it goes.
struct Piece {
  std::array<const model::TensorView*, 3> parts{};
  bool as_float = false;
  std::int64_t at = 0;  ///< byte of the device memory

  [[nodiscard]] std::int64_t elements() const {
    std::int64_t sum = 0;
    for (const auto* part : parts)
      if (part) sum += part->size();
    return sum;
  }
};

/// All pieces of a model, in the order in which a pass reads them.
class PiecePlan {
 public:
  explicit PiecePlan(const model::Weights& weights) {
    add({&weights.embedding}, false);
    for (const auto& layer : weights.layers) {
      add({&layer.input_norm}, true);
      add({&layer.q, &layer.k, &layer.v}, false);
      add({&layer.q_bias, &layer.k_bias, &layer.v_bias}, true);
      add({&layer.q_norm}, true);
      add({&layer.k_norm}, true);
      add({&layer.o}, false);
      add({&layer.post_attention_norm}, true);
      add({&layer.gate, &layer.up}, false);
      add({&layer.down}, false);
    }
    add({&weights.final_norm}, true);
    if (!weights.config.tied_head) add({&weights.head}, false);
  }

  [[nodiscard]] const std::vector<Piece>& pieces() const { return pieces_; }
  [[nodiscard]] Bytes bytes() const { return Bytes(next_); }

 private:
  void add(std::array<const model::TensorView*, 3> parts, bool as_float) {
    Piece piece{parts, as_float, next_};
    next_ = round_up(next_ + piece.elements() * (as_float ? 4 : 2), alignment);
    pieces_.push_back(piece);
  }

  std::vector<Piece> pieces_;
  std::int64_t next_ = 0;
};

/// Two halves of pinned memory that take turns: one is filled while the other is copied.
class Uploader {
 public:
  static Result<Uploader> make(Driver& driver, Stream stream) {
    Uploader made(driver, stream);
    auto memory = MappedBuffer::make(driver, Bytes(2 * staging_elements * 4));
    if (!memory) return memory.error();
    made.memory_ = std::move(*memory);
    for (auto& event : made.events_) {
      auto created = make_event(driver);
      if (!created) return created.error();
      event = std::move(*created);
    }
    return made;
  }

  Result<void> upload(const Piece& piece, std::byte* base) {
    auto* to = base + piece.at;
    const std::int64_t width = piece.as_float ? 4 : 2;
    for (const auto* part : piece.parts) {
      if (!part) continue;
      for (std::int64_t first = 0; first < part->size(); first += staging_elements) {
        const auto count = std::min(staging_elements, part->size() - first);
        if (auto r = copy(*part, first, count, piece.as_float, to); !r) return r;
        to += count * width;
      }
    }
    return {};
  }

 private:
  Uploader(Driver& driver, Stream stream) : driver_(&driver), stream_(stream) {}

  Result<void> copy(const model::TensorView& view, std::int64_t first, std::int64_t count,
                    bool as_float, std::byte* to) {
    auto* half = memory_.host() + turn_ * staging_elements * 4;
    const auto event = events_[static_cast<std::size_t>(turn_)].get();
    if (used_[static_cast<std::size_t>(turn_)]) {
      const auto free = driver_->finished(event);
      if (!free) return free.error();
      if (!*free)
        if (auto r = driver_->synchronize(stream_); !r) return r;
    }
    convert(view, first, count, as_float, half);
    const Bytes size(count * (as_float ? 4 : 2));
    if (auto r = driver_->copy_to_device(to, half, size, stream_); !r) return r;
    if (auto r = driver_->record(event, stream_); !r) return r;
    used_[static_cast<std::size_t>(turn_)] = true;
    turn_ ^= 1;
    return {};
  }

  void convert(const model::TensorView& view, std::int64_t first, std::int64_t count, bool as_float,
               std::byte* to) {
    const auto size = static_cast<std::size_t>(count);
    if (!as_float && view.dtype == model::Dtype::bf16) {
      std::memcpy(to, view.data + 2 * first, 2 * size);
      return;
    }
    floats_.resize(size);
    model::to_f32(view, first, floats_);
    if (as_float) {
      std::memcpy(to, floats_.data(), 4 * size);
      return;
    }
    auto* halves = reinterpret_cast<std::uint16_t*>(to);
    for (std::size_t i = 0; i < size; ++i) halves[i] = model::bf16_of_f32(floats_[i]);
  }

  Driver* driver_;
  Stream stream_;
  MappedBuffer memory_;
  std::array<OwnedEvent, 2> events_;
  std::array<bool, 2> used_{};
  int turn_ = 0;
  std::vector<float> floats_;
};

}  // namespace

Bytes DeviceModel::bytes_of(const model::Weights& weights) { return PiecePlan(weights).bytes(); }

Result<DeviceModel> DeviceModel::upload(Driver& driver, Stream stream,
                                        const model::Weights& weights) {
  const PiecePlan plan(weights);
  DeviceModel made;
  auto memory = DeviceBuffer::make(driver, plan.bytes());
  if (!memory) return memory.error();
  made.memory_ = std::move(*memory);
  auto uploader = Uploader::make(driver, stream);
  if (!uploader) return uploader.error();
  for (const auto& piece : plan.pieces())
    if (auto r = uploader->upload(piece, made.memory_.data()); !r) return r.error();
  if (auto r = driver.synchronize(stream); !r) return r.error();

  std::size_t next = 0;
  const auto take = [&]() -> std::byte* {
    const auto& piece = plan.pieces()[next++];
    return piece.elements() == 0 ? nullptr : made.memory_.data() + piece.at;
  };
  const auto matrix = [&] { return reinterpret_cast<const std::uint16_t*>(take()); };
  const auto vector = [&] { return reinterpret_cast<const float*>(take()); };
  made.embedding_ = matrix();
  for (std::size_t i = 0; i < weights.layers.size(); ++i) {
    DeviceLayer layer;
    layer.input_norm = vector();
    layer.qkv = matrix();
    layer.qkv_bias = vector();
    layer.q_norm = vector();
    layer.k_norm = vector();
    layer.out = matrix();
    layer.post_norm = vector();
    layer.gate_up = matrix();
    layer.down = matrix();
    made.layers_.push_back(layer);
  }
  made.final_norm_ = vector();
  made.head_ = weights.config.tied_head ? made.embedding_ : matrix();
  return made;
}

}  // namespace tandem::gpu::cuda
