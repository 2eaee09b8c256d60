// What a caller asked for, after parsing and before tokenization: the value that net/ and the
// offline queue hand to request intake and item preparation. Pure data; ranges are already checked.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "core/request.hpp"
#include "core/units.hpp"

namespace tandem {

enum class Endpoint : std::uint8_t { completions, chat_completions, responses };

struct ChatMessage {
  std::string role;  ///< system | developer | user | assistant
  std::string content;
};

/// Text, token ids, or a conversation that the model's chat format renders.
using Prompt = std::variant<std::string, std::vector<TokenId>, std::vector<ChatMessage>>;

struct GenerateCall {
  Endpoint endpoint = Endpoint::completions;
  std::string model;
  /// At least one; more than one only for /v1/completions with a list of prompts.
  std::vector<Prompt> prompts;
  std::uint32_t n = 1;  ///< choices per prompt
  SamplingParams sampling;
  bool has_seed = false;             ///< sampling.seed was given by the caller
  std::optional<Tokens> max_tokens;  ///< unset: up to the context's end (completions: 16)
  std::vector<TokenId> stop_token_ids;
  std::vector<std::string> stop;   ///< at most 4
  bool include_stop_text = false;  ///< include_stop_str_in_output
  bool ignore_eos = false;
  bool echo = false;  ///< completions only
  RequestClass request_class = RequestClass::online;
  std::string service_tier;  ///< what the reply reports: "default" or "flex"
  std::string cache_salt;    ///< separates KV sharing; empty: the tenant's own
  bool stream = false;
  bool include_usage = false;  ///< stream_options.include_usage
};

/// One choice that the engine works on: its request id and the length of its prompt.
struct AcceptedChoice {
  RequestId id{};
  Tokens prompt_tokens{0};
};

/// Tokens of a call, for `usage`.
struct Usage {
  Tokens prompt{0};
  Tokens completion{0};
  Tokens cached{0};
};

}  // namespace tandem
