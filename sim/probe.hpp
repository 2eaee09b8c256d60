// A token sink that remembers what it was told, for tests and examples.
#pragma once

#include <caf/actor_system.hpp>
#include <memory>
#include <vector>

#include "actors/protocols.hpp"
#include "core/request.hpp"

namespace tandem::sim {

/// Every event in the order of arrival; read it only while the driver stands still.
using EventLog = std::shared_ptr<std::vector<TokenEvent>>;

TokenSink spawn_probe(caf::actor_system& system, EventLog log);

/// The ids in `log` in the order in which they ended.
std::vector<RequestId> finish_order(const std::vector<TokenEvent>& log);
/// The tokens of one request, in order.
std::vector<TokenId> tokens_of(const std::vector<TokenEvent>& log, RequestId id);

}  // namespace tandem::sim
