// How tokens are drawn and when a generation ends: fields that all endpoints share.
#pragma once

#include "api/json_fields.hpp"
#include "api/parse.hpp"
#include "core/generate.hpp"

namespace tandem::api {

/// temperature, top_p, top_k, min_p, the penalties, seed, logit_bias.
void read_sampling(Fields& fields, const ParseLimits& limits, GenerateCall& call);
/// stop, stop_token_ids, ignore_eos, include_stop_str_in_output.
void read_stop(Fields& fields, const ParseLimits& limits, GenerateCall& call);

}  // namespace tandem::api
