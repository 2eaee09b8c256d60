// Which requests of a run live, and what observers are told of them. Both modes keep them: fast
// mode from its own loop, full mode from what the scheduler's watch sees.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <vector>

#include "sim/offline_batches.hpp"
#include "sim/run_observer.hpp"

namespace tandem::sim {

struct LiveRequest {
  RequestPtr request;
  OfflineItem item;  ///< of an online one: its place, and no repetition
};

class RunBooks {
 public:
  /// Whether a request that failed goes back to its queue, to come again under another id.
  using TakeBack = std::function<bool(const LiveRequest&)>;

  RunBooks(const std::vector<RunObserver*>& observers, TakeBack take_back)
      : observers_(observers), take_back_(std::move(take_back)) {}

  void arrived(const LiveRequest& live, TimePoint now);
  void launched(const Plan& plan, TimePoint now) const;
  void reported(const Plan& plan, const IterationReport& report, TimePoint now) const;
  /// What the engine said. Requests that it ends are forgotten.
  void emitted(const std::vector<TokenEvent>& events, TimePoint now);
  /// An item that went back will not come again.
  void given_up(std::size_t index, TimePoint now);
  /// The process died with `in_flight` on the device: nothing that it held goes on.
  void died(const std::vector<PlanPtr>& in_flight, TimePoint now);
  void settled(const policy::SchedulerCore& core, TimePoint now) const;
  void finished(bool drained, TimePoint now) const;

  [[nodiscard]] bool lives(RequestId id) const { return live_.contains(id); }
  [[nodiscard]] std::size_t live() const { return live_.size(); }
  [[nodiscard]] std::size_t live_online() const { return live_online_; }
  /// Offline requests that went back.
  [[nodiscard]] std::uint64_t given_back() const { return given_back_; }
  [[nodiscard]] std::uint64_t given_up() const { return given_up_; }

 private:
  bool give_back(const TokenEvent& event, TimePoint now);
  void forget(RequestId id);

  const std::vector<RunObserver*>& observers_;
  TakeBack take_back_;
  std::map<RequestId, LiveRequest> live_;  ///< ordered, so that a death ends them in one order
  std::size_t live_online_ = 0;
  std::uint64_t given_back_ = 0, given_up_ = 0;
};

/// What a device reports that failed under `plan`.
IterationReport failed_report(const Plan& plan);

}  // namespace tandem::sim
