// Supervisor: monitors the six actors and applies the rule of runtime.hpp.
//   in   caf::down_msg    of a monitored actor
//        WatchActor       monitor this one, under this role
//        OnFatal          whom to tell when the runtime ends by itself
//   An observer (predictor, profiler) is respawned as long as its budget lasts; the death of any
//   other actor is fatal: EngineStatus says who died, and the handler is called once.
#include "actors/supervisor.hpp"

#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <map>

#include "actors/actor_support.hpp"

namespace tandem {
namespace {

struct SupervisorState {
  static inline const char* name = "supervisor";
  EngineStatusPtr status;
  std::uint32_t restarts_left = 0;
  std::map<caf::actor_addr, msg::WatchActor>
      watched;  ///< their `actor` is left empty: no handle is kept
  std::function<void(std::string)> on_fatal;
  std::string fatal_reason;  ///< set once
};
using Self = Supervisor::stateful_pointer<SupervisorState>;

void tell_fatal(SupervisorState& state) {
  if (state.fatal_reason.empty() || !state.on_fatal) return;
  auto handler = std::exchange(state.on_fatal, nullptr);
  handler(state.fatal_reason);
}

void watch(Self self, msg::WatchActor watch_actor) {
  const auto address = caf::actor_cast<caf::actor_addr>(watch_actor.actor);
  self->monitor(address);
  watch_actor.actor = nullptr;
  self->state.watched[address] = std::move(watch_actor);
}

void on_down(Self self, const caf::down_msg& down) {
  auto& state = self->state;
  const auto found = state.watched.find(down.source);
  if (found == state.watched.end()) return;
  auto watched = std::move(found->second);
  state.watched.erase(found);
  const auto reason = self->system().render(down.reason);
  spdlog::error("actor_died actor={} reason=\"{}\"", watched.role, reason);
  if (watched.respawn && state.restarts_left > 0) {
    --state.restarts_left;
    spdlog::warn("actor_respawned actor={} respawns_left={}", watched.role, state.restarts_left);
    watched.actor = watched.respawn();
    return watch(self, std::move(watched));
  }
  if (!state.fatal_reason.empty()) return;
  state.fatal_reason = std::string("actor ") + watched.role + " died: " + reason;
  state.status->died(watched.role);
  tell_fatal(state);
}

Supervisor::behavior_type supervisor(Self self, EngineStatusPtr status,
                                     std::uint32_t max_restarts) {
  install_handlers(self);
  self->state.status = std::move(status);
  self->state.restarts_left = max_restarts;
  self->set_down_handler([self](const caf::down_msg& down) { on_down(self, down); });
  return {
      [self](const msg::WatchActor& watch_actor) { watch(self, watch_actor); },
      [self](const msg::OnFatal& handler) {
        self->state.on_fatal = handler.call;
        tell_fatal(self->state);
      },
  };
}

}  // namespace

Supervisor spawn_supervisor(caf::actor_system& system, EngineStatusPtr status,
                            std::uint32_t max_restarts) {
  return system.spawn(supervisor, std::move(status), max_restarts);
}

}  // namespace tandem
