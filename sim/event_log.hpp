// A run as text, one line per event; equal runs give equal bytes. Times are nanoseconds since the
// start.
//   12000 arrived id=3 class=online prompt=40 output=5
//   12000 launched plan=7 rows=41 3@0+40 9@128+1
//   19000 reported plan=7 done
//   19000 emitted 3:512 9:88/length
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "core/fnv.hpp"
#include "sim/run_observer.hpp"

namespace tandem::sim {

class EventLog final : public RunObserver {
 public:
  /// Gets each line, its end included.
  using Sink = std::function<void(std::string_view)>;
  explicit EventLog(Sink sink) : sink_(std::move(sink)) {}

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
  void begin(TimePoint now, std::string_view verb);
  void field(std::string_view name, std::uint64_t value);
  void end();

  Sink sink_;
  std::string line_;
};

/// The log's own hash, so that two long runs can be compared without keeping either.
class LogDigest {
 public:
  void add(std::string_view line);
  [[nodiscard]] std::uint64_t value() const { return hash_; }

 private:
  std::uint64_t hash_ = fnv_basis;
};

}  // namespace tandem::sim
