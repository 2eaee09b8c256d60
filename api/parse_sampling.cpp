// See parse_sampling.hpp.
#include "api/parse_sampling.hpp"

#include <algorithm>
#include <boost/json.hpp>
#include <charconv>
#include <limits>

namespace tandem::api {
namespace json = boost::json;
namespace {

/// A key of logit_bias: a token id as JSON writes an integer, so that no id can stand there twice.
std::optional<TokenId> token_key(std::string_view key, const ParseLimits& limits) {
  TokenId token = -1;
  const auto* const last = key.data() + key.size();
  const auto [end, failed] = std::from_chars(key.data(), last, token);
  if (failed != std::errc() || end != last || token < 0 || token >= limits.vocab_size)
    return std::nullopt;
  if (key.size() > 1 && key.front() == '0') return std::nullopt;
  return token;
}

std::string allowed_ids(const ParseLimits& limits) {
  return "; allowed are token ids from 0 to " + std::to_string(limits.vocab_size - 1);
}

void read_logit_bias(Fields& fields, const ParseLimits& limits, SamplingParams& sampling) {
  const auto* bias = fields.object("logit_bias");
  if (!bias) return;
  if (bias->size() > limits.max_logit_bias)
    return fields.fail(Errc::invalid_value,
                       "'logit_bias' has " + std::to_string(bias->size()) +
                           " entries; allowed are at most " + std::to_string(limits.max_logit_bias),
                       "logit_bias");
  for (const auto& entry : *bias) {
    const std::string_view key(entry.key().data(), entry.key().size());
    const auto token = token_key(key, limits);
    if (!token)
      return fields.fail(
          Errc::invalid_value,
          "'logit_bias' has the key '" + excerpt(key, 32) + "'" + allowed_ids(limits),
          "logit_bias");
    Fields one(*bias, "logit_bias");
    const auto value = one.number(key, -100, 100);
    if (one.problem()) return fields.fail(*one.problem());
    sampling.logit_bias.emplace_back(*token, static_cast<float>(value.value_or(0)));
  }
}

void add_stop(Fields& fields, const ParseLimits& limits, const json::value& value,
              GenerateCall& call) {
  if (!value.is_string())
    return fields.fail(Errc::invalid_value,
                       "'stop' must be a string or an array of strings, not " + describe(value),
                       "stop");
  const auto& text = value.as_string();
  if (text.empty() || text.size() > limits.max_stop_bytes)
    return fields.fail(Errc::invalid_value,
                       "'stop' holds a string of " + std::to_string(text.size()) +
                           " bytes; allowed are 1 to " + std::to_string(limits.max_stop_bytes),
                       "stop");
  call.stop.emplace_back(text);
}

void read_stop_strings(Fields& fields, const ParseLimits& limits, GenerateCall& call) {
  const auto* stop = fields.find("stop");
  if (!stop) return;
  if (!stop->is_array()) return add_stop(fields, limits, *stop, call);
  const auto& strings = stop->as_array();
  if (strings.size() > 4)
    return fields.fail(
        Errc::invalid_value,
        "'stop' has " + std::to_string(strings.size()) + " strings; allowed are at most 4", "stop");
  for (const auto& value : strings) add_stop(fields, limits, value, call);
}

void read_stop_ids(Fields& fields, const ParseLimits& limits, GenerateCall& call) {
  const auto* ids = fields.array("stop_token_ids", 64);
  if (!ids) return;
  for (const auto& value : *ids) {
    if (!value.is_int64() || value.as_int64() < 0 || value.as_int64() >= limits.vocab_size)
      return fields.fail(Errc::invalid_value,
                         "'stop_token_ids' holds " + describe(value) + allowed_ids(limits),
                         "stop_token_ids");
    call.stop_token_ids.push_back(static_cast<TokenId>(value.as_int64()));
  }
}

}  // namespace

void read_sampling(Fields& fields, const ParseLimits& limits, GenerateCall& call) {
  auto& sampling = call.sampling;
  const auto number = [&](std::string_view name, double min, double max, float& value) {
    if (const auto given = fields.number(name, min, max)) value = static_cast<float>(*given);
  };
  number("temperature", 0, 2, sampling.temperature);
  number("top_p", 0, 1, sampling.top_p);
  number("min_p", 0, 1, sampling.min_p);
  number("repetition_penalty", 0.01, 10, sampling.repetition_penalty);
  number("presence_penalty", -2, 2, sampling.presence_penalty);
  number("frequency_penalty", -2, 2, sampling.frequency_penalty);
  // Both 0 and -1 mean "off" among the peers.
  const auto top_k = fields.integer("top_k", -1, 1 << 24).value_or(0);
  sampling.top_k = static_cast<std::int32_t>(std::max<std::int64_t>(top_k, 0));
  if (const auto seed = fields.integer("seed", std::numeric_limits<std::int64_t>::min(),
                                       std::numeric_limits<std::int64_t>::max())) {
    call.has_seed = true;
    sampling.seed = static_cast<std::uint64_t>(*seed);
  }
  read_logit_bias(fields, limits, sampling);
}

void read_stop(Fields& fields, const ParseLimits& limits, GenerateCall& call) {
  read_stop_strings(fields, limits, call);
  read_stop_ids(fields, limits, call);
  call.ignore_eos = fields.boolean("ignore_eos").value_or(false);
  call.include_stop_text = fields.boolean("include_stop_str_in_output").value_or(false);
}

}  // namespace tandem::api
