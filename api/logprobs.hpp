// Log-probabilities in the two styles of the API.
#pragma once

#include <boost/json/value.hpp>
#include <vector>

#include "api/choice_stream.hpp"

namespace tandem::api {

/// {"content": [{token, logprob, bytes, top_logprobs}], "refusal": null}
boost::json::value chat_logprobs(const std::vector<LogprobEntry>& entries);
/// {"tokens", "token_logprobs", "top_logprobs", "text_offset"}. A token that is a part of a
/// character is named by its bytes ("bytes:" and \xNN for each), so that alternatives stay apart.
/// The chosen token is among the alternatives.
boost::json::value completion_logprobs(const std::vector<LogprobEntry>& entries);
/// The chat style's entries alone, as Responses wants them.
boost::json::array logprob_entries(const std::vector<LogprobEntry>& entries);

}  // namespace tandem::api
