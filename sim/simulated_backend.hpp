// The device of full mode: a gpu::Backend under the real executor. An iteration takes what the
// device model says and ends as the faults have it, when the driver of virtual time says so.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "gpu/backend.hpp"
#include "sim/run_options.hpp"

namespace tandem::sim {

/// What runs on the device, from its start until the driver takes it away and calls `done`.
struct DeviceJob {
  PlanPtr plan;
  Fate fate = Fate::done;
  Duration takes{};
  gpu::SegmentCallback done;
};
/// Written by the backend when a plan starts, read by the driver while nothing runs.
using RunningJob = std::shared_ptr<std::optional<DeviceJob>>;

/// For the process's `life` (0, 1, …). In an observer's eyes the requests' ids are greater by
/// `id_offset`; the tokens sampled are those of these ids. A plan whose fate is to be aborted has a
/// safepoint where it stops; all others run in one segment.
std::unique_ptr<gpu::Backend> make_simulated_backend(const RunOptions& options, std::uint64_t life,
                                                     std::uint64_t id_offset, RunningJob running);

}  // namespace tandem::sim
