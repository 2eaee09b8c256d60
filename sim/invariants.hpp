// Watches a run for broken promises, after each event:
//   - each request ends exactly once, and says nothing after;
//   - its tokens come in order, without gap, and are those that the device sampled for it;
//   - it ends by length after exactly as many as were asked for;
//   - KV blocks are conserved, and a run that drained holds none;
//   - committed progress moves on without gap, and falls back only by as much as the scheduler says
//     it recomputes.
// The first that breaks is kept as a sentence; the run goes on.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "sim/run_observer.hpp"
#include "sim/workload.hpp"

namespace tandem::sim {

class InvariantChecker final : public RunObserver {
 public:
  /// `deep`: the core checks its books, too, after each event; O(everything) each time.
  InvariantChecker(const Workload& workload, std::int64_t vocab_size, bool deep);

  /// Empty: every promise was kept.
  [[nodiscard]] const std::string& violation() const { return violation_; }
  [[nodiscard]] std::uint64_t events() const { return events_; }

  void arrived(const Request& request, std::size_t index, TimePoint now) override;
  void launched(const Plan& plan, TimePoint now) override;
  void reported(const Plan& plan, const IterationReport& report, TimePoint now) override;
  void emitted(const std::vector<TokenEvent>& events, TimePoint now) override;
  void given_back(RequestId id, TimePoint now) override;
  void given_up(std::size_t index, TimePoint now) override;
  void died(TimePoint now) override;
  void settled(const policy::SchedulerCore& core, TimePoint now) override;
  void finished(bool drained, TimePoint now) override;

 private:
  struct Live {
    std::size_t index;
    std::int64_t prompt, asked, said, committed;
  };

  void expect(bool holds, RequestId id, const char* promise);
  void expect(bool holds, const char* promise);
  void take_event(const TokenEvent& event);

  const Workload* workload_;
  std::int64_t vocab_size_;
  bool deep_;
  std::string violation_;
  std::uint64_t events_ = 0;
  std::unordered_map<RequestId, Live> live_;
  std::unordered_set<std::size_t> ended_;  ///< places of requests whose end was told
  std::unordered_set<RequestId> known_;    ///< every id that ever arrived
  std::uint64_t fell_back_ = 0;            ///< positions committed again in this life
  std::uint64_t repetitions_ = 0;          ///< arrivals of places that had ended
  bool idle_ = true;                       ///< the core, after its last event
  Blocks kv_held_{0};                      ///< likewise
};

}  // namespace tandem::sim
