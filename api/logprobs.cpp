// See logprobs.hpp.
#include "api/logprobs.hpp"

#include <algorithm>
#include <boost/json.hpp>
#include <cmath>

namespace tandem::api {
namespace json = boost::json;
namespace {

/// JSON has no infinities; an impossible token has OpenAI's stand-in for one.
double finite(float logprob) {
  return std::isfinite(logprob) ? std::max(static_cast<double>(logprob), -9999.0) : -9999.0;
}

json::object token_object(const TokenText& token) {
  json::array bytes;
  for (const char c : token.bytes) bytes.push_back(static_cast<unsigned char>(c));
  return {{"token", token.token}, {"logprob", finite(token.logprob)}, {"bytes", std::move(bytes)}};
}

/// A token's name in the completions style.
std::string token_name(const TokenText& token) {
  if (token.bytes.empty() || token.bytes == token.token) return token.token;
  static constexpr std::string_view digits = "0123456789abcdef";
  std::string name = "bytes:";
  for (const char c : token.bytes) {
    const auto byte = static_cast<unsigned char>(c);
    name += {'\\', 'x', digits[byte >> 4U], digits[byte & 15U]};
  }
  return name;
}

}  // namespace

json::array logprob_entries(const std::vector<LogprobEntry>& entries) {
  json::array result;
  for (const auto& entry : entries) {
    auto object = token_object(entry.chosen);
    json::array top;
    for (const auto& token : entry.top) top.push_back(token_object(token));
    object["top_logprobs"] = std::move(top);
    result.push_back(std::move(object));
  }
  return result;
}

json::value chat_logprobs(const std::vector<LogprobEntry>& entries) {
  return json::object{{"content", logprob_entries(entries)}, {"refusal", nullptr}};
}

json::value completion_logprobs(const std::vector<LogprobEntry>& entries) {
  json::array tokens, logprobs, tops, offsets;
  for (const auto& entry : entries) {
    const auto name = token_name(entry.chosen);
    json::object top;
    for (const auto& token : entry.top) top[token_name(token)] = finite(token.logprob);
    top[name] = finite(entry.chosen.logprob);
    tokens.emplace_back(name);
    logprobs.emplace_back(finite(entry.chosen.logprob));
    offsets.emplace_back(entry.text_offset);
    tops.emplace_back(std::move(top));
  }
  return json::object{{"tokens", std::move(tokens)},
                      {"token_logprobs", std::move(logprobs)},
                      {"top_logprobs", std::move(tops)},
                      {"text_offset", std::move(offsets)}};
}

}  // namespace tandem::api
