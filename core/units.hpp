// Units and identifiers. Counts of different things are different types, so that tokens are never
// added to blocks; identifiers are enums, so that they are never added at all. Time is
// std::chrono over a clock without an epoch: policies are handed a TimePoint and cannot read one.
#pragma once

#include <chrono>
#include <compare>
#include <cstdint>
#include <type_traits>

namespace tandem {

/// A whole number of one kind of thing. May be negative in the course of a subtraction.
template <class Tag>
class Count {
 public:
  constexpr Count() = default;
  constexpr explicit Count(std::int64_t value) : value_(value) {}

  [[nodiscard]] constexpr std::int64_t value() const { return value_; }
  [[nodiscard]] constexpr bool is_zero() const { return value_ == 0; }

  constexpr Count& operator+=(Count other) {
    value_ += other.value_;
    return *this;
  }
  constexpr Count& operator-=(Count other) {
    value_ -= other.value_;
    return *this;
  }
  friend constexpr Count operator+(Count a, Count b) { return Count(a.value_ + b.value_); }
  friend constexpr Count operator-(Count a, Count b) { return Count(a.value_ - b.value_); }
  friend constexpr auto operator<=>(Count, Count) = default;

 private:
  std::int64_t value_ = 0;
};

using Tokens = Count<struct TokensTag>;
using Blocks = Count<struct BlocksTag>;
using Bytes = Count<struct BytesTag>;

/// An entry of the vocabulary; the type that model files and the wire use.
using TokenId = std::int32_t;

enum class RequestId : std::uint64_t {};
enum class IterationId : std::uint64_t {};
/// A page of the KV cache, 0 .. number of blocks - 1.
enum class BlockId : std::uint32_t {};
/// A place for one running sequence's state on the device, 0 .. max_sequences - 1.
enum class SlotId : std::uint32_t {};

template <class Id>
constexpr auto raw(Id id) {
  return static_cast<std::underlying_type_t<Id>>(id);
}

using Duration = std::chrono::nanoseconds;
/// Tag of a clock that has no now(): only shells that own a real or virtual clock make TimePoints.
struct EngineClock {
  using rep = Duration::rep;
  using period = Duration::period;
  using duration = Duration;
};
using TimePoint = std::chrono::time_point<EngineClock, Duration>;

constexpr double to_ms(Duration d) { return std::chrono::duration<double, std::milli>(d).count(); }
constexpr double to_seconds(Duration d) { return std::chrono::duration<double>(d).count(); }

}  // namespace tandem
