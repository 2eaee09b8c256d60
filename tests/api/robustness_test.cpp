// Hostile texts: none may crash a parser, and whatever is refused is refused in valid JSON.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>

#include "api/errors.hpp"
#include "api/json_fields.hpp"
#include "api/text_call.hpp"
#include "tests/api/support.hpp"

using namespace tandem;
using namespace tandem::api;
using namespace tandem::api::testing;

namespace {

/// Feeds `text` to every parser; errors must have a message and survive as JSON.
void parse_everything(const std::string& text) {
  const auto limits = small_limits();
  const auto check = [&](const Error& reason) {
    if (reason.message.empty()) FAIL("no message for " << text);
    boost::system::error_code failed;
    const auto body = boost::json::parse(error_body(reason), failed);
    if (failed) FAIL("an error is not valid JSON: " << error_body(reason));
  };
  for (const auto endpoint : all_endpoints)
    if (const auto parsed = parse_call(endpoint, text, limits); !parsed) check(parsed.error());
  if (const auto line = parse_batch_line(text); !line) check(line.error());
  if (const auto create = parse_batch_create(text); !create) check(create.error());
  if (const auto text_call = parse_tokenize(text, limits); !text_call) check(text_call.error());
  if (const auto text_call = parse_detokenize(text, limits); !text_call) check(text_call.error());
  const auto event = parse_websocket_event(text, limits);
  if (const auto* bad = std::get_if<BadEvent>(&event)) check(bad->reason);
}

std::string read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

const std::vector<std::string> seeds{
    body_of(Endpoint::completions,
            R"("n":2,"stop":["a","\u20ac"],"logit_bias":{"1":-1.5e0},"seed":-12,"stream":true,
               "stream_options":{"include_usage":true},"prompt":[[1,2],[3]],"best_of":2)"),
    body_of(Endpoint::chat_completions,
            R"("messages":[{"role":"user","content":[{"type":"text","text":"é\ud83d\ude00"}]}],
               "tools":[{"type":"function","function":{"name":"f","parameters":{"a":[1]}}}],
               "chat_template_kwargs":{"a":true},"tool_choice":"auto","top_logprobs":3,"logprobs":true,"service_tier":"flex")"),
    R"({"type":"response.create","stream_id":"s","model":"demo","instructions":"x",
        "input":[{"role":"user","content":"a"}],"metadata":{"a":"b"},"text":{"format":{"type":"text"}}})",
    body_of(Endpoint::chat_completions,
            R"("messages":[{"role":"assistant","content":null,"reasoning_content":"r","tool_calls":
               [{"id":"c","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}]},
               {"role":"tool","tool_call_id":"c","content":"x","name":"f"}])"),
    body_of(Endpoint::responses,
            R"("tools":[{"type":"function","name":"f","strict":false}],"input":[
               {"type":"reasoning","summary":[],"content":[{"type":"reasoning_text","text":"r"}]},
               {"type":"function_call","call_id":"c","name":"f","arguments":"{}"},
               {"type":"function_call_output","call_id":"c","output":"x"}])"),
    R"({"custom_id":"a","method":"POST","url":"/v1/completions","body":{"model":"demo"}})",
    R"({"model":"demo","tokens":[1,2,999],"prompt":"é","return_token_strs":true})",
    R"({"input_file_id":"f","endpoint":"/v1/completions","completion_window":"24h","metadata":{}})"};

}  // namespace

TEST_CASE("mutated bodies never crash a parser") {
  std::mt19937_64 random(20260821);
  const std::vector<std::string> splices{"null",
                                         "-1",
                                         "1e400",
                                         "-1e400",
                                         "18446744073709551616",
                                         "\"\"",
                                         "[]",
                                         "{}",
                                         "[[",
                                         "{{",
                                         "\\u",
                                         "\xff",
                                         "\xed\xa0\x80",
                                         "\"\\ud800\"",
                                         "NaN",
                                         "1e-400",
                                         "true",
                                         "\"model\":",
                                         ","};
  const auto below = [&](std::size_t bound) { return random() % bound; };
  for (int round = 0; round < 4000; ++round) {
    auto text = seeds[below(seeds.size())];
    for (auto edits = 1 + below(4); edits > 0; --edits) {
      const auto at = below(text.size() + 1);
      const auto length = std::min<std::size_t>(below(12), text.size() - at);
      switch (below(4)) {
        case 0: text.erase(at, length); break;
        case 1: text.replace(at, length, splices[below(splices.size())]); break;
        case 2: text.insert(at, text.substr(below(text.size() + 1), below(40))); break;
        default:
          if (at < text.size()) text[at] = static_cast<char>(below(256));
      }
    }
    parse_everything(text);
  }
  SUCCEED("no crash");
}

TEST_CASE("every truncation of a body is refused") {
  for (const auto& seed : seeds)
    for (std::size_t size = 0; size < seed.size(); ++size) {
      const auto cut = seed.substr(0, size);
      parse_everything(cut);
      CHECK_FALSE(parse_object(cut, "the text").has_value());
    }
}

TEST_CASE("any value in place of any field is refused or taken, never a crash") {
  const std::vector<std::string> values{"null",
                                        "0",
                                        "-1",
                                        "1e308",
                                        "1e400",
                                        "\"x\"",
                                        "\"\"",
                                        "[]",
                                        "[null]",
                                        "[[[]]]",
                                        "{}",
                                        "{\"type\":null}",
                                        "{\"\":{}}",
                                        "true",
                                        "[{\"role\":{}}]",
                                        "18446744073709551615"};
  for (const auto& seed : seeds) {
    const auto object = object_of(seed);
    for (const auto& entry : object)
      for (const auto& value : values) {
        std::string text = "{";
        for (const auto& other : object) {
          if (text.size() > 1) text += ',';
          text += boost::json::serialize(boost::json::value(other.key())) + ":";
          text += other.key() == entry.key() ? value : boost::json::serialize(other.value());
        }
        parse_everything(text + "}");
      }
  }
  SUCCEED("no crash");
}

TEST_CASE("nesting is bounded at 32 levels") {
  const auto nested = [](int levels) {
    std::string text = "{\"a\":";
    for (int i = 1; i < levels; ++i) text += '[';
    for (int i = 1; i < levels; ++i) text += ']';
    return text + "}";
  };
  CHECK(parse_object("{\"a\":[[1]]}", "the text").has_value());
  CHECK(parse_object(nested(32), "the text").has_value());
  CHECK_FALSE(parse_object(nested(33), "the text").has_value());
  CHECK_FALSE(parse_object(std::string(1 << 20, '['), "the text").has_value());
  std::string deep;
  for (int i = 0; i < 100000; ++i) deep += "{\"a\":";
  parse_everything(deep);
}

TEST_CASE("texts that are not UTF-8, or no JSON, are refused with a message that says so") {
  for (const std::string text :
       {"{\"model\":\"\xff\"}", "{\"model\":\"\xc0\x80\"}", "{\"model\":\"\xed\xa0\x80\"}",
        "{\"a\":NaN}", "{\"a\":Infinity}", "{\"a\":01}", "{'a':1}", "{\"a\":1,}", "{\"a\":1} {}",
        "{\"a\":\"\\ud800\"}", "\xef\xbb\xbf{}", "{\"a\":\"\n\"}", "//x\n{}"}) {
    const auto parsed = parse_object(text, "the request body");
    INFO(text);
    REQUIRE(!parsed);
    CHECK_THAT(parsed.error().message, Catch::Matchers::Contains("the request body is not valid"));
  }
}

TEST_CASE("of fields given twice the last counts") {
  const auto parsed = parse(Endpoint::completions, R"("n":1,"n":3)");
  REQUIRE(parsed.has_value());
  CHECK(parsed->call.n == 3);
}

TEST_CASE("messages quote long texts cut between characters") {
  for (std::size_t pad = 0; pad < 4; ++pad) {
    std::string text(pad, 'x');
    while (text.size() < 400) text += "\xf0\x9f\x98\x80";
    for (const auto max : {31U, 32U, 33U, 40U, 64U}) {
      const auto cut = excerpt(text, max);
      CHECK(cut.size() <= max + 3);
      boost::system::error_code failed;
      boost::json::parse("\"" + cut + "\"", failed);
      CHECK(!failed);
    }
    parse_everything(body_of(Endpoint::chat_completions,
                             R"("messages":[{"role":"user","content":[{"type":")" + text +
                                 R"("}]}],"logit_bias":{")" + text + "\":1}"));
    parse_everything(R"({"model":"demo","prompt":"x","logit_bias":{")" + text + "\":1}}");
    parse_everything(R"({"model":"demo","prompt":"x",")" + text + "\":1}");
    parse_everything(R"({"type":")" + text + "\"}");
  }
}

TEST_CASE("the JSON test suite: valid texts parse, invalid ones are refused") {
  const std::filesystem::path folder = "../shared/data/json-testsuite/test_parsing";
  if (!std::filesystem::exists(folder)) {
    WARN("skipped: " << folder.string() << " is not there");
    return;
  }
  // As a member of an object, so that each text reaches the whole parser.
  std::size_t valid = 0, invalid = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const auto name = entry.path().filename().string();
    const auto text = read_file(entry.path());
    parse_everything(text);
    const auto wrapped = parse_object("{\"a\":" + text + "\n}", "the text");
    INFO(name);
    if (name.starts_with("y_")) {
      ++valid;
      CHECK(wrapped.has_value());
    } else if (name.starts_with("n_")) {
      // Texts that become valid in this wrapping are texts about what stands around a value.
      ++invalid;
      CHECK_FALSE(parse_object(text, "the text").has_value());
    }
  }
  CHECK(valid > 80);
  CHECK(invalid > 150);
}
