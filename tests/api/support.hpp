// What the tests of api/ share: limits, a tokenizer of a few tokens, JSON at hand.
#pragma once

#include <boost/json.hpp>
#include <catch2/catch.hpp>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/parse.hpp"
#include "core/generate.hpp"
#include "model/answer/answer_part.hpp"
#include "model/tokenizer.hpp"

namespace tandem::api::testing {

inline ParseLimits small_limits() {
  ParseLimits limits;
  limits.model = "demo";
  limits.vocab_size = 1000;
  limits.max_choices = 4;
  limits.max_prompts = 3;
  limits.max_messages = 5;
  limits.max_stop_bytes = 8;
  limits.max_logit_bias = 3;
  limits.max_tools = 3;
  limits.max_tool_bytes = 200;
  limits.max_tool_calls = 2;
  limits.max_template_arguments = 2;
  limits.max_template_argument_bytes = 40;
  return limits;
}

inline boost::json::object object_of(std::string_view text) {
  boost::system::error_code failed;
  auto value = boost::json::parse(text, failed);
  INFO(text);
  REQUIRE(!failed);
  REQUIRE(value.is_object());
  return std::move(value.as_object());
}

/// The smallest body of `endpoint`, with `fields` put in ("\"n\":2").
inline std::string body_of(Endpoint endpoint, std::string_view fields = {}) {
  std::string body = R"({"model":"demo")";
  if (endpoint == Endpoint::completions) body += R"(,"prompt":"Once")";
  if (endpoint == Endpoint::chat_completions)
    body += R"(,"messages":[{"role":"user","content":"Hi"}])";
  if (endpoint == Endpoint::responses) body += R"(,"input":"Hi")";
  if (!fields.empty()) body.append(",").append(fields);
  return body + "}";
}

inline Result<ParsedCall> parse(Endpoint endpoint, std::string_view fields = {}) {
  return parse_call(endpoint, body_of(endpoint, fields), small_limits());
}

/// The call of a body that must be allowed.
inline GenerateCall call_of(Endpoint endpoint, std::string_view fields = {}) {
  auto parsed = parse(endpoint, fields);
  INFO(fields);
  if (!parsed) FAIL(parsed.error().message);
  return std::move(parsed->call);
}

/// The error of a body that must be refused.
inline Error refusal_of(Endpoint endpoint, std::string_view fields) {
  auto parsed = parse(endpoint, fields);
  INFO(fields);
  REQUIRE(!parsed);
  return parsed.error();
}

inline constexpr Endpoint all_endpoints[] = {Endpoint::completions, Endpoint::chat_completions,
                                             Endpoint::responses};

/// Tokens are the entries of a list; an empty one is special.
class ListTokenizer final : public model::Tokenizer {
 public:
  explicit ListTokenizer(std::vector<std::string> tokens) : tokens_(std::move(tokens)) {}
  [[nodiscard]] std::vector<TokenId> encode(std::string_view, bool, bool) const override {
    return {};
  }
  [[nodiscard]] std::string_view token_bytes(TokenId id) const override {
    return tokens_.at(static_cast<std::size_t>(id));
  }
  [[nodiscard]] bool is_special(TokenId id) const override { return token_bytes(id).empty(); }
  [[nodiscard]] std::optional<TokenId> find(std::string_view) const override {
    return std::nullopt;
  }
  [[nodiscard]] std::size_t vocab_size() const override { return tokens_.size(); }

 private:
  std::vector<std::string> tokens_;
};

// Ids of the tokenizer below.
enum Word : TokenId {
  hello,
  space,
  world,
  end_of_text,
  euro_begin,
  euro_end,
  stop_begin,
  stop_end
};

inline model::TokenizerPtr words() {
  return std::make_shared<ListTokenizer>(
      std::vector<std::string>{"Hello", " ", "world", "", "\xe2\x82", "\xac", "#", "#"});
}

inline std::string content_of(const model::AnswerParts& parts) {
  return text_of(parts, model::AnswerPart::Kind::content);
}

inline TokenEvent token_event(std::uint64_t id, TokenId token,
                              std::optional<FinishReason> finish = {}) {
  TokenEvent event;
  event.id = RequestId(id);
  event.token = token;
  event.finish = finish;
  return event;
}

}  // namespace tandem::api::testing
