// In which order a sweep runs its plans on a device.
#include "cli/profile_sweep.hpp"

#include <catch2/catch.hpp>
#include <deque>

using namespace tandem;

namespace {

/// Holds a backend's caller to the contract of gpu/backend.hpp; every segment is done at once.
struct StrictBackend final : gpu::Backend {
  explicit StrictBackend(bool can_run_ahead) : can_run_ahead_(can_run_ahead) {
    limits_.kv_blocks = Blocks(64);
    limits_.max_iteration_tokens = Tokens(32);
    limits_.max_sequences = 4;
    limits_.max_context = Tokens(128);
    limits_.vocab_size = 50;
  }
  const gpu::DeviceLimits& limits() const override { return limits_; }
  std::uint32_t num_segments(const Plan& plan) const override {
    return plan.offline_only() ? 2 : 1;
  }
  bool runs_ahead(const Plan& plan) const override {
    return can_run_ahead_ && num_segments(plan) == 1;
  }
  void start_segment(const PlanPtr& plan, std::uint32_t index, gpu::SegmentCallback done) override {
    if (index == 0) {
      if (!started.empty()) {
        REQUIRE(runs_ahead(*plan));
        REQUIRE(started.size() == 1);
        REQUIRE(segments_ == num_segments(*started.front()));
        ++num_ahead;
      }
      started.push_back(plan);
      segments_ = 0;
    }
    REQUIRE(started.back() == plan);
    REQUIRE(index == segments_);
    ++segments_;
    done({});
  }
  Result<std::vector<Sample>> collect(const Plan& plan) override {
    REQUIRE(started.front().get() == &plan);
    REQUIRE((started.size() == 2 || segments_ == num_segments(plan)));
    started.pop_front();
    ++num_collected;
    return std::vector<Sample>{};
  }
  void abort(const Plan&) override { FAIL("a sweep aborts nothing"); }

  std::deque<PlanPtr> started;
  std::size_t num_ahead = 0, num_collected = 0;

 private:
  gpu::DeviceLimits limits_;
  const bool can_run_ahead_;
  std::uint32_t segments_ = 0;
};

}  // namespace

TEST_CASE("a sweep starts plans ahead where the device can, and leaves none behind") {
  for (const bool can : {true, false}) {
    StrictBackend backend(can);
    const auto samples = cli::sweep(
        backend, {.seconds = 60, .progress = [](double, std::size_t n) { return n < 200; }});
    REQUIRE(samples.has_value());
    CHECK(samples->size() == 200);
    CHECK(backend.started.empty());
    CHECK(backend.num_collected >= 200);
    CHECK((backend.num_ahead > 50) == can);
    for (const auto& one : *samples) CHECK(one.ms >= 0);
  }
}
