// Answers taken apart: reasoning, content, calls of each family; how they are cut into pieces does
// not matter, and nothing that the model wrote is lost.
#include "model/answer/answer_parser.hpp"

#include <catch2/catch.hpp>
#include <random>

namespace tandem::model {
namespace {

using Options = AnswerParser::Options;
using Kind = AnswerPart::Kind;
using Pieces = std::vector<std::string>;

AnswerPart content(std::string text) { return {.kind = Kind::content, .text = std::move(text)}; }
AnswerPart reasoning(std::string text) {
  return {.kind = Kind::reasoning, .text = std::move(text)};
}
AnswerPart call(std::uint32_t number, std::string name, std::string arguments) {
  return {
      .kind = Kind::call, .text = std::move(arguments), .call = number, .name = std::move(name)};
}

const Options hermes{.tools = ToolFormat::hermes};
const Options llama3{.tools = ToolFormat::llama3_json, .names = {"get_weather", "now"}};
const Options thinking{.reasoning = ReasoningFormat::qwen3};
const Options everything{.reasoning = ReasoningFormat::qwen3, .tools = ToolFormat::hermes};

AnswerParts parse_pieces(const Options& options, const Pieces& pieces) {
  AnswerParser parser(options);
  AnswerParts parts;
  for (const auto& piece : pieces) {
    AnswerParts more;
    parser.push(piece, more);
    append(parts, std::move(more));
  }
  parser.finish(parts);
  return parts;
}

AnswerParts parse(const Options& options, const std::string& text) {
  return parse_pieces(options, {text});
}

/// What came with each piece, the rest last.
std::vector<AnswerParts> streamed(const Options& options, const Pieces& pieces) {
  AnswerParser parser(options);
  std::vector<AnswerParts> all;
  for (const auto& piece : pieces) parser.push(piece, all.emplace_back());
  parser.finish(all.emplace_back());
  return all;
}

/// With the names of calls.
std::string said(const AnswerParts& parts, Kind kind) {
  std::string text;
  for (const auto& part : parts)
    if (part.kind == kind) text += part.name + part.text;
  return text;
}

std::string repeated(std::string_view text, std::size_t count) {
  std::string all;
  for (std::size_t i = 0; i < count; ++i) all += text;
  return all;
}

}  // namespace

TEST_CASE("without formats all of an answer is content") {
  const std::string text = "<think>a</think><tool_call>{\"name\": \"x\"}</tool_call><|python_tag|>";
  CHECK(parse({}, text) == AnswerParts{content(text)});
  CHECK(parse({}, "").empty());
}

TEST_CASE("reasoning at an answer's beginning is told from its content") {
  CHECK(parse(thinking, "<think>\nHm.\n\nYes.\n</think>\n\nHello.\n") ==
        AnswerParts{reasoning("Hm.\n\nYes."), content("Hello.\n")});
  CHECK(parse(thinking, " \n<think>a</think>b") == AnswerParts{reasoning("a"), content("b")});
  CHECK(parse(thinking, "<think>\n\n</think>\n\nb") == AnswerParts{content("b")});
  CHECK(parse(thinking, "Hello <think>a</think>") ==
        AnswerParts{content("Hello <think>a</think>")});
  CHECK(parse(thinking, "\n\n<thin") == AnswerParts{content("\n\n<thin")});
  CHECK(parse(thinking, "<think>a</think>b</think><think>c") ==
        AnswerParts{reasoning("a"), content("b</think><think>c")});
}

TEST_CASE("reasoning that its prompt opened needs no marker in front") {
  const Options opened{.reasoning = ReasoningFormat::qwen3,
                       .prompt_end = PromptEnd::reasoning_opened};
  CHECK(parse(opened, "\nHm.\n</think>\n\nHello.") ==
        AnswerParts{reasoning("Hm."), content("Hello.")});
  CHECK(parse(opened, "<think>\nHm.</think>Hello.") ==
        AnswerParts{reasoning("Hm."), content("Hello.")});
  CHECK(parse(opened, "Hm. <think> is a marker.") ==
        AnswerParts{reasoning("Hm. <think> is a marker.")});
  CHECK(parse(opened, "</think>Hello.") == AnswerParts{content("Hello.")});
}

TEST_CASE("an answer may be reasoning from its beginning whatever the prompt says") {
  Options options{.reasoning = ReasoningFormat::deepseek_r1};
  CHECK(parse(options, "Hm.</think>Hello.") == AnswerParts{reasoning("Hm."), content("Hello.")});
  CHECK(parse(options, "<think>Hm.</think>Hello.") ==
        AnswerParts{reasoning("Hm."), content("Hello.")});
  options.prompt_end = PromptEnd::reasoning_closed;
  CHECK(parse(options, "Hello.") == AnswerParts{content("Hello.")});
}

TEST_CASE("reasoning that was cut off stays reasoning") {
  CHECK(parse(thinking, "<think>\nHm.\n</thi") == AnswerParts{reasoning("Hm.\n</thi")});
  CHECK(parse(thinking, "<think>\n\n").empty());
}

TEST_CASE("text is held back only while it may be a marker") {
  const auto parts = streamed(everything, {"He", "llo", "\n", "<to", "day", " <tool_cal", "m"});
  CHECK(parts[0] == AnswerParts{content("He")});
  CHECK(parts[1] == AnswerParts{content("llo")});
  CHECK(parts[2].empty());
  CHECK(parts[3].empty());
  CHECK(parts[4] == AnswerParts{content("\n<today")});
  CHECK(parts[5] == AnswerParts{content(" ")});
  CHECK(parts[6] == AnswerParts{content("<tool_calm")});
  const auto thought = streamed(thinking, {"<think>", "\nHm", ".", "\n", "</", "think>", "\n\nHi"});
  CHECK(thought[1] == AnswerParts{reasoning("Hm")});
  CHECK(thought[2] == AnswerParts{reasoning(".")});
  CHECK(thought[3].empty());
  CHECK(thought[6] == AnswerParts{content("Hi")});
}

TEST_CASE("Hermes calls are found in the text") {
  CHECK(parse(hermes,
              "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": "
              "\"Paris\"}}\n</tool_call>") ==
        AnswerParts{call(0, "get_weather", R"({"city": "Paris"})")});
  CHECK(parse(hermes,
              "I will look.\n<tool_call>\n{\"name\":\"a\",\"arguments\":{}}\n</tool_call>\n"
              "<tool_call>\n{\"name\":\"b\",\"arguments\":{\"x\":[1,2]}}\n</tool_call>\nSo.") ==
        AnswerParts{content("I will look."), call(0, "a", "{}"), call(1, "b", R"({"x":[1,2]})"),
                    content("So.")});
}

TEST_CASE("what stands in a call's JSON may come in any order") {
  CHECK(
      parse(hermes, R"(<tool_call>{"arguments": {"a": {"b": "}\"{"}}, "name": "f"}</tool_call>)") ==
      AnswerParts{call(0, "f", R"({"a": {"b": "}\"{"}})")});
  CHECK(parse(hermes, R"(<tool_call>{"type":"function","id":7,"name":"f","parameters":{}})") ==
        AnswerParts{call(0, "f", "{}")});
  CHECK(
      parse(hermes, R"(<tool_call>{"name": "n\u00e4he \ud83d\ude00", "arguments": {"é": "😀"}})") ==
      AnswerParts{call(0, "nähe 😀", R"({"é": "😀"})")});
  CHECK(parse(hermes, R"(<tool_call>{"name": "now"}</tool_call>)") ==
        AnswerParts{call(0, "now", "{}")});
  CHECK(parse(hermes, R"(<tool_call>{"name":"f","arguments":{},"why":{"not":[]}}</tool_call>)") ==
        AnswerParts{call(0, "f", "{}")});
}

TEST_CASE("a call is announced with its name, and its arguments follow as they come") {
  const auto parts =
      streamed(hermes, {"<tool_call>", "\n", "{\"name\": \"f", "\", \"argu", "ments\": ", "{\"a",
                        "\": \"b", "c\"}", "}\n", "</tool_call>"});
  for (const auto i : {0U, 1U, 2U, 3U, 4U, 8U, 9U, 10U}) CHECK(parts[i].empty());
  CHECK(parts[5] == AnswerParts{call(0, "f", "{\"a")});
  CHECK(parts[6] == AnswerParts{call(0, "", "\": \"b")});
  CHECK(parts[7] == AnswerParts{call(0, "", "c\"}")});
}

TEST_CASE("a malformed call is content, to the byte") {
  for (const std::string text :
       {"a\n\n<tool_call>\n<function=f>\n</function>\n</tool_call>\n", "<tool_call></tool_call>",
        "<tool_call>{{\"name\": \"f\"}}</tool_call>", "<tool_call>{\"name\": 7}</tool_call>",
        "<tool_call>{\"name\": \"\"}</tool_call>", "<tool_call>[{\"name\": \"f\"}]</tool_call>",
        "<tool_call>{\"name\": \"f\", \"arguments\": \"{}\"}</tool_call>",
        "<tool_call>{\"name\": \"f\", \"arguments\": [{}]}</tool_call>",
        "<tool_call>{\"name\": \"f\", \"arguments\": 1}</tool_call>",
        "<tool_call>{\"arguments\": {}}</tool_call>", "<tool_call>{\"nom\": \"f\"}</tool_call>",
        "<tool_call>{\"name\": \"f\", \"name\": \"g\"}</tool_call>",
        "<tool_call>{\"name\": \"\\ud83d\", \"arguments\": {}}</tool_call>",
        "<tool_call>{\"name\": \"f\n\", \"arguments\": {}}", "<tool_call>{\"name\": \"f",
        "<tool_call>{\"arguments\": {\"a\": 1}, \"na", "\n<tool_call>", "\n\n<tool_"}) {
    INFO(text);
    CHECK(parse(hermes, text) == AnswerParts{content(text)});
  }
  CHECK(parse(hermes, "<tool_call>oh\n<tool_call>{\"name\": \"f\"}</tool_call>") ==
        AnswerParts{content("<tool_call>oh"), call(0, "f", "{}")});
  CHECK(parse(hermes, "<tool_call><tool_call>{\"name\": \"f\"}</tool_call>") ==
        AnswerParts{content("<tool_call>"), call(0, "f", "{}")});
}

TEST_CASE("a call that breaks off keeps what was well-formed, and the rest is content") {
  CHECK(parse(hermes, "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1") ==
        AnswerParts{call(0, "f", "{\"a\": 1")});
  CHECK(parse(hermes, "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1}\n</tool_call>.") ==
        AnswerParts{call(0, "f", "{\"a\": 1}"), content(".")});
  CHECK(parse(hermes, "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": x}}\n</tool_call>") ==
        AnswerParts{call(0, "f", "{\"a\": "), content("x}}\n</tool_call>")});
  CHECK(parse(hermes, "<tool_call>{\"name\": \"f\", \"arguments\": {}} so</tool_call>") ==
        AnswerParts{call(0, "f", "{}"), content(" so</tool_call>")});
}

TEST_CASE("a Llama 3 answer that is a call of a known tool is one") {
  CHECK(parse(llama3, R"({"name": "get_weather", "parameters": {"city": "Paris"}})") ==
        AnswerParts{call(0, "get_weather", R"({"city": "Paris"})")});
  CHECK(parse(llama3, R"(  {"type": "function", "name": "now", "parameters": {}}; )"
                      R"({"name": "now", "parameters": {"a": 1}})") ==
        AnswerParts{call(0, "now", "{}"), call(1, "now", R"({"a": 1})")});
  for (const std::string text :
       {R"({"name": "rm", "parameters": {}})", R"(So: {"name": "now", "parameters": {}})",
        R"({"city": "Paris", "name": "now"})", R"([{"name": "now"}])", R"({"name": "now")", "{}",
        " { ", ""}) {
    INFO(text);
    CHECK(said(parse(llama3, text), Kind::content) == text);
    CHECK(said(parse(llama3, text), Kind::call).empty());
  }
  CHECK(parse(llama3, R"({"name": "now", "parameters": {}}; {"name": "rm"})") ==
        AnswerParts{call(0, "now", "{}"), content(R"(; {"name": "rm"})")});
}

TEST_CASE("an answer in JSON that is no call waits no longer than for its first key") {
  const auto parts = streamed(llama3, {"{\"ci", "ty\"", ": \"Pa", "ris\"}"});
  CHECK(parts[0].empty());
  CHECK(parts[1] == AnswerParts{content("{\"city\"")});
  CHECK(parts[2] == AnswerParts{content(": \"Pa")});
}

TEST_CASE("behind the python tag a call of any name is one") {
  CHECK(parse(llama3, R"(I look.<|python_tag|>{"name": "rm", "parameters": {}})") ==
        AnswerParts{content("I look."), call(0, "rm", "{}")});
  CHECK(parse(llama3, R"(<|python_tag|>{"name": "a"}<|python_tag|>{"name": "b"})") ==
        AnswerParts{call(0, "a", "{}"), call(1, "b", "{}")});
  CHECK(parse(llama3, R"(<|python_tag|>search.call(query="x"))") ==
        AnswerParts{content(R"(<|python_tag|>search.call(query="x"))")});
  CHECK(parse(llama3, "<|python_ta") == AnswerParts{content("<|python_ta")});
}

TEST_CASE("a single call ends the answer") {
  Options options = hermes;
  options.single_call = true;
  AnswerParser parser(options);
  AnswerParts parts;
  parser.push("So.\n<tool_call>{\"name\": \"f\", \"arguments\": {", parts);
  CHECK_FALSE(parser.ended());
  parser.push("}}</tool_call>\n<tool_call>{\"name\": \"g\"}", parts);
  CHECK(parser.ended());
  parser.push("<tool_call>{\"name\": \"g\"}", parts);
  parser.finish(parts);
  CHECK(parts == AnswerParts{content("So."), call(0, "f", "{}")});
  options = llama3;
  options.single_call = true;
  CHECK(parse(options, R"({"name": "now"}; {"name": "now"})") == AnswerParts{call(0, "now", "{}")});
}

TEST_CASE("a call that breaks off is the only one all the same") {
  Options options = hermes;
  options.single_call = true;
  AnswerParser parser(options);
  AnswerParts parts;
  parser.push("<tool_call>{\"name\": \"f\", \"arguments\": {\"x\": 1]}</tool_call>\n", parts);
  CHECK(parser.ended());
  parser.push("<tool_call>{\"name\": \"g\", \"arguments\": {}}</tool_call>", parts);
  parser.finish(parts);
  CHECK(parts == AnswerParts{call(0, "f", "{\"x\": 1")});
  options = llama3;
  options.single_call = true;
  CHECK(
      parse(options,
            R"(<|python_tag|>{"name": "f", "parameters": {"x": 1]}<|python_tag|>{"name": "g"})") ==
      AnswerParts{call(0, "f", "{\"x\": 1")});
  // What never was a call ends nothing.
  CHECK(parse(options, R"(<|python_tag|>{"nam": 1}<|python_tag|>{"name": "g"})").back() ==
        call(0, "g", "{}"));
}

TEST_CASE("calls come behind reasoning, and are none inside of it") {
  CHECK(parse(everything,
              "<think>\nI <tool_call>{\"name\": \"f\"}</tool_call>\n</think>\n\n"
              "<tool_call>\n{\"name\": \"g\", \"arguments\": {}}\n</tool_call>") ==
        AnswerParts{reasoning("I <tool_call>{\"name\": \"f\"}</tool_call>"), call(0, "g", "{}")});
  Options options = llama3;
  options.reasoning = ReasoningFormat::qwen3;
  CHECK(parse(options, "<think>a</think>\n\n{\"name\": \"now\"}") ==
        AnswerParts{reasoning("a"), call(0, "now", "{}")});
}

TEST_CASE("calls of an answer, the depth of their JSON and what is held of them are bounded") {
  const std::string one = "<tool_call>{\"name\":\"f\"}</tool_call>";
  const auto many = parse(hermes, repeated(one, ToolParser::max_calls + 2));
  REQUIRE(many.size() == ToolParser::max_calls + 1);
  CHECK(many[ToolParser::max_calls - 1] == call(ToolParser::max_calls - 1, "f", "{}"));
  CHECK(many.back() == content(one + one));
  const std::string bare = R"({"name":"now"};)";
  const auto bare_many = parse(llama3, repeated(bare, ToolParser::max_calls + 1));
  REQUIRE(bare_many.size() == ToolParser::max_calls + 1);
  CHECK(bare_many.back().kind == Kind::content);

  const auto nested = [](std::size_t depth) {
    return "<tool_call>{\"arguments\":{\"a\":" + repeated("[", depth) + repeated("]", depth) +
           "},\"name\":\"f\"}</tool_call>";
  };
  CHECK(parse(hermes, nested(JsonScanner::max_depth - 2)).front().kind == Kind::call);
  CHECK(parse(hermes, nested(JsonScanner::max_depth - 1)).front().kind == Kind::content);

  const auto padded = [](std::size_t bytes) {
    return "<tool_call>{\"arguments\":{\"a\":\"" + std::string(bytes, 'x') +
           "\"},\"name\":\"f\"}</tool_call>";
  };
  CHECK(parse(hermes, padded(CallReader::max_held_bytes - 100)).front().kind == Kind::call);
  CHECK(parse(hermes, padded(CallReader::max_held_bytes)) ==
        AnswerParts{content(padded(CallReader::max_held_bytes))});
  const auto named = [](std::size_t bytes) {
    return "<tool_call>{\"name\":\"" + std::string(bytes, 'x') + "\"}";
  };
  CHECK(parse(hermes, named(CallReader::max_name_bytes - 2)).front().kind == Kind::call);
  CHECK(parse(hermes, named(CallReader::max_name_bytes - 1)).front().kind == Kind::content);
}

TEST_CASE("long rows of white space are text, and take no time") {
  constexpr std::size_t many = 200'000;
  const Pieces newlines(many, "\n");
  const std::string all(many, '\n');
  CHECK(said(parse_pieces(everything, newlines), Kind::content) == all);
  CHECK(said(parse_pieces(llama3, newlines), Kind::content) == all);
  Pieces thought = newlines;
  thought.insert(thought.begin(), "<think>.");
  CHECK(said(parse_pieces(thinking, thought), Kind::reasoning) == "." + all);
  Pieces called = newlines;
  called.insert(called.begin(), R"(<tool_call>{"name": "f"})");
  CHECK(said(parse_pieces(hermes, called), Kind::content) == all);
}

TEST_CASE("what is reasoning is known to the byte") {
  ReasoningParser parser(false);
  AnswerParts parts;
  std::string rest;
  parser.push("<think>\nHm", parts, rest);
  CHECK(parser.settled() == 10);
  CHECK(parser.is_reasoning(0, 7));
  CHECK(parser.is_reasoning(8, 10));
  parser.push(".\n</th", parts, rest);
  CHECK(parser.settled() == 11);
  parser.push("ink>\n\nHi", parts, rest);
  CHECK(parser.settled() == 24);
  CHECK(parser.is_reasoning(12, 20));
  CHECK(parser.is_reasoning(16, 22));
  CHECK_FALSE(parser.is_reasoning(20, 21));
  CHECK_FALSE(parser.is_reasoning(20, 20));
  CHECK(parser.is_reasoning(19, 19));
  ReasoningParser plain(false);
  plain.push("Hello", parts, rest);
  CHECK_FALSE(plain.is_reasoning(0, 5));
}

namespace {

/// An answer of well-formed and broken pieces, each word of it different.
class RandomAnswer {
 public:
  explicit RandomAnswer(std::uint32_t seed) : random_(seed) {}

  std::string text;
  std::vector<std::string> words;

  void write() {
    const auto count = pick(8);
    for (std::size_t i = 0; i < count; ++i) add_piece();
    std::erase_if(words, [&](const auto& one) { return text.find(one) == std::string::npos; });
  }
  std::size_t pick(std::size_t below) {
    return std::uniform_int_distribution<std::size_t>(0, below - 1)(random_);
  }

 private:
  std::string word() {
    words.push_back("w" + std::to_string(words.size()) + "é.");
    return words.back();
  }
  std::string arguments() {
    switch (pick(4)) {
      case 0: return "{}";
      case 1: return R"({"a": {"b": [1, -2.5e3, "\"}{\u00e9", true, ")" + word() + R"("]}})";
      case 2: return R"({"😀": ")" + word() + "\"}";
      default: return R"({ "x":")" + word() + R"(" ,"y" : null})";
    }
  }
  std::string json() {
    switch (pick(5)) {
      case 0: return R"({"arguments": )" + arguments() + R"(, "name": ")" + word() + "\"}";
      case 1: return R"({"name": "now", "parameters": )" + arguments() + "}";
      case 2: return R"({"type": "function", "name": "now"})";
      default: return R"({"name": ")" + word() + R"(", "arguments": )" + arguments() + "}";
    }
  }
  void add_piece() {
    static const std::vector<std::string> marks{"<think>",
                                                "</think>",
                                                "\n",
                                                "\n\n",
                                                "<tool_call>",
                                                "</tool_call>",
                                                "<|python_tag|>",
                                                ";",
                                                "<tool_",
                                                "</th",
                                                "<|pyt",
                                                "{",
                                                "}",
                                                "\"",
                                                " ",
                                                "<"};
    switch (pick(6)) {
      case 0: text += word(); break;
      case 1: text += "<tool_call>\n" + json() + "\n</tool_call>"; break;
      case 2: text += json(); break;
      case 3: text += "<think>\n" + word() + "\n</think>\n\n"; break;
      case 4: {
        const auto broken = json();
        text += "<tool_call>" + broken.substr(0, broken.find(' ') + 1);
        break;
      }
      default: text += marks[pick(marks.size())];
    }
  }

  std::mt19937 random_;
};

}  // namespace

TEST_CASE("pieces add up to the whole however the text is cut, and no word is lost") {
  const auto seed = GENERATE(as<std::uint32_t>{}, 1U, 2U, 3U);
  std::vector<Options> all{{}, hermes, llama3, thinking, everything};
  all.push_back({.reasoning = ReasoningFormat::qwen3,
                 .prompt_end = PromptEnd::reasoning_opened,
                 .tools = ToolFormat::hermes});
  all.push_back({.reasoning = ReasoningFormat::deepseek_r1, .tools = ToolFormat::llama3_json});
  all.push_back({.tools = ToolFormat::hermes, .single_call = true});
  std::size_t calls = 0, thoughts = 0;
  for (std::uint32_t round = 0; round < 2000; ++round) {
    RandomAnswer answer(seed * 100'000 + round);
    answer.write();
    for (const auto& options : all) {
      INFO("seed " << seed << " round " << round << ": " << answer.text);
      const auto whole = parse(options, answer.text);
      Pieces pieces;
      for (std::size_t at = 0; at < answer.text.size();) {
        const auto size = 1 + answer.pick(round % 2 == 0 ? 3 : 12);
        pieces.push_back(answer.text.substr(at, size));
        at += size;
      }
      REQUIRE(parse_pieces(options, pieces) == whole);
      calls += said(whole, Kind::call).empty() ? 0 : 1;
      thoughts += said(whole, Kind::reasoning).empty() ? 0 : 1;
      if (options.single_call) continue;
      const auto all_said =
          said(whole, Kind::reasoning) + said(whole, Kind::content) + said(whole, Kind::call);
      for (const auto& word : answer.words) REQUIRE(all_said.find(word) != std::string::npos);
    }
  }
  CHECK(calls > 1000);
  CHECK(thoughts > 1000);
}

}  // namespace tandem::model
