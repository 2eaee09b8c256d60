// The bounds that the server's options and its model put on the bodies of calls.
#pragma once

#include "actors/served_model.hpp"
#include "net/services.hpp"

namespace tandem::net {

inline api::ParseLimits parse_limits(const Services& services) {
  auto limits = limits_for(*services.model, services.options.call_limits);
  limits.max_text_bytes = services.options.max_body_bytes;
  return limits;
}

}  // namespace tandem::net
