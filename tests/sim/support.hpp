// What the tests of the simulator share: a small device, small workloads, and one run of them.
#pragma once

#include <catch2/catch.hpp>
#include <filesystem>
#include <string>
#include <vector>

#include "sim/event_log.hpp"
#include "sim/fast_run.hpp"
#include "sim/full_run.hpp"
#include "sim/invariants.hpp"
#include "sim/measurements.hpp"
#include "sim/synthetic.hpp"

namespace tandem::sim::test {

/// 1 ms, and 20 us for each row.
inline DeviceModelPtr small_device() {
  policy::LatencyCoefficients coefficients;
  coefficients.fixed = 1;
  coefficients.row = 0.02;
  return make_fitted_device({policy::LatencyForm::context, coefficients});
}

inline policy::PlannerPtr online_first() { return policy::make_online_first(); }

inline RunOptions small_run(std::int64_t kv_blocks = 64) {
  RunOptions options;
  options.scheduler.max_iteration_tokens = Tokens(64);
  options.scheduler.max_sequences = 12;
  options.scheduler.kv_blocks = Blocks(kv_blocks);
  options.scheduler.offline_window = 8;
  options.scheduler.hash_key = 1;
  options.make_planner = online_first;
  options.device = small_device();
  options.vocab_size = 1000;
  // Hundreds of stores on a disk would mostly wait for it.
  if (std::filesystem::is_directory("/dev/shm")) options.scratch = "/dev/shm";
  return options;
}

inline WorkloadRequest request(RequestClass request_class, Duration at, std::int64_t prompt,
                               std::int64_t output) {
  WorkloadRequest request;
  request.arrival = at;
  request.request_class = request_class;
  request.prompt_tokens = Tokens(prompt);
  request.output_tokens = Tokens(output);
  return request;
}

/// `count` online requests in bursts and `items` offline ones.
inline Workload small_workload(std::uint64_t seed, std::size_t count, std::size_t items) {
  const LengthRange prompts{Tokens(1), Tokens(120)}, outputs{Tokens(1), Tokens(20)};
  auto online = synthetic_online({.rate = 60,
                                  .cv = 0.5 + static_cast<double>(seed % 7),
                                  .count = count,
                                  .prompt = prompts,
                                  .output = outputs,
                                  .seed = seed});
  return merge(std::move(*online), synthetic_offline(items, prompts, outputs, seed + 1));
}

struct Outcome {
  std::string log, violation;
  Measured measured;
  TimePoint ended_at;
};

enum class Mode { fast, full };

inline Outcome run(Mode mode, const Workload& workload, const RunOptions& options,
                   bool deep = true) {
  Outcome outcome;
  EventLog log([&outcome](std::string_view line) { outcome.log += line; });
  InvariantChecker checker(workload, options.vocab_size, deep);
  Measurements measurements(workload, options.horizon, std::chrono::seconds(1));
  const std::vector<RunObserver*> observers = {&log, &checker, &measurements};
  if (mode == Mode::fast) {
    outcome.ended_at = run_fast(workload, options, observers);
  } else {
    const auto ended_at = run_full(workload, options, observers);
    REQUIRE(ended_at.has_value());
    outcome.ended_at = *ended_at;
  }
  outcome.violation = checker.violation();
  outcome.measured = measurements.result();
  return outcome;
}

inline Outcome run(const Workload& workload, const RunOptions& options, bool deep = true) {
  return run(Mode::fast, workload, options, deep);
}

}  // namespace tandem::sim::test
