// Log-probabilities in the two styles of the API.
#pragma once

#include <boost/json/value.hpp>
#include <vector>

#include "api/choice_stream.hpp"

namespace tandem::api {

/// {"content": [{token, logprob, bytes, top_logprobs}], "refusal": null}
boost::json::value chat_logprobs(const std::vector<LogprobEntry>& entries);
/// {"tokens", "token_logprobs", "top_logprobs", "text_offset"}, offsets within these entries.
boost::json::value completion_logprobs(const std::vector<LogprobEntry>& entries);
/// The chat style's entries alone, as Responses wants them.
boost::json::array logprob_entries(const std::vector<LogprobEntry>& entries);

}  // namespace tandem::api
