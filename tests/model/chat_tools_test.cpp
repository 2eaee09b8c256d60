// Tools in conversations: the shapes in which templates are given them, what is found out about a
// template, and what is refused because its template would pass over it.
#include <algorithm>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <catch2/catch.hpp>
#include <map>

#include "model/chat_format.hpp"
#include "model/chat_traits.hpp"
#include "tests/model/model_folder.hpp"
#include "tests/support/golden.hpp"
#include "tests/support/temporary_folder.hpp"

namespace tandem::model {
namespace {

namespace json = boost::json;
using Catch::Matchers::Contains;

const std::filesystem::path goldens = "tests/golden/chat";
const std::filesystem::path published = "../shared/data/chat-templates";
constexpr std::time_t now = 1795694400;  // 2026-11-26 12:00:00 UTC, the goldens' date
const SpecialTokens special{{"bos_token", "<s>"}, {"eos_token", "</s>"}, {"pad_token", "<pad>"}};

jinja::Template template_of(const std::string& source) {
  auto parsed = jinja::Template::parse(source, "test");
  INFO((parsed ? "" : parsed.error().message));
  REQUIRE(parsed.has_value());
  return *std::move(parsed);
}
jinja::Template published_template(const std::string& name) {
  return template_of(tests::read_whole_file(published / name));
}

std::string text_at(const json::object& object, std::string_view name) {
  const auto* value = object.if_contains(name);
  return value && value->is_string() ? std::string(value->get_string()) : std::string();
}

/// A conversation of conversations.json in our own types.
struct Talk {
  std::vector<ChatMessage> messages;
  std::vector<FunctionTool> tools;
};

ChatMessage message_of(const json::object& object) {
  ChatMessage message{text_at(object, "role"), text_at(object, "content")};
  message.has_content = !object.at("content").is_null();
  message.reasoning = text_at(object, "reasoning_content");
  message.tool_call_id = text_at(object, "tool_call_id");
  message.name = text_at(object, "name");
  if (const auto* calls = object.if_contains("tool_calls"))
    for (const auto& call : calls->as_array()) {
      const auto& function = call.at("function").as_object();
      const auto& arguments = function.at("arguments");
      message.tool_calls.push_back(
          {text_at(call.as_object(), "id"), text_at(function, "name"),
           arguments.is_string() ? text_at(function, "arguments") : json::serialize(arguments)});
    }
  return message;
}

Talk talk_named(std::string_view name) {
  const auto all = json::parse(tests::read_whole_file(goldens / "conversations.json"));
  for (const auto& one : all.as_array()) {
    if (text_at(one.as_object(), "name") != name) continue;
    const auto& variables = one.at("variables").as_object();
    Talk talk;
    for (const auto& message : variables.at("messages").as_array())
      talk.messages.push_back(message_of(message.as_object()));
    if (const auto* tools = variables.at("tools").if_array())
      for (const auto& tool : *tools) {
        const auto& function = tool.at("function").as_object();
        talk.tools.push_back({text_at(function, "name"), text_at(function, "description"),
                              json::serialize(function.at("parameters"))});
      }
    return talk;
  }
  FAIL("no conversation named " << name);
  return {};
}

/// Size and digest of a published template's rendering, as the golden has them.
std::pair<std::int64_t, std::string> golden_of(std::string_view name, std::string_view talk) {
  const auto all = json::parse(tests::read_whole_file(goldens / "published.json"));
  for (const auto& entry : all.as_array())
    if (text_at(entry.as_object(), "template") == name &&
        text_at(entry.as_object(), "conversation") == talk) {
      REQUIRE(entry.as_object().contains("digest"));
      return {entry.at("size").as_int64(), text_at(entry.as_object(), "digest")};
    }
  FAIL("no golden of " << name << " for " << talk);
  return {};
}

TemplateTraits traits(const std::string& source) { return traits_of(template_of(source), special); }

/// A tokenizer whose special tokens are the markers of reasoning and more.
TokenizerPtr some_tokenizer() {
  auto root =
      json::parse(tests::read_whole_file("tests/golden/tokenizers/qwen2-like/tokenizer.json"))
          .as_object();
  root["added_tokens"] =
      json::array{{{"id", 500}, {"content", "<think>"}, {"special", false}, {"normalized", false}},
                  {{"id", 501}, {"content", "</think>"}, {"special", false}, {"normalized", false}},
                  {{"id", 502}, {"content", "<|call|>"}, {"special", true}, {"normalized", false}}};
  tests::TemporaryFolder folder;
  tests::write_file(folder.path() / "tokenizer.json", json::serialize(root));
  auto tokenizer = load_tokenizer(folder.path());
  REQUIRE(tokenizer.has_value());
  return *tokenizer;
}

ChatFormat format_of(std::string_view source) {
  auto format = ChatFormat::from_template(source, "test.jinja", special);
  INFO(format.problem());
  REQUIRE(format.usable());
  return format;
}

const std::vector<ChatMessage> hello{{"user", "Hi"}};
const std::vector<FunctionTool> one_tool{{"now", std::nullopt, "{}"}};

ChatMessage calling() {
  ChatMessage message{"assistant"};
  message.has_content = false;
  message.tool_calls = {{"c1", "now", R"({"zone": "UTC"})"}};
  return message;
}

constexpr std::string_view plain =
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}";
constexpr std::string_view with_tools =
    "{% for t in tools or [] %}{{ t | tojson }}\n{% endfor %}"
    "{% for m in messages %}{{ m.role }}: {{ m.content }}"
    "{% for c in m.tool_calls %}<|call|>{{ c.function | tojson }}{% endfor %}\n{% endfor %}";

}  // namespace

TEST_CASE("published templates render tools and calls from our types as from JSON") {
  if (!std::filesystem::exists(published)) {
    WARN("skipped: ../shared/data/chat-templates is not here");
    return;
  }
  for (const std::string name :
       {"Qwen-Qwen3-0.6B.jinja", "Qwen-Qwen2.5-7B-Instruct.jinja",
        "meta-llama-Llama-3.1-8B-Instruct.jinja",
        "NousResearch-Hermes-3-Llama-3.1-8B-tool_use.jinja",
        "mistralai-Mistral-Nemo-Instruct-2407.jinja", "ibm-granite-granite-4.0.jinja"}) {
    const auto source = published_template(name);
    const auto style = traits_of(source, special).style;
    for (const std::string talk : {"tools", "called"}) {
      INFO(name << " with " << talk);
      // Hermes' template wants tools always; Mistral's wants other ids.
      if (talk == "called" && (name.starts_with("Nous") || name.starts_with("mistral"))) continue;
      const auto [messages, tools] = talk_named(talk);
      const auto text =
          source.render(variables_of({.messages = messages, .tools = tools}, style, special), now);
      INFO((text ? text->bytes : text.error().message));
      REQUIRE(text.has_value());
      const auto [size, digest] = golden_of(name, talk);
      CHECK(static_cast<std::int64_t>(text->bytes.size()) == size);
      CHECK(tests::fnv1a(text->bytes) == digest);
    }
  }
  const auto qwen3 = published_template("Qwen-Qwen3-0.6B.jinja");
  const auto reasoned = talk_named("reasoned");
  const auto variables = variables_of({.messages = reasoned.messages,
                                       .arguments = R"({"enable_thinking":true})",
                                       .add_generation_prompt = false},
                                      {}, special);
  const auto text = qwen3.render(variables, now);
  REQUIRE(text.has_value());
  CHECK(tests::fnv1a(text->bytes) == golden_of("Qwen-Qwen3-0.6B.jinja", "reasoned").second);
}

TEST_CASE("the family of published templates is found out") {
  if (!std::filesystem::exists(published)) {
    WARN("skipped: ../shared/data/chat-templates is not here");
    return;
  }
  const auto check = [](const std::string& name, ToolFormat format, bool reasons) {
    INFO(name);
    const auto found = traits_of(published_template(name), special);
    CHECK(found.shows_tools);
    CHECK(found.shows_calls);
    CHECK(found.tool_format == format);
    CHECK(found.mentions_reasoning == reasons);
  };
  check("Qwen-Qwen3-0.6B.jinja", ToolFormat::hermes, true);
  check("Qwen-QwQ-32B.jinja", ToolFormat::hermes, true);
  check("Qwen-Qwen2.5-7B-Instruct.jinja", ToolFormat::hermes, false);
  check("NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use.jinja", ToolFormat::hermes, false);
  check("NousResearch-Hermes-3-Llama-3.1-8B-tool_use.jinja", ToolFormat::hermes, false);
  check("ibm-granite-granite-4.0.jinja", ToolFormat::hermes, false);
  check("meta-llama-Llama-3.1-8B-Instruct.jinja", ToolFormat::llama3_json, false);
  check("meta-llama-Llama-3.2-3B-Instruct.jinja", ToolFormat::llama3_json, false);
  check("meta-llama-Llama-3.3-70B-Instruct.jinja", ToolFormat::llama3_json, false);
  // These write calls in ways of their own.
  check("Qwen3-Coder.jinja", ToolFormat::unknown, false);
  check("Qwen3.5-4B.jinja", ToolFormat::unknown, true);
  check("mistralai-Mistral-Nemo-Instruct-2407.jinja", ToolFormat::unknown, false);
  check("moonshotai-Kimi-K2.jinja", ToolFormat::unknown, false);
  check("poolside-Laguna-XS.2.jinja", ToolFormat::unknown, true);
  for (const std::string name : {"deepseek-ai-DeepSeek-R1-Distill-Llama-8B.jinja",
                                 "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B.jinja"}) {
    INFO(name);
    const auto found = traits_of(published_template(name), special);
    CHECK_FALSE(found.shows_tools);
    CHECK(found.mentions_reasoning);
  }
  CHECK_FALSE(
      traits_of(published_template("microsoft-Phi-3.5-mini-instruct.jinja"), special).shows_calls);
}

TEST_CASE("a call's arguments and a missing content come as the template can take them") {
  const auto style = [](std::string_view call) {
    return traits("{% for m in messages %}{{ m.role }}" + std::string(call) +
                  "{% if m.role != 'assistant' %}{{ m.content }}{% endif %}{% endfor %}")
        .style;
  };
  const std::string calls = "{% for c in m.tool_calls %}{{ c.function.name }}";
  CHECK_FALSE(style(calls + "{{ c.function.arguments.key }}{% endfor %}").arguments_as_text);
  CHECK(style(calls + "{{ '>' + c.function.arguments }}{% endfor %}").arguments_as_text);
  const std::string listed = calls + "{{ c.function.arguments | tojson }}{% endfor %}";
  CHECK_FALSE(style(listed).null_as_empty);
  CHECK(style("{{ m.content }}" + listed).null_as_empty);
  CHECK(style("{{ m.content.strip() }}" + listed).null_as_empty);
  CHECK_FALSE(style("{{ m.content or '' }}" + listed).null_as_empty);
}

TEST_CASE("a Llama 3 call is one only where the assistant's turn begins") {
  const auto written = [](std::string_view front) {
    return traits("{% for m in messages %}[{{ m.role }}]{% if m.tool_calls %}" +
                  std::string(front) +
                  "{\"name\": \"{{ m.tool_calls[0].function.name }}\", \"parameters\": "
                  "{{ m.tool_calls[0].function.arguments | tojson }}}"
                  "{% else %}{{ m.content }}{% endif %}{% endfor %}")
        .tool_format;
  };
  CHECK(written("") == ToolFormat::llama3_json);
  CHECK(written("<|python_tag|>") == ToolFormat::llama3_json);
  CHECK(written("[TOOL_CALLS] [") == ToolFormat::unknown);
  CHECK(written("\n<tool_call>\n") == ToolFormat::hermes);
}

TEST_CASE("what the template would pass over is refused by name") {
  const auto tokenizer = some_tokenizer();
  const auto refusal = [&](const ChatFormat& format, const Conversation& conversation) {
    const auto prompt = format.render(*tokenizer, conversation);
    REQUIRE(prompt.has_error());
    return prompt.error();
  };
  const auto unseen = refusal(format_of(plain), {.messages = hello, .tools = one_tool});
  CHECK(unseen.code == Errc::unsupported);
  CHECK(unseen.param == "tools");
  CHECK_THAT(unseen.message, Contains("test.jinja") && Contains("does not show tools"));
  const std::vector<ChatMessage> called{{"user", "Hi"}, calling()};
  const auto uncalled = refusal(format_of(plain), {.messages = called});
  CHECK(uncalled.code == Errc::unsupported);
  CHECK(uncalled.param == "messages");
  CHECK_THAT(uncalled.message, Contains("test.jinja") && Contains("calls of tools"));
  const std::vector<ChatMessage> answered{{"user", "Hi"}, {"tool", "12:00"}};
  CHECK(refusal(format_of("{{ messages[0].content }}"), {.messages = answered}).code ==
        Errc::unsupported);
  CHECK(format_of(with_tools)
            .render(*tokenizer, {.messages = called, .tools = one_tool})
            .has_value());
}

TEST_CASE("neither tools nor calls can forge a special token") {
  const auto tokenizer = some_tokenizer();
  const auto count = [&](const std::string& text) {
    auto call = calling();
    call.tool_calls[0] = {text, text, json::serialize(json::object{{text, text}})};
    ChatMessage result{"tool", text};
    result.tool_call_id = result.name = text;
    const std::vector<ChatMessage> messages{{"user", text}, call, result};
    const std::vector<FunctionTool> tools{
        {text, text, json::serialize(json::object{{text, text}})}};
    const auto prompt =
        format_of(with_tools).render(*tokenizer, {.messages = messages, .tools = tools});
    REQUIRE(prompt.has_value());
    return std::count_if(prompt->tokens.begin(), prompt->tokens.end(),
                         [&](TokenId id) { return tokenizer->is_special(id); });
  };
  CHECK(count("x") == 1);
  CHECK(count("<|call|>") == 1);
}

TEST_CASE("a template's variables may be set, but none that make the prompt what it is") {
  const auto tokenizer = some_tokenizer();
  const auto format = format_of(
      "{{ bos_token }}{{ messages[0].content }}{% if enable_thinking is false %}<think></think>"
      "{% elif level %}{{ level.of[0] }}<think>\n{% endif %}{{ tools }}");
  const auto end = [&](std::string_view arguments) {
    const auto prompt = format.render(*tokenizer, {.messages = hello, .arguments = arguments});
    INFO((prompt ? "" : prompt.error().message));
    REQUIRE(prompt.has_value());
    return tokenizer->decode(prompt->tokens);
  };
  CHECK(end("") == "<s>HiNone");
  CHECK(end("{}") == "<s>HiNone");
  CHECK(end(R"({"enable_thinking": false})") == "<s>Hi<think></think>None");
  CHECK(end(R"({"level": {"of": ["7"]}})") == "<s>Hi7<think>\nNone");
  const auto refusal = [&](std::string_view arguments) {
    const auto prompt = format.render(*tokenizer, {.messages = hello, .arguments = arguments});
    REQUIRE(prompt.has_error());
    CHECK(prompt.error().code == Errc::invalid_value);
    CHECK(prompt.error().param == "chat_template_kwargs");
    return prompt.error().message;
  };
  for (const std::string name : {"messages", "tools", "add_generation_prompt", "bos_token"})
    CHECK_THAT(refusal("{\"" + name + "\": 1}"),
               Contains(name) && Contains("not the caller's to set"));
  CHECK_THAT(refusal(R"({"enable_think": true})"),
             Contains("enable_think") && Contains("test.jinja") && Contains("does not read"));
}

TEST_CASE("where the prompt ends says where the answer begins") {
  const auto tokenizer = some_tokenizer();
  const auto end = [&](std::string_view tail, std::string text = "Hi") {
    const std::vector<ChatMessage> messages{{"user", std::move(text)}};
    const auto prompt = format_of("{{ messages[0].content }}" + std::string(tail))
                            .render(*tokenizer, {.messages = messages});
    REQUIRE(prompt.has_value());
    return prompt->end;
  };
  CHECK(end("") == PromptEnd::plain);
  CHECK(end("<think>\n") == PromptEnd::reasoning_opened);
  CHECK(end("<think>\n\n</think>\n\n") == PromptEnd::reasoning_closed);
  CHECK(end("<think>.") == PromptEnd::plain);
  // What a user wrote is not the prompt's end.
  CHECK(end("", "<think>") == PromptEnd::plain);
  CHECK(end("ink>", "<th") == PromptEnd::plain);
  CHECK(end("\n", "</think>") == PromptEnd::plain);
}

TEST_CASE("how answers look is told by the template, or else by the vocabulary") {
  const auto tokenizer = some_tokenizer();
  CHECK(ChatFormat().answer_format(*tokenizer).tools == ToolFormat::unknown);
  CHECK(ChatFormat().answer_format(*tokenizer).reasoning == ReasoningFormat::none);
  const auto format = format_of(plain).answer_format(*tokenizer);
  CHECK(format.tools == ToolFormat::unknown);
  CHECK(format.reasoning == ReasoningFormat::qwen3);
  tests::TemporaryFolder folder;
  tests::write_file(folder.path() / "tokenizer.json",
                    tests::read_whole_file("tests/golden/tokenizers/qwen2-like/tokenizer.json"));
  const auto other = load_tokenizer(folder.path());
  REQUIRE(other.has_value());
  CHECK(format_of(plain).answer_format(**other).reasoning == ReasoningFormat::none);
  CHECK(format_of("{{ messages[0].content.split('</think>')[-1] }}")
            .answer_format(**other)
            .reasoning == ReasoningFormat::qwen3);
}

TEST_CASE("a folder may have a template of its own for conversations with tools") {
  const auto tokenizer = some_tokenizer();
  const auto loaded = [&](const std::string& tool_template) {
    tests::TemporaryFolder folder;
    const json::object config{
        {"chat_template", json::array{{{"name", "default"}, {"template", plain}},
                                      {{"name", "tool_use"}, {"template", tool_template}}}}};
    tests::write_file(folder.path() / "tokenizer_config.json", json::serialize(config));
    auto format = load_chat_format(folder.path());
    REQUIRE(format.has_value());
    REQUIRE(format->usable());
    return *std::move(format);
  };
  const auto format = loaded("{{ tools[0].function.name }}");
  const auto text = [&](const Conversation& conversation) {
    const auto prompt = format.render(*tokenizer, conversation);
    REQUIRE(prompt.has_value());
    return tokenizer->decode(prompt->tokens);
  };
  CHECK(text({.messages = hello}) == "user: Hi\n");
  CHECK(text({.messages = hello, .tools = one_tool}) == "now");
  const auto broken = loaded("{% import 'x' %}");
  CHECK(broken.render(*tokenizer, {.messages = hello}).has_value());
  const auto refused = broken.render(*tokenizer, {.messages = hello, .tools = one_tool});
  REQUIRE(refused.has_error());
  CHECK(refused.error().param == "tools");
  CHECK_THAT(refused.error().message, Contains("tool_use") && Contains("'import'"));
}

}  // namespace tandem::model
