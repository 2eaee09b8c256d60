// The device, as the executor sees it. One object owns weights, KV memory and sampler slots; it
// runs one plan after another, segment by segment, and decides nothing. Implementations: gpu/host
// (CPU) and, where the CUDA toolkit was found, gpu/cuda. Tests and the simulator bring their own.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "core/plan.hpp"
#include "core/result.hpp"
#include "core/units.hpp"

namespace tandem::gpu {

struct DeviceLimits {
  std::string device_name;
  std::string kernels;  ///< which kernel set was chosen, e.g. "avx512_bf16"
  std::string remark;   ///< what was asked for and is not done, and why; empty if nothing
  Blocks kv_blocks{0};
  Tokens max_iteration_tokens{0};   ///< rows of one plan
  std::uint32_t max_sequences = 0;  ///< slots
  Tokens max_context{0};
  std::int64_t vocab_size = 0;
  std::uint32_t num_layers = 0;
  std::uint32_t row_quantum = 1;  ///< row counts that are multiples of it use the device best
};

/// Called exactly once per started segment, from any thread, possibly before start_segment returns.
using SegmentCallback = std::function<void(Result<void>)>;

class Backend {
 public:
  virtual ~Backend() = default;

  [[nodiscard]] virtual const DeviceLimits& limits() const = 0;
  /// How many segments `plan` runs in: the layers between two safepoints. At least 1.
  [[nodiscard]] virtual std::uint32_t num_segments(const Plan& plan) const = 0;
  /// Whether `plan` can be started behind the plan before it, as soon as that one's last segment
  /// was started: so that the device need not wait for the host between the two. It has one segment
  /// then, and is not aborted once it was started.
  [[nodiscard]] virtual bool runs_ahead(const Plan& /*plan*/) const { return false; }
  /// Runs segment `index` (0, 1, … in order) of `plan`. A plan's first segment starts only after
  /// the previous plan was collected or aborted, or ahead of its collect (runs_ahead), one plan at
  /// most; callbacks of success come in the order of the starts. Slices that name a source_slice
  /// take the token sampled by the plan before.
  virtual void start_segment(const PlanPtr& plan, std::uint32_t index, SegmentCallback done) = 0;
  /// After the last segment, in the order of the plans: the samples, in slice order.
  virtual Result<std::vector<Sample>> collect(const Plan& plan) = 0;
  /// Instead of the next segment: forget the plan. Bindings stay; samples of the plan before it
  /// stay the last ones.
  virtual void abort(const Plan& plan) = 0;
  /// What went otherwise than asked for in the plans so far and did them no harm: told once.
  virtual std::optional<std::string> take_warning() { return std::nullopt; }
};

}  // namespace tandem::gpu
