// The bounds that the server's options and its model put on the bodies of calls.
#pragma once

#include "actors/served_model.hpp"
#include "net/services.hpp"

namespace tandem::net {

inline api::ParseLimits parse_limits(const Services& services) {
  return limits_for(*services.model, services.options.call_limits);
}

}  // namespace tandem::net
