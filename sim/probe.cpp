// See probe.hpp.
#include "sim/probe.hpp"

#include <caf/typed_event_based_actor.hpp>

namespace tandem::sim {

TokenSink spawn_probe(caf::actor_system& system, EventLog log) {
  return system.spawn(
      [](TokenSink::pointer, const EventLog& events) -> TokenSink::behavior_type {
        return {[events](const msg::TokensEmitted& emitted) {
          events->insert(events->end(), emitted.events->begin(), emitted.events->end());
        }};
      },
      std::move(log));
}

std::vector<RequestId> finish_order(const std::vector<TokenEvent>& log) {
  std::vector<RequestId> order;
  for (const auto& event : log)
    if (event.finish) order.push_back(event.id);
  return order;
}

std::vector<TokenId> tokens_of(const std::vector<TokenEvent>& log, RequestId id) {
  std::vector<TokenId> tokens;
  for (const auto& event : log)
    if (event.id == id && event.token) tokens.push_back(*event.token);
  return tokens;
}

}  // namespace tandem::sim
