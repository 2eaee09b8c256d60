// /tokenize and /detokenize: what is taken, what is refused and by which name, what is answered.
#include "api/text_call.hpp"

#include "tests/api/support.hpp"

using namespace tandem;
using namespace tandem::api;
using namespace tandem::api::testing;
using Catch::Matchers::Contains;

namespace {

constexpr std::string_view talk = R"("messages":[{"role":"user","content":"Hi"}])";

std::string with(std::string_view what, std::string_view more = {}) {
  return "{" + std::string(what) + (more.empty() ? "" : ",") + std::string(more) + "}";
}

TokenizeCall tokenize_of(const std::string& body) {
  const auto parsed = parse_tokenize(body, small_limits());
  INFO(body);
  if (!parsed) FAIL(parsed.error().message);
  return std::get<TokenizeCall>(parsed->call);
}

Error refusal(const Result<ParsedTextCall>& parsed) {
  REQUIRE(!parsed);
  return parsed.error();
}
Error tokenize_refusal(const std::string& body, const ParseLimits& limits = small_limits()) {
  INFO(body);
  return refusal(parse_tokenize(body, limits));
}
Error detokenize_refusal(const std::string& body, const ParseLimits& limits = small_limits()) {
  INFO(body);
  return refusal(parse_detokenize(body, limits));
}

}  // namespace

TEST_CASE("a text to tokenize has vLLM's defaults, and every field arrives") {
  const auto plain = tokenize_of(R"({"prompt":"Once"})");
  CHECK(std::get<std::string>(plain.call.prompts.at(0)) == "Once");
  CHECK(plain.call.model == "demo");
  CHECK(plain.add_special);
  CHECK_FALSE(plain.return_token_strings);
  const auto all = tokenize_of(
      R"({"model":"demo","prompt":"","add_special_tokens":false,"return_token_strs":true})");
  CHECK(std::get<std::string>(all.call.prompts.at(0)).empty());
  CHECK_FALSE(all.add_special);
  CHECK(all.return_token_strings);
}

TEST_CASE("a conversation to tokenize is a chat's, with or without the assistant's header") {
  const auto plain = tokenize_of(with(talk));
  CHECK(std::get<std::vector<ChatMessage>>(plain.call.prompts.at(0)) ==
        std::vector<ChatMessage>{{"user", "Hi"}});
  CHECK(plain.call.endpoint == Endpoint::chat_completions);
  CHECK(plain.add_generation_prompt);
  const auto all = tokenize_of(
      with(talk, R"("model":"demo","add_generation_prompt":false,"add_special_tokens":false,
               "continue_final_message":false,"chat_template":null,"return_token_strs":true)"));
  CHECK_FALSE(all.add_generation_prompt);
  CHECK(all.return_token_strings);
}

TEST_CASE("what a chat shows its model beside the messages is tokenized with them") {
  const auto asked = tokenize_of(
      with(talk, R"("tools":[{"type":"function","function":{"name":"look"}}],"tool_choice":"auto",
                    "chat_template_kwargs":{"enable_thinking":false})"));
  REQUIRE(asked.call.tools.size() == 1);
  CHECK(asked.call.tools[0].name == "look");
  CHECK(offers_tools(asked.call));
  CHECK(asked.call.template_arguments == R"({"enable_thinking":false})");
  CHECK(tokenize_refusal(with(talk, R"("tools":[{"type":"search"}])")).param == "tools[0].type");
}

TEST_CASE("what cannot be tokenized as asked is refused by field") {
  for (const auto& [body, param] : std::vector<std::pair<std::string, std::string>>{
           {"{}", "prompt"},
           {with(talk, R"("prompt":"x")"), "prompt"},
           {R"({"prompt":7})", "prompt"},
           {R"({"prompt":["a"]})", "prompt"},
           {R"({"prompt":[1,2]})", "prompt"},
           {R"({"messages":[]})", "messages"},
           {R"({"messages":[{"role":"wizard","content":"x"}]})", "messages[0].role"},
           {R"({"prompt":"x","add_special_tokens":"yes"})", "add_special_tokens"},
           {R"({"prompt":"x","return_token_strs":1})", "return_token_strs"},
           {R"({"prompt":"x","model":3})", "model"}}) {
    const auto reason = tokenize_refusal(body);
    CHECK(reason.code == Errc::invalid_value);
    CHECK(reason.param == param);
  }
  for (const auto& [field, param] : std::vector<std::pair<std::string, std::string>>{
           {R"("add_special_tokens":true)", "add_special_tokens"},
           {R"("continue_final_message":true)", "continue_final_message"},
           {R"("chat_template":"{{ 1 }}")", "chat_template"},
           {R"("mm_processor_kwargs":{"a":1})", "mm_processor_kwargs"},
           {R"("truncate_prompt_tokens":3)", "truncate_prompt_tokens"}}) {
    const auto reason = tokenize_refusal(with(talk, field));
    CHECK(reason.code == Errc::unsupported);
    CHECK(reason.param == param);
  }
  const auto other = tokenize_refusal(R"({"prompt":"x","model":"gpt"})");
  CHECK(other.code == Errc::model_not_found);
  CHECK_THAT(other.message, Contains("'gpt'") && Contains("'demo'"));
}

TEST_CASE("tokens to turn into text are of the vocabulary") {
  const auto parsed = parse_detokenize(R"({"tokens":[0,999,5]})", small_limits());
  REQUIRE(parsed.has_value());
  const auto& call = std::get<DetokenizeCall>(parsed->call);
  CHECK(call.tokens == std::vector<TokenId>{0, 999, 5});
  CHECK(call.max_text_bytes == small_limits().max_text_bytes);
  CHECK(parse_detokenize(R"({"model":"demo","tokens":[]})", small_limits()).has_value());

  for (const auto* value : {"1000", "-1", "1.5", "\"1\"", "[1]", "18446744073709551615"}) {
    const auto reason = detokenize_refusal(R"({"tokens":[3,)" + std::string(value) + "]}");
    CHECK(reason.code == Errc::invalid_value);
    CHECK(reason.param == "tokens");
    CHECK_THAT(reason.message, Contains("0 to 999"));
  }
  for (const auto* body : {"{}", R"({"tokens":null})", R"({"tokens":7})", R"({"tokens":"1"})"})
    CHECK(detokenize_refusal(body).param == "tokens");
  CHECK(detokenize_refusal(R"({"tokens":[1],"model":"gpt"})").code == Errc::model_not_found);
}

TEST_CASE("calls about text count fields that nobody knows, or refuse them if fields are strict") {
  const auto parsed = parse_tokenize(R"({"prompt":"x","zebra":1,"yak":2})", small_limits());
  REQUIRE(parsed.has_value());
  CHECK(parsed->num_ignored == 2);
  CHECK(parsed->ignored_fields == std::vector<std::string>{"zebra", "yak"});
  auto limits = small_limits();
  limits.strict_fields = true;
  for (const auto& reason : {tokenize_refusal(R"({"prompt":"x","zebra":1})", limits),
                             detokenize_refusal(R"({"tokens":[1],"zebra":1})", limits)}) {
    CHECK(reason.code == Errc::unsupported);
    CHECK(reason.param == "zebra");
  }
}

TEST_CASE("replies have vLLM's fields; names are null unless asked for") {
  const std::vector<TokenId> tokens{hello, space, euro_begin};
  CHECK(object_of(tokenize_reply(tokens, Tokens(2048), nullptr)) ==
        object_of(R"({"count":3,"max_model_len":2048,"tokens":[0,1,4],"token_strs":null})"));
  CHECK(object_of(tokenize_reply(tokens, Tokens(2048), words().get())).at("token_strs") ==
        boost::json::array{"Hello", " ", "\xef\xbf\xbd"});
  CHECK(object_of(tokenize_reply({}, Tokens(1), words().get())) ==
        object_of(R"({"count":0,"max_model_len":1,"tokens":[],"token_strs":[]})"));
  CHECK(detokenize_reply("a\"\n") == R"({"prompt":"a\"\n"})");
}
