// The prompt in its many forms.
#include "tests/api/support.hpp"

using namespace tandem;
using namespace tandem::api;
using namespace tandem::api::testing;
using Catch::Matchers::Contains;

namespace {

constexpr auto completions = Endpoint::completions;
constexpr auto chat = Endpoint::chat_completions;
constexpr auto responses = Endpoint::responses;

Result<ParsedCall> with(Endpoint endpoint, std::string_view field, std::string_view value) {
  return parse_call(endpoint,
                    R"({"model":"demo",")" + std::string(field) + "\":" + std::string(value) + "}",
                    small_limits());
}

std::vector<Prompt> prompts(std::string_view value) {
  auto parsed = with(completions, "prompt", value);
  INFO(value);
  REQUIRE(parsed.has_value());
  return parsed->call.prompts;
}

std::vector<ChatMessage> conversation(Endpoint endpoint, std::string_view value) {
  auto parsed = with(endpoint, endpoint == chat ? "messages" : "input", value);
  INFO(value);
  if (!parsed) FAIL(parsed.error().message);
  REQUIRE(parsed->call.prompts.size() == 1);
  return std::get<std::vector<ChatMessage>>(parsed->call.prompts.front());
}

}  // namespace

TEST_CASE("completions take text, texts, token ids and arrays of those") {
  using Ids = std::vector<TokenId>;
  CHECK(std::get<std::string>(prompts(R"("")").at(0)).empty());
  CHECK(std::get<std::string>(prompts(R"("a\u0000b")").at(0)) == std::string("a\0b", 3));
  CHECK(prompts(R"(["a","b","c"])").size() == 3);
  CHECK(std::get<Ids>(prompts("[0,999]").at(0)) == Ids{0, 999});
  const auto many = prompts("[[1],[2,3]]");
  REQUIRE(many.size() == 2);
  CHECK(std::get<Ids>(many[1]) == Ids{2, 3});
}

TEST_CASE("other prompts are refused with what they held") {
  for (const auto* value :
       {"null", "1", "true", "{}", "[]", "[[]]", "[{}]", "[null]", "[1,\"a\"]", "[\"a\",1]",
        "[[1,[2]]]", "[-1]", "[1000]", "[1.5]", "[1e3]", "[[1000]]", "[18446744073709551615]",
        R"(["a","b","c","d"])", "[[1],[2],[3],[4]]"}) {
    const auto parsed = with(completions, "prompt", value);
    INFO(value);
    REQUIRE(!parsed);
    CHECK(parsed.error().code == Errc::invalid_value);
    CHECK(parsed.error().param == "prompt");
  }
  CHECK_THAT(with(completions, "prompt", "[1000]").error().message,
             Contains("the number 1000") && Contains("from 0 to 999"));
}

TEST_CASE("chat messages are strings or arrays of text parts") {
  const auto messages = conversation(chat, R"([
      {"role":"system","content":"S"},{"role":"developer","content":"D","name":"n"},
      {"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},
      {"role":"assistant","content":"A","refusal":null,"tool_calls":[]},
      {"role":"user","content":""}])");
  REQUIRE(messages.size() == 5);
  CHECK(messages[1].role == "developer");
  CHECK(messages[2].content == "ab");
  CHECK(messages[4].content.empty());
}

TEST_CASE("bad messages are refused with their place") {
  struct Row {
    const char *messages, *param;
    Errc code;
  };
  const Row rows[] = {
      {"null", "messages", Errc::invalid_value},
      {"[]", "messages", Errc::invalid_value},
      {"{}", "messages", Errc::invalid_value},
      {"\"hi\"", "messages", Errc::invalid_value},
      {"[1]", "messages[0]", Errc::invalid_value},
      {R"([{"content":"x"}])", "messages[0].role", Errc::invalid_value},
      {R"([{"role":"user"}])", "messages[0].content", Errc::invalid_value},
      {R"([{"role":"assistant","content":null}])", "messages[0].content", Errc::invalid_value},
      {R"([{"role":"robot","content":"x"}])", "messages[0].role", Errc::invalid_value},
      {R"([{"role":7,"content":"x"}])", "messages[0].role", Errc::invalid_value},
      {R"([{"role":"function","content":"x"}])", "messages[0].role", Errc::unsupported},
      {R"([{"role":"user","content":1}])", "messages[0].content", Errc::invalid_value},
      {R"([{"role":"user","content":["x"]}])", "messages[0].content", Errc::invalid_value},
      {R"([{"role":"user","content":[{"type":"text"}]}])", "messages[0].content",
       Errc::invalid_value},
      {R"([{"role":"user","content":"x"},{"role":"user","content":[{"type":"image_url"}]}])",
       "messages[1].content", Errc::unsupported},
      {R"([{"role":"user","content":[{"type":"input_audio"}]}])", "messages[0].content",
       Errc::unsupported},
      {R"([{"role":"assistant","content":"x","function_call":{"name":"f"}}])",
       "messages[0].function_call", Errc::unsupported},
  };
  for (const auto& row : rows) {
    const auto parsed = with(chat, "messages", row.messages);
    INFO(row.messages);
    REQUIRE(!parsed);
    CHECK(parsed.error().param == row.param);
    CHECK(parsed.error().code == row.code);
  }
  std::string six = "[";
  for (int i = 0; i < 6; ++i)
    six += (i ? "," : "") + std::string(R"({"role":"user","content":"x"})");
  CHECK(with(chat, "messages", six + "]").error().param == "messages");
}

TEST_CASE("a response's input is text or message items, behind its instructions") {
  const auto text = conversation(responses, R"("Hi")");
  REQUIRE(text.size() == 1);
  CHECK(text[0].role == "user");
  const auto items = conversation(responses, R"([
      {"role":"user","content":"a"},
      {"type":"message","role":"assistant","id":"msg_1","status":"completed",
       "content":[{"type":"output_text","text":"b","annotations":[]}]},
      {"type":"message","role":"user","content":[{"type":"input_text","text":"c"}]}])");
  REQUIRE(items.size() == 3);
  CHECK(items[1].content == "b");
  CHECK(items[2].content == "c");
  const auto parsed = parse(responses, R"("instructions":"Be brief.")");
  REQUIRE(parsed.has_value());
  const auto& messages = std::get<std::vector<ChatMessage>>(parsed->call.prompts.at(0));
  REQUIRE(messages.size() == 2);
  CHECK(messages[0].role == "system");
  CHECK(messages[0].content == "Be brief.");
}

TEST_CASE("input items other than messages of text are refused") {
  struct Row {
    const char *input, *param;
    Errc code;
  };
  const Row rows[] = {
      {"null", "input", Errc::invalid_value},
      {"[]", "input", Errc::invalid_value},
      {"7", "input", Errc::invalid_value},
      {R"([{"type":"web_search_call"}])", "input[0].type", Errc::unsupported},
      {R"([{"type":"item_reference","id":"msg_1"}])", "input[0].type", Errc::unsupported},
      {R"([{"role":"tool","content":"x"}])", "input[0].role", Errc::unsupported},
      {R"([{"role":"user","content":[{"type":"input_image"}]}])", "input[0].content",
       Errc::unsupported},
      {R"([{"role":"user","content":[{"type":"input_file"}]}])", "input[0].content",
       Errc::unsupported},
  };
  for (const auto& row : rows) {
    const auto parsed = with(responses, "input", row.input);
    INFO(row.input);
    REQUIRE(!parsed);
    CHECK(parsed.error().param == row.param);
    CHECK(parsed.error().code == row.code);
  }
  CHECK(refusal_of(responses, R"("instructions":1)").param == "instructions");
}
