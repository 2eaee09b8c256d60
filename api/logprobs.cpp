// See logprobs.hpp.
#include "api/logprobs.hpp"

#include <algorithm>
#include <boost/json.hpp>

namespace tandem::api {
namespace json = boost::json;
namespace {

/// JSON has no infinities; an impossible token has OpenAI's stand-in for one.
double finite(float logprob) { return std::max(static_cast<double>(logprob), -9999.0); }

json::object token_object(const TokenText& token) {
  json::array bytes;
  for (const char c : token.bytes) bytes.push_back(static_cast<unsigned char>(c));
  return {{"token", token.token}, {"logprob", finite(token.logprob)}, {"bytes", std::move(bytes)}};
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
  std::size_t offset = 0;
  for (const auto& entry : entries) {
    tokens.emplace_back(entry.chosen.token);
    logprobs.emplace_back(finite(entry.chosen.logprob));
    offsets.emplace_back(offset);
    offset += entry.chosen.token.size();
    json::object top;
    for (const auto& token : entry.top) top[token.token] = finite(token.logprob);
    tops.emplace_back(std::move(top));
  }
  return json::object{{"tokens", std::move(tokens)},
                      {"token_logprobs", std::move(logprobs)},
                      {"top_logprobs", std::move(tops)},
                      {"text_offset", std::move(offsets)}};
}

}  // namespace tandem::api
