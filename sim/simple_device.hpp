// A device in virtual time, as an executor actor: an iteration takes a fixed cost and a cost per
// row, and every sampled token is a function of the request's id and the token's position. It fills
// the Executor protocol, so it can stand in a real runtime (RuntimeParts::executor).
#pragma once

#include <caf/actor_system.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "actors/protocols.hpp"
#include "core/plan.hpp"
#include "core/units.hpp"

namespace tandem::sim {

struct SimpleDeviceOptions {
  Duration fixed_cost = std::chrono::milliseconds(1);
  Duration cost_per_row = std::chrono::microseconds(10);
  /// The token that `request` yields when it has `context` positions behind it (prompt included).
  std::function<TokenId(RequestId request, std::uint32_t context)> token =
      [](RequestId request, std::uint32_t context) {
        return static_cast<TokenId>((raw(request) * 31 + context) % 97 + 3);
      };
};

/// What ran, in order; shared with whoever looks on. Read it only while the driver stands still.
using PlanLog = std::shared_ptr<std::vector<PlanPtr>>;

Executor spawn_simple_device(caf::actor_system& system, SimpleDeviceOptions options, PlanLog log);

}  // namespace tandem::sim
