// The scheduler's watch of full mode: tells the run's observers what the real scheduler takes in
// and decides, in the words of fast mode. After a death the actors begin again with id 1; observers
// see ids that are never given twice.
#pragma once

#include <cstdint>
#include <deque>
#include <set>
#include <vector>

#include "actors/scheduler_watch.hpp"
#include "sim/run_books.hpp"

namespace tandem::sim {

class RunRecorder final : public SchedulerWatch {
 public:
  /// A request's seed is its item's number (OfflineItem::number). Both must outlive this.
  RunRecorder(const Workload& workload, RunBooks& books) : workload_(&workload), books_(&books) {}

  /// By how much ids of the process's `life` are greater for observers.
  static std::uint64_t id_offset(std::uint64_t life) { return life << 40; }
  void begin_life(std::uint64_t life);
  /// The process died. What its actors still do is told to nobody.
  void end_life(TimePoint now);

  void happens(const policy::Event& event, TimePoint now) override;
  void decides(const policy::Action& action, TimePoint now) override;
  void settles(const policy::SchedulerCore& core, TimePoint now) override;

  [[nodiscard]] std::uint64_t events() const { return events_; }
  /// Tokens and ends of calls.
  [[nodiscard]] std::uint64_t online_events() const { return online_events_; }
  /// Items that entered the scheduler, those that come again included.
  [[nodiscard]] std::uint64_t items_supplied() const { return items_supplied_; }
  /// A Wake was not answered yet.
  [[nodiscard]] bool waits_for_wake() const { return !wakes_.empty(); }
  /// The observers' id of one that the actors gave in this life.
  [[nodiscard]] RequestId seen(RequestId id) const { return RequestId(raw(id) + offset_); }

 private:
  void arrive(const RequestPtr& request, TimePoint now);
  void report(const IterationReport& report, TimePoint now);
  [[nodiscard]] PlanPtr seen(const PlanPtr& plan) const;
  [[nodiscard]] RequestPtr seen(const RequestPtr& request) const;

  const Workload* workload_;
  RunBooks* books_;
  std::uint64_t offset_ = 0;
  bool alive_ = false;
  std::deque<PlanPtr> in_flight_;  ///< as observers saw them, oldest first
  std::multiset<TimePoint> wakes_;
  std::uint64_t events_ = 0, online_events_ = 0, items_supplied_ = 0;
};

}  // namespace tandem::sim
