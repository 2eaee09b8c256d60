// /tokenize and /detokenize on the wire, in the shapes of vLLM.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "api/parse.hpp"
#include "core/result.hpp"
#include "core/text_call.hpp"
#include "core/units.hpp"
#include "model/tokenizer.hpp"

namespace tandem::api {

struct ParsedTextCall {
  TextCall call;
  std::vector<std::string> ignored_fields;  ///< as those of ParsedCall
  std::uint32_t num_ignored = 0;
};

/// The body of POST /tokenize: `prompt`, or `messages` as in a chat, with what goes with either.
Result<ParsedTextCall> parse_tokenize(std::string_view json, const ParseLimits& limits);
/// The body of POST /detokenize: `tokens`.
Result<ParsedTextCall> parse_detokenize(std::string_view json, const ParseLimits& limits);

/// {"count", "max_model_len", "tokens", "token_strs"}; the last is null unless there is a tokenizer
/// that names them.
std::string tokenize_reply(std::span<const TokenId> tokens, Tokens max_context,
                           const model::Tokenizer* names);
/// {"prompt"}
std::string detokenize_reply(std::string_view text);

}  // namespace tandem::api
