// What every actor of ours does the same way: log what CAF would print, die loudly on an escaped
// exception, read the (real or virtual) clock.
#pragma once

#include <caf/actor_clock.hpp>
#include <caf/scheduled_actor.hpp>
#include <caf/send.hpp>
#include <exception>
#include <spdlog/spdlog.h>

#include "core/units.hpp"

namespace tandem {

/// The actor system's clock: steady time in service, virtual time under the test scheduler. May be
/// asked from any thread.
inline TimePoint now_by(const caf::actor_clock& clock) {
  return TimePoint(std::chrono::duration_cast<Duration>(clock.now().time_since_epoch()));
}
template <class Self>
TimePoint now(Self* self) {
  return now_by(self->clock());
}

/// One log line instead of CAF's prints; an exception ends the actor, and its monitors hear of it.
template <class Self>
void install_handlers(Self* self) {
  self->set_exception_handler([self](std::exception_ptr& thrown) -> caf::error {
    try {
      std::rethrow_exception(thrown);
    } catch (const std::exception& e) {
      spdlog::error("actor_threw actor={} what=\"{}\"", self->name(), e.what());
    } catch (...) {
      spdlog::error("actor_threw actor={} what=unknown", self->name());
    }
    return caf::make_error(caf::sec::runtime_error);
  });
  self->set_default_handler(
      [self](caf::scheduled_actor*, caf::message_view&) -> caf::result<caf::message> {
        spdlog::error("message_unexpected actor={}", self->name());
        return caf::sec::unexpected_message;
      });
}

/// Spawns `body` as the runtime wants it: on its own thread if `detached`, else on the scheduler.
template <class Body, class... Args>
auto spawn_actor(caf::actor_system& system, bool detached, Body body, Args&&... args) {
  return detached ? system.spawn<caf::detached>(body, std::forward<Args>(args)...)
                  : system.spawn(body, std::forward<Args>(args)...);
}

}  // namespace tandem
