// A scheduler core and a device in one loop on one thread, two plans in flight as in service.
#pragma once

#include <catch2/catch.hpp>
#include <deque>
#include <map>
#include <memory>
#include <vector>

#include "gpu/backend.hpp"
#include "policy/scheduler_core.hpp"

namespace tandem::tests {

class Drive {
 public:
  Drive(std::unique_ptr<gpu::Backend> backend, policy::SchedulerOptions options)
      : backend_(std::move(backend)), core_(with_limits(options), policy::make_online_first()) {}

  void add(Request request) {
    apply(policy::Arrived{std::make_shared<const Request>(std::move(request))});
  }

  /// Until nothing is left; every request's tokens are in `tokens` then.
  void run() {
    while (!plans_.empty()) {
      const auto plan = plans_.front();
      plans_.pop_front();
      rows_of_largest = std::max(rows_of_largest, plan->num_rows());
      for (std::uint32_t s = 0; s < backend_->num_segments(*plan); ++s)
        backend_->start_segment(plan, s, [](const Result<void>& r) { REQUIRE(r.has_value()); });
      IterationReport report{.id = plan->id, .samples = *backend_->collect(*plan)};
      apply(policy::Reported{std::make_shared<const IterationReport>(std::move(report))});
    }
    CHECK(core_.idle());
  }

  std::map<RequestId, std::vector<TokenId>> tokens;
  std::uint32_t rows_of_largest = 0;

 private:
  policy::SchedulerOptions with_limits(policy::SchedulerOptions options) const {
    options.kv_blocks = backend_->limits().kv_blocks;
    return options;
  }
  void apply(const policy::Event& event) {
    const auto actions = core_.on(event, TimePoint{});
    for (const auto& action : actions) {
      if (const auto* launch = std::get_if<policy::Launch>(&action)) plans_.push_back(launch->plan);
      if (const auto* emit = std::get_if<policy::Emit>(&action))
        for (const auto& e : emit->events)
          if (e.token) tokens[e.id].push_back(*e.token);
    }
  }

  std::unique_ptr<gpu::Backend> backend_;
  policy::SchedulerCore core_;
  std::deque<PlanPtr> plans_;
};

}  // namespace tandem::tests
