// The bounds that the server's options put on the bodies of calls.
#pragma once

#include "api/parse.hpp"
#include "net/services.hpp"

namespace tandem::net {

inline api::ParseLimits parse_limits(const Services& services) {
  api::ParseLimits limits;
  limits.model = services.model->name;
  limits.vocab_size = services.model->config.vocab_size;
  limits.max_choices = services.options.max_choices;
  limits.max_prompts = services.options.max_prompts;
  limits.strict_fields = services.options.strict_fields;
  return limits;
}

}  // namespace tandem::net
