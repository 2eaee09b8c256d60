// The prompts of completions. See parse_prompt.hpp.
#include "api/parse_prompt.hpp"

#include <boost/json.hpp>

namespace tandem::api {
namespace json = boost::json;
namespace {

bool is_token_array(const json::value& value) {
  return value.is_array() && !value.as_array().empty() && value.as_array().front().is_number();
}

void add_prompt(Fields& fields, const json::value& value, const ParseLimits& limits,
                GenerateCall& call) {
  if (value.is_string())
    return static_cast<void>(call.prompts.emplace_back(std::string(value.as_string())));
  if (is_token_array(value))
    return static_cast<void>(
        call.prompts.emplace_back(read_token_ids(fields, value.as_array(), "prompt", limits)));
  fields.fail(Errc::invalid_value,
              "'prompt' must be a string, an array of strings, an array of token ids or an array "
              "of such arrays, not " +
                  describe(value),
              "prompt");
}

}  // namespace

std::vector<TokenId> read_token_ids(Fields& fields, const json::array& array, std::string_view name,
                                    const ParseLimits& limits) {
  std::vector<TokenId> ids;
  ids.reserve(array.size());
  for (const auto& value : array) {
    if (!value.is_int64() || value.as_int64() < 0 || value.as_int64() >= limits.vocab_size) {
      fields.fail(Errc::invalid_value,
                  "'" + std::string(name) + "' holds " + describe(value) +
                      "; allowed are token ids from 0 to " + std::to_string(limits.vocab_size - 1),
                  name);
      return {};
    }
    ids.push_back(static_cast<TokenId>(value.as_int64()));
  }
  return ids;
}

void read_completion_prompts(Fields& fields, const ParseLimits& limits, GenerateCall& call) {
  const auto* prompt = fields.find("prompt");
  if (!prompt) return fields.fail(Errc::invalid_value, "'prompt' is missing", "prompt");
  if (!prompt->is_array() || is_token_array(*prompt))
    return add_prompt(fields, *prompt, limits, call);
  const auto& prompts = prompt->as_array();
  if (prompts.empty() || prompts.size() > limits.max_prompts)
    return fields.fail(Errc::invalid_value,
                       "'prompt' has " + std::to_string(prompts.size()) +
                           " prompts; allowed are 1 to " + std::to_string(limits.max_prompts),
                       "prompt");
  for (const auto& value : prompts) add_prompt(fields, value, limits, call);
}

}  // namespace tandem::api
