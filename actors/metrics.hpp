// What operators see on /metrics: vLLM's names under `tandem_`, with a `class` label that tells
// online from offline. Labels come from closed sets only. prometheus-cpp's objects may be updated
// from any thread.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include "core/plan.hpp"
#include "core/request.hpp"
#include "core/units.hpp"
#include "policy/scheduler_core.hpp"
#include "policy/slo_statistics.hpp"

namespace tandem {

/// Why a call was not taken in.
enum class Shed : std::uint8_t { overloaded, draining, invalid };

class Metrics {
 public:
  Metrics();
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  /// The exposition text (version 0.0.4).
  [[nodiscard]] std::string text() const;

  void set_build_info(const std::string& version, const std::string& device,
                      const std::string& sqlite);
  void set_model(const std::string& model, Tokens max_context);
  /// Gauges and totals of the scheduler, after each of its events.
  void scheduler(const policy::SchedulerStats& stats);
  void iteration(const Plan& plan, const IterationReport& report);
  /// From a report in the scheduler's hands to the launch that it caused.
  void host_cost(Duration report_to_launch);
  void prediction_error(double relative);
  void latency_model(const policy::LatencyModel& model, bool drifting);
  void iteration_budget(double ms);
  void admitted(RequestClass request_class, Tokens prompt_tokens);
  /// How many calls wait for an encoder or are with one.
  void encoding(std::size_t calls);
  void encoded(RequestClass request_class, Duration since_arrival);
  /// A call as it was taken in: n choices, at most `max_tokens` each (zero: up to the context).
  void call_accepted(std::uint32_t choices, Tokens max_tokens);
  /// Fields of a call that nobody knows. Their names are no labels: they are the caller's.
  void fields_ignored(std::uint32_t fields);
  void first_token(RequestClass request_class, Duration since_arrival);
  void token_gap(RequestClass request_class, Duration gap);
  void generated(RequestClass request_class, std::uint64_t tokens);
  /// Of its stages only those are counted that the request has come to.
  void finished(const policy::RequestTimes& times, FinishReason reason, TimePoint at);
  void shed(Shed reason);
  void batch_item(bool succeeded);
  void fenced(std::uint64_t items);
  void observer_restarted();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tandem
