// What online requests felt: times to first token and gaps between tokens, over a sliding window of
// the latest samples. TBT statistics are over all gaps, pooled, not over per-request means.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

#include "core/request.hpp"
#include "core/units.hpp"
#include "policy/snapshots.hpp"

namespace tandem::policy {

/// The latest `capacity` samples of one quantity.
class SampleWindow {
 public:
  explicit SampleWindow(std::size_t capacity);
  void add(double value);
  [[nodiscard]] std::uint64_t count() const { return count_; }  ///< ever added
  /// The smallest sample that at least `share` (0 to 1) of the window does not exceed; 0 if empty.
  [[nodiscard]] double quantile(double share) const;
  [[nodiscard]] double mean() const;  ///< of the window; 0 if empty

 private:
  std::size_t capacity_;
  std::vector<double> values_;
  std::uint64_t count_ = 0;
};

/// What one token event meant in time.
struct TokenTiming {
  RequestClass request_class = RequestClass::online;
  bool first = false;  ///< since_last is the time to first token
  Duration since_last{};
};

/// How far a request has come, and when.
struct RequestTimes {
  RequestClass request_class = RequestClass::online;
  TimePoint arrival{};
  std::optional<TimePoint> launched;  ///< its first iteration; preemptions change nothing
  std::optional<TimePoint> first_token;
  TimePoint last_token{};
  std::uint64_t num_tokens = 0;
};

class SloStatistics {
 public:
  explicit SloStatistics(std::size_t window = 8192);

  void admitted(RequestId id, RequestClass request_class, TimePoint arrival);
  /// Takes in one token at `at`. Requests that were never admitted yield nothing.
  std::optional<TokenTiming> token(RequestId id, TimePoint at);
  void launched(RequestId id, TimePoint at);
  /// Forgets the request, and returns what it was.
  std::optional<RequestTimes> ended(RequestId id);
  /// Offline requests that were admitted and have not ended, running or waiting.
  [[nodiscard]] std::size_t offline_requests() const { return offline_requests_; }
  [[nodiscard]] BudgetSnapshot snapshot() const;

 private:
  std::unordered_map<RequestId, RequestTimes> requests_;
  std::size_t offline_requests_ = 0;
  SampleWindow ttft_ms_;
  SampleWindow tbt_ms_;
};

}  // namespace tandem::policy
