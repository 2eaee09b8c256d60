// Tools on the wire: definitions, choice, calls and results in conversations, template arguments.
#include "tests/api/support.hpp"

using namespace tandem;
using namespace tandem::api;
using namespace tandem::api::testing;
using Catch::Matchers::Contains;

namespace {

constexpr auto chat = Endpoint::chat_completions;
constexpr auto responses = Endpoint::responses;

std::string with_tools(std::string_view tools) { return "\"tools\":" + std::string(tools); }

Result<ParsedCall> parse_messages(std::string_view messages) {
  return parse_call(chat, R"({"model":"demo","messages":)" + std::string(messages) + "}",
                    small_limits());
}
Result<ParsedCall> parse_input(std::string_view items) {
  return parse_call(responses, R"({"model":"demo","input":)" + std::string(items) + "}",
                    small_limits());
}

std::vector<ChatMessage> messages_of(const Result<ParsedCall>& parsed) {
  if (!parsed) FAIL(parsed.error().message);
  return std::get<std::vector<ChatMessage>>(parsed->call.prompts.at(0));
}

/// A body that is refused, and where.
struct Row {
  std::string json, param;
  Errc code;
};

void check_refused(const Result<ParsedCall>& parsed, const Row& row) {
  INFO(row.json);
  REQUIRE(!parsed);
  INFO(parsed.error().message);
  CHECK(parsed.error().param == row.param);
  CHECK(parsed.error().code == row.code);
  CHECK_FALSE(parsed.error().message.empty());
}

const std::string weather =
    R"({"type":"object","properties":{"city":{"type":"string"}},"required":["city"]})";

}  // namespace

TEST_CASE("function tools arrive with their name, description and schema") {
  const auto call =
      call_of(chat, with_tools(R"([{"type":"function","function":{"name":"get_weather",
          "description":"It \u00e9.","strict":false,"parameters":)" +
                               weather + R"(}},{"type":"function","function":{"name":"now"}}])"));
  REQUIRE(call.tools.size() == 2);
  CHECK(call.tools[0].name == "get_weather");
  CHECK(call.tools[0].description == "It é.");
  CHECK(call.tools[0].parameters == weather);
  CHECK(call.tools[1].name == "now");
  CHECK_FALSE(call.tools[1].description.has_value());
  CHECK(object_of(call.tools[1].parameters).at("type") == "object");
  CHECK(offers_tools(call));
  CHECK(call.parallel_tool_calls);

  const auto response =
      call_of(responses, with_tools(R"([{"type":"function","name":"get_weather","strict":null,
                                 "description":"d","parameters":)" +
                                    weather + "}]"));
  REQUIRE(response.tools.size() == 1);
  CHECK(response.tools[0].parameters == weather);
  CHECK(response.tools[0].description == "d");
}

TEST_CASE("whether tools may be called, and how often") {
  const auto tools = with_tools(R"([{"type":"function","function":{"name":"f"}}])");
  CHECK(offers_tools(call_of(chat, tools + R"(,"tool_choice":"auto")")));
  const auto none = call_of(chat, tools + R"(,"tool_choice":"none")");
  CHECK_FALSE(offers_tools(none));
  CHECK(none.tools.size() == 1);
  CHECK_FALSE(call_of(chat, tools + R"(,"parallel_tool_calls":false)").parallel_tool_calls);
  CHECK(refusal_of(chat, tools + R"(,"parallel_tool_calls":1)").param == "parallel_tool_calls");
  for (const std::string choice :
       {R"("required")", R"({"type":"function","function":{"name":"f"}})",
        R"({"type":"allowed_tools","allowed_tools":{"mode":"auto","tools":[]}})", "{}"}) {
    for (const auto endpoint : {chat, responses}) {
      const auto refused = refusal_of(endpoint, "\"tool_choice\":" + choice);
      CHECK(refused.code == Errc::unsupported);
      CHECK(refused.param == "tool_choice");
      CHECK_THAT(refused.message, Contains("cannot be enforced") && Contains("auto and none"));
    }
  }
  for (const std::string choice : {R"("any")", "7", "[]", "true"}) {
    const auto refused = refusal_of(chat, "\"tool_choice\":" + choice);
    CHECK(refused.code == Errc::invalid_value);
    CHECK(refused.param == "tool_choice");
  }
}

TEST_CASE("ill-formed tools are refused with their place") {
  const auto function = [](std::string_view fields) {
    return R"([{"type":"function","function":{)" + std::string(fields) + "}}]";
  };
  const std::string name = "tools[0].function.name";
  const Row rows[] = {
      {"7", "tools", Errc::invalid_value},
      {R"({"a":1})", "tools", Errc::invalid_value},
      {"[7]", "tools[0]", Errc::invalid_value},
      {"[{}]", "tools[0].type", Errc::invalid_value},
      {R"([{"type":7}])", "tools[0].type", Errc::invalid_value},
      {R"([{"type":"web_search"}])", "tools[0].type", Errc::unsupported},
      {R"([{"type":"function"}])", "tools[0].function", Errc::invalid_value},
      {R"([{"type":"function","function":[]}])", "tools[0].function", Errc::invalid_value},
      {R"([{"type":"function","function":{"name":"f"},"x":1}])", "tools[0].x", Errc::unsupported},
      {function(""), name, Errc::invalid_value},
      {function(R"("name":"")"), name, Errc::invalid_value},
      {function(R"("name":"a b")"), name, Errc::invalid_value},
      {function(R"("name":"a.b")"), name, Errc::invalid_value},
      {function("\"name\":\"" + std::string(65, 'x') + "\""), name, Errc::invalid_value},
      {function(R"("name":"f","description":7)"), "tools[0].function.description",
       Errc::invalid_value},
      {function(R"("name":"f","parameters":"{}")"), "tools[0].function.parameters",
       Errc::invalid_value},
      {function(R"("name":"f","parameters":[])"), "tools[0].function.parameters",
       Errc::invalid_value},
      {function(R"("name":"f","strict":true)"), "tools[0].function.strict", Errc::unsupported},
      {function(R"("name":"f","strict":"yes")"), "tools[0].function.strict", Errc::invalid_value},
      {function(R"("name":"f","returns":{"a":1})"), "tools[0].function.returns",
       Errc::unsupported}};
  for (const auto& row : rows) check_refused(parse(chat, with_tools(row.json)), row);
  const Row flat[] = {
      {R"([{"type":"function"}])", "tools[0].name", Errc::invalid_value},
      {R"([{"type":"function","function":{"name":"f"}}])", "tools[0].name", Errc::invalid_value},
      {R"([{"type":"function","name":"f","strict":true}])", "tools[0].strict", Errc::unsupported},
      {R"([{"type":"function","name":"f","x":1}])", "tools[0].x", Errc::unsupported},
      {R"([{"type":"mcp","server_label":"x"}])", "tools[0].type", Errc::unsupported},
      {R"([{"type":"function","name":"f"},{"type":"function","name":"f"}])", "tools[1]",
       Errc::invalid_value}};
  for (const auto& row : flat) check_refused(parse(responses, with_tools(row.json)), row);
  CHECK(call_of(chat, with_tools(function("\"name\":\"" + std::string(64, 'x') + "\"")))
            .tools[0]
            .name.size() == 64);
  CHECK(call_of(chat, with_tools(function(R"("name":"f","description":null,"parameters":null)")))
            .tools.size() == 1);
  for (const auto* legacy : {R"("functions":[{"name":"f"}])", R"("function_call":"auto")"})
    CHECK_THAT(refusal_of(chat, legacy).message, Contains("'tools'"));
}

TEST_CASE("tools are bounded in number and in bytes") {
  const auto tools = [](std::size_t count, std::size_t bytes) {
    std::string text = "[";
    for (std::size_t i = 0; i < count; ++i)
      text += (i ? "," : "") + std::string(R"({"type":"function","function":{"name":"f)") +
              std::to_string(i) + R"(","description":")" + std::string(bytes, 'x') +
              R"(","parameters":{}}})";
    return with_tools(text + "]");
  };
  CHECK(call_of(chat, tools(3, 1)).tools.size() == 3);
  CHECK(refusal_of(chat, tools(4, 1)).param == "tools");
  CHECK(call_of(chat, tools(2, 96)).tools.size() == 2);  // 2 * (96 + "f0" + "{}") = 200
  const auto refused = refusal_of(chat, tools(2, 97));
  CHECK(refused.param == "tools");
  CHECK_THAT(refused.message, Contains("200 bytes"));
  CHECK(refusal_of(chat, tools(1, 201)).param == "tools[0].function.description");
}

TEST_CASE("calls and their results are messages of a chat") {
  const auto messages = messages_of(parse_messages(R"([
      {"role":"user","content":"Weather?"},
      {"role":"assistant","content":null,"reasoning_content":"Hm.","refusal":null,"annotations":[],
       "tool_calls":[{"id":"call_1","type":"function","index":0,
         "function":{"name":"get_weather","arguments":"{\"city\": \"Z\u00fcrich\"}"}},
        {"id":"call_2","function":{"name":"now","arguments":""}}]},
      {"role":"tool","tool_call_id":"call_1","name":"get_weather","content":"3"},
      {"role":"tool","tool_call_id":"call_2","content":[{"type":"text","text":"12"},
                                                        {"type":"text","text":":00"}]},
      {"role":"assistant","content":"Cold.","tool_calls":null}])"));
  REQUIRE(messages.size() == 5);
  CHECK_FALSE(messages[1].has_content);
  CHECK(messages[1].reasoning == "Hm.");
  CHECK(messages[1].tool_calls ==
        std::vector<ToolCall>{{"call_1", "get_weather", R"({"city": "Zürich"})"},
                              {"call_2", "now", "{}"}});
  CHECK(
      messages[2] ==
      ChatMessage{.role = "tool", .content = "3", .tool_call_id = "call_1", .name = "get_weather"});
  CHECK(messages[3].content == "12:00");
  CHECK(messages[3].tool_call_id == "call_2");
  CHECK(messages[4] == ChatMessage{.role = "assistant", .content = "Cold."});
  const auto thought =
      messages_of(parse_messages(R"([{"role":"assistant","reasoning_content":"Hm."}])"));
  CHECK(thought[0].has_content);
  CHECK(thought[0].reasoning == "Hm.");
}

TEST_CASE("ill-formed calls and results in a chat are refused with their place") {
  const auto calls = [](std::string_view list) {
    return R"([{"role":"assistant","content":null,"tool_calls":)" + std::string(list) + "}]";
  };
  const auto function = [&](std::string_view fields) {
    return calls(R"([{"id":"c","type":"function","function":{)" + std::string(fields) + "}}]");
  };
  const std::string first = "messages[0].tool_calls[0]";
  const std::string good = R"({"id":"c","function":{"name":"f","arguments":"{}"}})";
  const Row rows[] = {
      {calls("7"), "messages[0].tool_calls", Errc::invalid_value},
      {calls("[]"), "messages[0].content", Errc::invalid_value},
      {calls("[7]"), first, Errc::invalid_value},
      {calls(R"([{"function":{}}])"), first + ".id", Errc::invalid_value},
      {calls(R"([{"id":""}])"), first + ".id", Errc::invalid_value},
      {calls(R"([{"id":")" + std::string(257, 'x') + "\"}]"), first + ".id", Errc::invalid_value},
      {calls(R"([{"id":"c"}])"), first + ".function", Errc::invalid_value},
      {calls(R"([{"id":"c","type":"custom"}])"), first + ".type", Errc::unsupported},
      {function(R"("arguments":"{}")"), first + ".function.name", Errc::invalid_value},
      {function("\"name\":\"" + std::string(257, 'x') + "\""), first + ".function.name",
       Errc::invalid_value},
      {function(R"("name":"f")"), first + ".function.arguments", Errc::invalid_value},
      {function(R"("name":"f","arguments":{})"), first + ".function.arguments",
       Errc::invalid_value},
      {function(R"("name":"f","arguments":"[]")"), first + ".function.arguments",
       Errc::invalid_value},
      {function(R"("name":"f","arguments":"{\"a\":")"), first + ".function.arguments",
       Errc::invalid_value},
      {calls("[" + good + "," + good + "," + good + "]"), "messages[0].tool_calls",
       Errc::invalid_value},
      {R"([{"role":"user","content":"x","tool_calls":[)" + good + "]}]", "messages[0].tool_calls",
       Errc::invalid_value},
      {R"([{"role":"user","content":"x","reasoning_content":"y"}])",
       "messages[0].reasoning_content", Errc::invalid_value},
      {R"([{"role":"user","content":"x","tool_call_id":"c"}])", "messages[0].tool_call_id",
       Errc::invalid_value},
      {R"([{"role":"assistant","content":"x","reasoning_content":7}])",
       "messages[0].reasoning_content", Errc::invalid_value},
      {R"([{"role":"tool","content":"x"}])", "messages[0].tool_call_id", Errc::invalid_value},
      {R"([{"role":"tool","tool_call_id":7,"content":"x"}])", "messages[0].tool_call_id",
       Errc::invalid_value},
      {R"([{"role":"tool","tool_call_id":"c"}])", "messages[0].content", Errc::invalid_value},
      {R"([{"role":"tool","tool_call_id":"c","content":null}])", "messages[0].content",
       Errc::invalid_value},
      {R"([{"role":"tool","tool_call_id":"c","content":"x","name":7}])", "messages[0].name",
       Errc::invalid_value}};
  for (const auto& row : rows) check_refused(parse_messages(row.json), row);
}

TEST_CASE("calls, their results and reasoning are items of a response's input") {
  const auto messages = messages_of(parse_input(R"([
      {"role":"user","content":"Weather?"},
      {"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":null,"status":"completed",
       "content":[{"type":"reasoning_text","text":"Hm."}]},
      {"type":"function_call","id":"fc_1","call_id":"call_1","name":"get_weather",
       "arguments":"{\"city\":\"Bern\"}","status":"completed"},
      {"type":"function_call","call_id":"call_2","name":"now","arguments":"{}"},
      {"type":"function_call_output","call_id":"call_1","output":"3"}])"));
  REQUIRE(messages.size() == 3);
  CHECK(messages[1] == ChatMessage{.role = "assistant",
                                   .has_content = false,
                                   .reasoning = "Hm.",
                                   .tool_calls = {{"call_1", "get_weather", R"({"city":"Bern"})"},
                                                  {"call_2", "now", "{}"}}});
  CHECK(messages[2] == ChatMessage{.role = "tool", .content = "3", .tool_call_id = "call_1"});

  const auto turn = messages_of(parse_input(R"([
      {"type":"reasoning","summary":[{"type":"summary_text","text":"So."}]},
      {"type":"message","role":"assistant","content":[{"type":"output_text","text":"I look."}]},
      {"type":"function_call","call_id":"c","name":"f","arguments":""},
      {"type":"function_call_output","call_id":"c","output":[{"type":"input_text","text":"x"}]}])"));
  REQUIRE(turn.size() == 2);
  CHECK(turn[0] == ChatMessage{.role = "assistant",
                               .content = "I look.",
                               .reasoning = "So.",
                               .tool_calls = {{"c", "f", "{}"}}});
  CHECK(turn[1].content == "x");
}

TEST_CASE("ill-formed items are refused with their place") {
  const std::string call = R"({"type":"function_call","call_id":"c","name":"f","arguments":"{}"})";
  const std::string thought =
      R"({"type":"reasoning","content":[{"type":"reasoning_text","text":"x"}]})";
  const Row rows[] = {
      {R"([{"type":"function_call","call_id":"c","arguments":"{}"}])", "input[0].name",
       Errc::invalid_value},
      {R"([{"type":"function_call","call_id":"c","name":"f"}])", "input[0].arguments",
       Errc::invalid_value},
      {R"([{"type":"function_call","name":"f","arguments":"{}"}])", "input[0].call_id",
       Errc::invalid_value},
      {R"([{"type":"function_call","call_id":"c","name":"f","arguments":"x"}])",
       "input[0].arguments", Errc::invalid_value},
      {"[" + call + "," + call + "," + call + "]", "input[2].type", Errc::invalid_value},
      {R"([{"type":"function_call_output","output":"x"}])", "input[0].call_id",
       Errc::invalid_value},
      {R"([{"type":"function_call_output","call_id":"c"}])", "input[0].output",
       Errc::invalid_value},
      {R"([{"type":"function_call_output","call_id":"c","output":[{"type":"input_image"}]}])",
       "input[0].output", Errc::unsupported},
      {R"([{"type":"reasoning","content":"x","encrypted_content":"y"}])",
       "input[0].encrypted_content", Errc::unsupported},
      {R"([{"type":"reasoning","content":[{"type":"text","text":"x"}]}])", "input[0].content",
       Errc::unsupported},
      {"[" + thought + "]", "input", Errc::invalid_value},
      {"[" + thought + R"(,{"role":"user","content":"x"}])", "input[1].role", Errc::invalid_value},
      {"[" + thought + R"(,{"type":"function_call_output","call_id":"c","output":"x"}])",
       "input[1].type", Errc::invalid_value},
      {R"([{"role":"assistant","content":"x","tool_calls":[{"id":"c"}]}])", "input[0].tool_calls",
       Errc::unsupported}};
  for (const auto& row : rows) check_refused(parse_input(row.json), row);
}

TEST_CASE("arguments of the template are an object of bounded size") {
  for (const auto endpoint : {chat, responses}) {
    CHECK(call_of(endpoint, R"("chat_template_kwargs":{"enable_thinking":false})")
              .template_arguments == R"({"enable_thinking":false})");
    CHECK(call_of(endpoint, R"("chat_template_kwargs":{})").template_arguments.empty());
    CHECK(call_of(endpoint, R"("chat_template_kwargs":null)").template_arguments.empty());
    const auto at = [&](std::string_view value) {
      return refusal_of(endpoint, "\"chat_template_kwargs\":" + std::string(value));
    };
    CHECK(at("7").param == "chat_template_kwargs");
    CHECK(at("[1]").code == Errc::invalid_value);
    CHECK_THAT(at(R"({"a":1,"b":2,"c":3})").message, Contains("3 entries") && Contains("most 2"));
    const auto filled = [](std::size_t bytes) {
      return R"({"a":")" + std::string(bytes, 'x') + "\"}";
    };
    CHECK(call_of(endpoint, "\"chat_template_kwargs\":" + filled(32)).template_arguments.size() ==
          40);
    CHECK_THAT(at(filled(33)).message, Contains("41 bytes") && Contains("most 40"));
  }
}

TEST_CASE("tools come over a WebSocket and in the lines of a batch, too") {
  auto event = parse_websocket_event(
      R"({"type":"response.create","model":"demo","input":"x",
          "tools":[{"type":"function","name":"f"}],"parallel_tool_calls":false})",
      small_limits());
  const auto* create = std::get_if<CreateResponse>(&event);
  REQUIRE(create != nullptr);
  CHECK(create->parsed.call.tools.at(0).name == "f");
  CHECK_FALSE(create->parsed.call.parallel_tool_calls);
  const auto line = parse_batch_line(
      R"({"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"demo",
          "messages":[{"role":"user","content":"x"}],
          "tools":[{"type":"function","function":{"name":"f"}}]}})");
  REQUIRE(line.has_value());
  const auto item = parse_call(chat, line->body, small_limits());
  REQUIRE(item.has_value());
  CHECK(item->call.tools.at(0).name == "f");
}
