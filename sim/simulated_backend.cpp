// See simulated_backend.hpp.
#include "sim/simulated_backend.hpp"

#include <utility>

#include "core/check.hpp"
#include "sim/run_observer.hpp"

namespace tandem::sim {
namespace {

class SimulatedBackend final : public gpu::Backend {
 public:
  SimulatedBackend(const RunOptions& options, std::uint64_t life, std::uint64_t id_offset,
                   RunningJob running)
      : device_(options.device),
        faults_(options.faults, options.seed),
        life_(life),
        id_offset_(id_offset),
        running_(std::move(running)) {
    limits_.device_name = "simulated";
    limits_.kernels = "none";
    limits_.kv_blocks = options.scheduler.kv_blocks;
    limits_.max_iteration_tokens = options.scheduler.max_iteration_tokens;
    limits_.max_sequences = options.scheduler.max_sequences;
    limits_.max_context = Tokens(options.scheduler.kv_blocks.value() * kv_block_tokens);
    limits_.vocab_size = options.vocab_size;
    limits_.row_quantum = options.scheduler.row_quantum;
  }

  [[nodiscard]] const gpu::DeviceLimits& limits() const override { return limits_; }

  [[nodiscard]] std::uint32_t num_segments(const Plan& plan) const override {
    return faults_.fate(plan, life_) == Fate::aborted ? 2 : 1;
  }

  void start_segment(const PlanPtr& plan, std::uint32_t index, gpu::SegmentCallback done) override {
    TANDEM_CHECK(index == 0, "a plan with a second segment is stopped before it");
    TANDEM_CHECK(!running_->has_value(), "a device runs one plan at a time");
    running_->emplace(DeviceJob{.plan = plan,
                                .fate = faults_.fate(*plan, life_),
                                .takes = faults_.cost(*plan, life_, device_->cost(*plan)),
                                .done = std::move(done)});
  }

  Result<std::vector<Sample>> collect(const Plan& plan) override {
    return simulated_samples(plan, limits_.vocab_size, id_offset_);
  }

  void abort(const Plan& /*plan*/) override {}

 private:
  DeviceModelPtr device_;
  Faults faults_;
  std::uint64_t life_, id_offset_;
  RunningJob running_;
  gpu::DeviceLimits limits_;
};

}  // namespace

std::unique_ptr<gpu::Backend> make_simulated_backend(const RunOptions& options, std::uint64_t life,
                                                     std::uint64_t id_offset, RunningJob running) {
  return std::make_unique<SimulatedBackend>(options, life, id_offset, std::move(running));
}

}  // namespace tandem::sim
