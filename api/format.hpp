// From core types to the wire: objects and stream chunks of OpenAI's API. Pure functions that
// return JSON text.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/choice_stream.hpp"
#include "core/generate.hpp"
#include "store/store.hpp"

namespace tandem::api {

/// What all chunks of one reply have in common.
struct ReplyHead {
  std::string id;
  std::int64_t created = 0;  ///< unix seconds
  std::string model;
  std::string service_tier;        ///< what was used: "default" or "flex"
  std::string system_fingerprint;  ///< left out if empty
};
/// A new head for `call`, with an id of the endpoint's kind ("cmpl-…", "chatcmpl-…").
ReplyHead new_reply_head(const GenerateCall& call, std::int64_t unix_now,
                         std::string_view system_fingerprint);

/// The whole reply of a completions or chat completions call.
std::string reply_body(const ReplyHead& head, const CallCollector& collected);

/// One server-sent event's JSON for choice `index`. `first`: the chat delta carries the role.
std::string stream_chunk(const ReplyHead& head, const GenerateCall& call, std::uint32_t index,
                         const Delta& delta, bool first);
/// The chunk behind the last one if the call asked for usage.
std::string usage_chunk(const ReplyHead& head, const GenerateCall& call, const Usage& usage);

std::string model_object(std::string_view id, std::int64_t created, std::int64_t max_context);
std::string model_list(std::string_view id, std::int64_t created, std::int64_t max_context);

std::string file_object(const store::FileInfo& file);
std::string file_list(const std::vector<store::FileInfo>& files, bool has_more);
std::string file_deleted(std::string_view id);
std::string batch_object(const store::BatchInfo& batch);
std::string batch_list(const std::vector<store::BatchInfo>& batches, bool has_more);

/// {"version": …}
std::string version_object(std::string_view version);

}  // namespace tandem::api
