// Calls with tools on their way into the engine, and batch items that come out of it with calls and
// reasoning.
#include <boost/json.hpp>
#include <catch2/catch.hpp>

#include "actors/item_desk.hpp"
#include "actors/prepare.hpp"

using namespace tandem;
namespace json = boost::json;
using Catch::Matchers::Contains;

namespace {

/// Token i is the character i.
class AsciiTokenizer final : public model::Tokenizer {
 public:
  [[nodiscard]] std::vector<TokenId> encode(std::string_view text, bool, bool) const override {
    return {text.begin(), text.end()};
  }
  [[nodiscard]] std::string_view token_bytes(TokenId id) const override {
    return {&characters_.at(static_cast<std::size_t>(id)), 1};
  }
  [[nodiscard]] bool is_special(TokenId id) const override { return id == 2; }
  [[nodiscard]] std::optional<TokenId> find(std::string_view) const override { return {}; }
  [[nodiscard]] std::size_t vocab_size() const override { return characters_.size(); }

 private:
  std::string characters_ = [] {
    std::string all;
    for (int c = 0; c < 128; ++c) all += static_cast<char>(c);
    return all;
  }();
};

constexpr std::string_view chat_template =
    "{% for t in tools or [] %}{{ t.function.name }};{% endfor %}"
    "{% for m in messages %}{{ m.role }}:{{ m.content or '' }}"
    "{% for c in m.tool_calls %}<tool_call>{\"name\": \"{{ c.function.name }}\", \"arguments\": "
    "{{ c.function.arguments | tojson }}}</tool_call>{% endfor %};{% endfor %}"
    "{% if level is defined %}{{ level }}{% endif %}"
    "{% if thinking is defined %}<think>{% endif %}";

ServedModelPtr model_with(std::string_view source) {
  ServedModel served{.name = "tiny",
                     .tokenizer = std::make_shared<const AsciiTokenizer>(),
                     .max_context = Tokens(1024)};
  served.config.vocab_size = 128;
  served.config.eos_tokens = {2};
  served.chat_format = model::ChatFormat::from_template(source, "chat_template.jinja");
  REQUIRE(served.chat_format.usable());
  served.answer_format = served.chat_format.answer_format(*served.tokenizer);
  return std::make_shared<const ServedModel>(std::move(served));
}

api::ParseLimits limits() {
  api::ParseLimits bounds;
  bounds.model = "tiny";
  bounds.vocab_size = 128;
  return bounds;
}

Result<PreparedCall> prepared(const ServedModel& model, std::string_view fields) {
  const auto parsed = api::parse_call(
      Endpoint::chat_completions,
      R"({"model":"tiny","messages":[{"role":"user","content":"hi"}])" + std::string(fields) + "}",
      limits());
  if (!parsed) FAIL(parsed.error().message);
  return prepare(parsed->call, model, {}, 1);
}

std::string prompt_of(const Result<PreparedCall>& call) {
  if (!call) FAIL(call.error().message);
  const auto& tokens = call->requests.at(0).prompt;
  return {tokens.begin(), tokens.end()};
}

constexpr std::string_view tools = R"(,"tools":[{"type":"function","function":{"name":"now"}}])";

/// Everything that the engine says to a request.
ItemDesk::Step say(ItemDesk& desk, RequestId id, std::string_view text) {
  ItemDesk::Step last;
  for (std::size_t i = 0; i <= text.size(); ++i) {
    TokenEvent event;
    event.id = id;
    event.token = i < text.size() ? text[i] : 2;
    if (i == text.size()) event.finish = FinishReason::stop;
    last = desk.push(event, 1700000000);
  }
  return last;
}

store::ClaimedItem item_of(std::string_view fields) {
  store::ClaimedItem item;
  item.ref.batch_id = "batch_1";
  item.ref.line_no = 1;
  item.endpoint = "/v1/chat/completions";
  item.text =
      R"({"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"tiny",
      "messages":[{"role":"user","content":"hi"}])" +
      std::string(fields) + "}}";
  std::erase(item.text, '\n');
  return item;
}

}  // namespace

TEST_CASE("tools are in the prompt unless they are hidden") {
  const auto model = model_with(chat_template);
  CHECK(model->answer_format.tools == model::ToolFormat::hermes);
  CHECK(prompt_of(prepared(*model, tools)) == "now;user:hi;");
  CHECK(prompt_of(prepared(*model, std::string(tools) + R"(,"tool_choice":"none")")) == "user:hi;");
  CHECK(prompt_of(prepared(*model, R"(,"chat_template_kwargs":{"level":"7"})")) == "user:hi;7");
}

TEST_CASE("the prompt's end is known with the requests") {
  const auto model = model_with(chat_template);
  CHECK(prepared(*model, "")->prompt_end == PromptEnd::plain);
  CHECK(prepared(*model, R"(,"chat_template_kwargs":{"thinking":true})")->prompt_end ==
        PromptEnd::reasoning_opened);
}

TEST_CASE("a conversation that is refused is named by the field of its endpoint") {
  const auto model = model_with("{% for m in messages %}{{ m.content }}{% endfor %}");
  const auto refused = [&](Endpoint endpoint, std::string_view body) {
    const auto parsed = api::parse_call(endpoint, body, limits());
    if (!parsed) FAIL(parsed.error().message);
    const auto call = prepare(parsed->call, *model, {}, 1);
    REQUIRE(call.has_error());
    CHECK(call.error().code == Errc::unsupported);
    return call.error().param;
  };
  CHECK(refused(Endpoint::chat_completions,
                R"({"model":"tiny","messages":[{"role":"assistant","tool_calls":[{"id":"c",
                "type":"function","function":{"name":"f","arguments":"{}"}}]}]})") == "messages");
  CHECK(refused(Endpoint::responses,
                R"({"model":"tiny","input":[{"type":"function_call","call_id":"c","name":"f",
                "arguments":"{}"}]})") == "input");
}

TEST_CASE("tools are refused where calls would not be found, or not be seen") {
  const auto refused = [](std::string_view source) {
    const auto call = prepared(*model_with(source), tools);
    REQUIRE(call.has_error());
    CHECK(call.error().code == Errc::unsupported);
    CHECK(call.error().param == "tools");
    return call.error().message;
  };
  CHECK_THAT(refused("{% for m in messages %}{{ m.content }}{% endfor %}"),
             Contains("tool_parser"));
  auto served = *model_with("{% for m in messages %}{{ m.content }}{% endfor %}");
  served.answer_format.tools = model::ToolFormat::hermes;
  const auto call = prepared(served, tools);
  REQUIRE(call.has_error());
  CHECK_THAT(call.error().message,
             Contains("chat_template.jinja") && Contains("does not show tools"));
}

TEST_CASE("an item's result has its reasoning, its content and its calls") {
  ItemDesk desk(model_with(chat_template), limits());
  const auto requests =
      desk.open(item_of(std::string(tools) + R"(,"chat_template_kwargs":{"thinking":1})"), {});
  REQUIRE(requests.has_value());
  const auto step = say(desk, requests->at(0)->id,
                        "\nHm.\n</think>\n\nSo.\n<tool_call>{\"name\": \"now\", \"arguments\": "
                        "{\"zone\": \"UTC\"}}</tool_call>");
  REQUIRE(step.finished.has_value());
  const auto body = json::parse(step.finished->body);
  const auto& choice = body.at("choices").at(0);
  CHECK(choice.at("finish_reason") == "tool_calls");
  CHECK(choice.at("message").at("reasoning_content") == "Hm.");
  CHECK(choice.at("message").at("content") == "So.");
  CHECK(choice.at("message").at("tool_calls").at(0).at("function") ==
        json::value({{"name", "now"}, {"arguments", "{\"zone\": \"UTC\"}"}}));
  const std::int64_t reasoning = std::string_view("\nHm.\n</think>").size();
  CHECK(body.at("usage").at("completion_tokens_details").at("reasoning_tokens") == reasoning);
  CHECK(step.finished->reasoning_tokens == reasoning);
  CHECK(step.finished->completion_tokens > reasoning);
}

TEST_CASE("an item that may call once is cancelled behind its call") {
  ItemDesk desk(model_with(chat_template), limits());
  const auto requests =
      desk.open(item_of(std::string(tools) + R"(,"parallel_tool_calls":false)"), {});
  REQUIRE(requests.has_value());
  const auto id = requests->at(0)->id;
  std::vector<RequestId> cancelled;
  for (const char c : std::string_view("<tool_call>{\"name\": \"now\"}")) {
    TokenEvent event;
    event.id = id;
    event.token = c;
    const auto step = desk.push(event, 1);
    cancelled.insert(cancelled.end(), step.cancel.begin(), step.cancel.end());
  }
  CHECK(cancelled == std::vector{id});
  TokenEvent end;
  end.id = id;
  end.finish = FinishReason::cancelled;
  const auto step = desk.push(end, 1);
  REQUIRE(step.finished.has_value());
  CHECK(json::parse(step.finished->body).at("choices").at(0).at("finish_reason") == "tool_calls");
}

TEST_CASE("an item with tools that cannot be used is rejected by name") {
  ItemDesk desk(model_with("{% for m in messages %}{{ m.content }}{% endfor %}"), limits());
  const auto refused = desk.open(item_of(tools), {});
  REQUIRE(refused.has_error());
  CHECK(refused.error().param == "tools");
}
