// What a run is judged by. Times are what callers feel: TTFT from arrival to the report that holds
// the first token, TBT every gap between two tokens of one request, all requests pooled. Tokens are
// counted where they are computed: a token served is a position that moved a request forward for
// the first time (prefix hits included), a token wasted is one computed again or for nothing.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "sim/run_observer.hpp"
#include "sim/workload.hpp"

namespace tandem::sim {

/// Mean and percentiles of a set of milliseconds; zeros if it is empty. A percentile is the
/// smallest sample that at least this share of the set does not exceed.
struct Latency {
  std::uint64_t count = 0;
  double mean = 0, p50 = 0, p99 = 0, max = 0;
};
Latency latency_of(std::vector<float>& milliseconds);

struct ClassTotals {
  std::uint64_t requests = 0, finished = 0, failed = 0, cancelled = 0;
  std::int64_t served = 0;     ///< tokens, prompt and output
  std::int64_t cached = 0;     ///< of them found in the prefix cache
  std::int64_t generated = 0;  ///< of them output
  std::int64_t wasted = 0;     ///< rows computed again, aborted or failed
};

/// A stretch of the run, for curves.
struct Interval {
  std::int64_t online = 0, offline = 0;    ///< tokens served
  std::uint64_t arrivals = 0;              ///< online
  double tbt_ms_p99 = 0, tbt_ms_mean = 0;  ///< of gaps that ended in it; 0 without any
  double ttft_ms_p99 = 0;
};

struct Measured {
  double seconds = 0;      ///< counted: up to the horizon, or to the end
  double end_seconds = 0;  ///< when nothing was left to do, or the run was stopped
  ClassTotals online, offline;
  Latency ttft, tbt;             ///< of online requests, those after the horizon included
  std::uint64_t unanswered = 0;  ///< online, no token by the end; their wait so far is in ttft
  std::uint64_t deadlines_missed = 0;
  std::uint64_t iterations = 0, preemptions = 0;
  double busy_share = 0;  ///< of `seconds` that the device worked
  double interval_seconds = 0;
  std::vector<Interval> intervals;

  [[nodiscard]] double online_tokens_per_s() const { return rate(online.served); }
  [[nodiscard]] double offline_tokens_per_s() const { return rate(offline.served); }
  [[nodiscard]] double total_tokens_per_s() const { return rate(online.served + offline.served); }
  /// Offline tokens per second of the intervals from `share` of the run on: its steady state.
  [[nodiscard]] double offline_tail_per_s(double share) const;

 private:
  [[nodiscard]] double rate(std::int64_t tokens) const {
    return seconds > 0 ? static_cast<double>(tokens) / seconds : 0;
  }
};

class Measurements final : public RunObserver {
 public:
  /// Tokens are counted up to `horizon` (0: to the end), in intervals of `interval`.
  Measurements(const Workload& workload, Duration horizon, Duration interval);

  void arrived(const Request& request, std::size_t index, TimePoint now) override;
  void launched(const Plan& plan, TimePoint now) override;
  void reported(const Plan& plan, const IterationReport& report, TimePoint now) override;
  void emitted(const std::vector<TokenEvent>& events, TimePoint now) override;
  void given_back(RequestId id, TimePoint now) override;
  void given_up(std::size_t index, TimePoint now) override;
  void died(TimePoint now) override;
  void settled(const policy::SchedulerCore& core, TimePoint now) override;
  void finished(bool drained, TimePoint now) override;

  /// After finished(). Leaves this object without samples.
  Measured result();

 private:
  struct Progress {
    RequestClass request_class;
    std::size_t index;
    TimePoint arrival, last;
    bool answered;
    std::int64_t computed;  ///< positions whose computation counted
  };
  struct Samples {
    std::vector<float> ttft, tbt;
  };

  [[nodiscard]] bool counts(TimePoint now) const;
  ClassTotals& totals(RequestClass request_class);
  Interval* interval(TimePoint now);
  void take_slice(const Slice& slice, bool done, TimePoint now);
  void take_token(Progress& progress, TimePoint now);
  void take_end(const Progress& progress, FinishReason reason, TimePoint now);

  const Workload* workload_;
  Duration horizon_, interval_;
  Measured measured_;
  Duration busy_{};
  std::uint64_t preemptions_before_ = 0, preemptions_now_ = 0;
  std::vector<float> ttft_, tbt_;
  std::vector<Samples> interval_samples_;
  std::unordered_map<RequestId, Progress> live_;
};

}  // namespace tandem::sim
