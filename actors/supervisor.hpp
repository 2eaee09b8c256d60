// The runtime's watch over its actors; see supervisor.cpp for the rule that it applies.
#pragma once

#include <caf/actor_addr.hpp>
#include <caf/actor_system.hpp>
#include <caf/typed_actor.hpp>
#include <cstdint>
#include <functional>
#include <string>

#include "actors/engine_status.hpp"
#include "actors/protocols.hpp"

namespace tandem {

namespace msg {
struct WatchActor {
  caf::strong_actor_ptr actor;
  const char* role = "";  ///< a string literal
  /// Makes its successor and tells everybody; empty: the actor's death ends the runtime.
  std::function<caf::strong_actor_ptr()> respawn;
};
struct OnFatal {
  std::function<void(std::string)> call;
};
}  // namespace msg

using Supervisor = Protocol<void(msg::WatchActor), void(msg::OnFatal)>;

Supervisor spawn_supervisor(caf::actor_system& system, EngineStatusPtr status,
                            std::uint32_t max_restarts);

}  // namespace tandem

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(tandem::msg::WatchActor)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(tandem::msg::OnFatal)
