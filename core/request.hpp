// A request as the engine sees it: token ids in, token events out. Immutable once admitted and
// shared by pointer inside the engine. Text, templates and stop strings stay in front of it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/result.hpp"
#include "core/units.hpp"

namespace tandem {

/// online: streamed under latency objectives. offline: may wait, is finished exactly once.
enum class RequestClass : std::uint8_t { online, offline };
std::string_view to_string(RequestClass request_class);

/// How a token is drawn from logits. Ranges are those of OpenAI's API, checked at the edge.
struct SamplingParams {
  float temperature = 1.0F;  ///< 0 is greedy
  std::int32_t top_k = 0;    ///< 0 is off
  float top_p = 1.0F;
  float min_p = 0.0F;
  float repetition_penalty = 1.0F;  ///< over prompt and output
  float presence_penalty = 0.0F;    ///< over output
  float frequency_penalty = 0.0F;   ///< over output
  std::uint64_t seed = 0;           ///< resolved: requests without a seed are given one at intake
  std::vector<std::pair<TokenId, float>> logit_bias;
  /// Number of alternatives to report beside the chosen token's log-probability; unset: none at
  /// all.
  std::optional<std::uint32_t> logprobs;

  friend bool operator==(const SamplingParams&, const SamplingParams&) = default;
};

/// When a generation ends, as far as token ids tell. Stop strings are cut in front of the engine.
struct StopRule {
  Tokens max_tokens{16};
  std::vector<TokenId>
      stop_token_ids;  ///< the model's end-of-text ids are among them unless ignored

  friend bool operator==(const StopRule&, const StopRule&) = default;
};

struct Request {
  RequestId id{};
  RequestClass request_class = RequestClass::online;
  std::vector<TokenId> prompt;  ///< never empty
  SamplingParams sampling;
  StopRule stop;
  std::uint64_t cache_namespace = 0;  ///< KV blocks are shared only inside one namespace
  TimePoint arrival{};
};
using RequestPtr = std::shared_ptr<const Request>;

/// Ids of batch items' requests start here; those of calls start at 1. Two actors mint ids, and
/// never the same one.
inline constexpr std::uint64_t first_item_request_id = 1ULL << 63;

enum class FinishReason : std::uint8_t { stop, length, cancelled, failed };
std::string_view to_string(FinishReason reason);

struct TokenLogprob {
  TokenId token = 0;
  float logprob = 0;

  friend bool operator==(const TokenLogprob&, const TokenLogprob&) = default;
};

/// One thing that happened to a request: a token, its end, or both at once. Events of a request
/// arrive in order and the last one, and only that, has `finish`.
struct TokenEvent {
  RequestId id{};
  std::optional<TokenId> token;
  float logprob = 0;  ///< of `token`; set if the request asked for logprobs
  std::vector<TokenLogprob> top_logprobs;
  std::optional<FinishReason> finish;
  std::optional<Error> error;  ///< with finish == failed
  Tokens cached_tokens{0};     ///< prompt tokens found in the prefix cache
};

}  // namespace tandem
