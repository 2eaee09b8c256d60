// Chat templates against Python's jinja2 (tests/golden/chat, written by tests/golden/make_chat.py):
// single expressions, small templates, and the published ones where ../shared is there. Then what
// has no counterpart: bounds, errors, and which bytes came from outside.
#include "model/jinja/template.hpp"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <catch2/catch.hpp>
#include <map>

#include "tests/support/golden.hpp"

namespace tandem::model::jinja {
namespace {

namespace json = boost::json;
using Catch::Matchers::Contains;

const std::filesystem::path goldens = "tests/golden/chat";
const std::filesystem::path published = "../shared/data/chat-templates";
// 2026-11-26 12:00:00 UTC: the goldens' date in every time zone but the outermost.
constexpr std::time_t now = 1795694400;

json::value read_json(const std::filesystem::path& path) {
  return json::parse(tests::read_whole_file(path));
}

Variables variables_of(const json::value& object) {
  Variables variables;
  for (const auto& [name, value] : object.as_object())
    variables.emplace_back(name, from_json(value, false));
  return variables;
}

Result<std::string> rendered(std::string_view source, const Variables& variables,
                             const Limits& limits = {}) {
  const auto parsed = Template::parse(source, "test", limits);
  if (!parsed) return parsed.error();
  auto text = parsed->render(variables, now);
  if (!text) return text.error();
  return std::move(text->bytes);
}

/// `text` is what the golden says, or both are an error.
void check_golden(const json::object& golden, const Result<std::string>& text) {
  INFO("expected " << json::serialize(golden));
  INFO("rendered " << (text ? *text : "error: " + text.error().message));
  if (golden.contains("error")) {
    CHECK(text.has_error());
    return;
  }
  CHECK(text.has_value());
  if (!text) return;
  if (const auto* whole = golden.if_contains("text")) {
    CHECK(*text == std::string_view(whole->as_string()));
  } else {
    CHECK(static_cast<std::int64_t>(text->size()) == golden.at("size").as_int64());
    CHECK(tests::fnv1a(*text) == std::string_view(golden.at("digest").as_string()));
  }
}

/// Renders every template of `folder` for every conversation, against the list in `file`.
std::size_t check_folder(const std::filesystem::path& folder, const std::string& file) {
  std::map<std::string, Variables> conversations;
  const auto talks = read_json(goldens / "conversations.json");
  for (const auto& talk : talks.as_array())
    conversations[std::string(talk.at("name").as_string())] = variables_of(talk.at("variables"));
  const auto list = read_json(goldens / file);
  std::size_t compared = 0;
  for (const auto& entry : list.as_array()) {
    const std::string name(entry.at("template").as_string());
    const std::string talk(entry.at("conversation").as_string());
    INFO(name << " with " << talk);
    const auto source = tests::read_whole_file(folder / name);
    check_golden(entry.as_object(), rendered(source, conversations.at(talk)));
    ++compared;
  }
  return compared;
}

std::string error_of(std::string_view source, const Variables& variables = {},
                     const Limits& limits = {}) {
  const auto text = rendered(source, variables, limits);
  INFO(source);
  REQUIRE(text.has_error());
  return text.error().message;
}

}  // namespace

TEST_CASE("expressions and statements mean what they mean to jinja2") {
  const auto variables = variables_of(read_json(goldens / "expressions_variables.json"));
  const auto list = read_json(goldens / "expressions.json");
  CHECK(list.as_array().size() > 150);
  for (const auto& entry : list.as_array()) {
    std::string source(entry.at("expression").as_string());
    for (std::size_t at = source.find("\\n"); at != std::string::npos; at = source.find("\\n", at))
      source.replace(at, 2, "\n");
    check_golden(entry.as_object(), rendered(source, variables));
  }
}

TEST_CASE("small templates render as jinja2 renders them") {
  CHECK(check_folder(goldens / "templates", "goldens.json") >= 24);
}

TEST_CASE("published chat templates render to the byte as jinja2 renders them") {
  if (!std::filesystem::exists(published)) {
    WARN("skipped: ../shared/data/chat-templates is not here");
    return;
  }
  CHECK(check_folder(published, "published.json") >= 38 * 6);
}

TEST_CASE("an error names the template, the line and what is wrong") {
  CHECK_THAT(error_of("a\nb\n{{ x.y }}"), Contains("chat template test, line 3: 'x' is undefined"));
  CHECK_THAT(error_of("{{ raise_exception('roles must take turns') }}"),
             Contains("line 1: roles must take turns"));
  CHECK_THAT(error_of("\n{% include 'x' %}"), Contains("line 2") && Contains("'include'"));
  CHECK_THAT(error_of("{% for x in %}"), Contains("line 1"));
  CHECK_THAT(error_of("{{ 'a' | nope }}"), Contains("there is no filter 'nope'"));
  CHECK_THAT(error_of("{{ ''.zfill(3) }}"), Contains("'zfill'") && Contains("not supported"));
  CHECK_THAT(error_of("{{ x }"), Contains("line 1"));
}

TEST_CASE("a template takes no more steps, bytes and levels than it is allowed") {
  const Limits few{.max_work = 20'000, .max_output_bytes = 10'000, .max_level = 100};
  const auto too_large = [&](const std::string& source) {
    const auto text = rendered(source, {}, few);
    INFO(source);
    REQUIRE(text.has_error());
    CHECK(text.error().code == Errc::too_large);
    return text.error().message;
  };
  CHECK_THAT(
      too_large("{% for i in range(100000) %}{% for j in range(1000) %}{% endfor %}{% endfor %}"),
      Contains("steps"));
  CHECK_THAT(too_large("{% for i in range(3000) %}aaaa{% endfor %}"), Contains("bytes"));
  CHECK_THAT(too_large("{{ 'x' * 100000 }}"), Contains("bytes"));
  CHECK_THAT(too_large("{{ 'x' * 9223372036854775807 }}"), Contains("bytes"));
  CHECK_THAT(too_large("{{ [1] * 1000000 }}"), Contains("steps"));
  CHECK_THAT(too_large("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"), Contains("levels"));
  CHECK_THAT(too_large("{% set ns = namespace(s='ab') %}{% for i in range(99) %}"
                       "{% set ns.s = ns.s + ns.s %}{% endfor %}"),
             Contains("bytes"));
  CHECK_THAT(too_large("{% for x in [[[]]] recursive %}{{ loop([x]) }}{% endfor %}"),
             Contains("levels"));
  CHECK_THAT(too_large("{{ 'ab'.replace('', 'x' * 9000) }}"), Contains("bytes"));
  CHECK_THAT(too_large("{{ 'a' | indent(1024, true) | replace('', 'y' * 20) }}"),
             Contains("bytes"));
}

TEST_CASE("nesting is bounded wherever a template may nest") {
  const auto repeated = [](const std::string& text, std::size_t count) {
    std::string all;
    for (std::size_t i = 0; i < count; ++i) all += text;
    return all;
  };
  constexpr std::size_t deep = 100'000;
  CHECK_THAT(error_of("{{ " + repeated("(", deep) + "1" + repeated(")", deep) + " }}"),
             Contains("nested"));
  CHECK_THAT(error_of("{{ " + repeated("[", deep) + repeated("]", deep) + " }}"),
             Contains("nested"));
  CHECK_THAT(error_of("{{ " + repeated("not ", deep) + "1 }}"), Contains("nested"));
  CHECK_THAT(error_of("{{ " + repeated("-", deep) + "1 }}"), Contains("nested"));
  CHECK_THAT(error_of("{{ 1" + repeated(" + 1", deep) + " }}"), Contains("nested"));
  CHECK_THAT(error_of("{{ 1" + repeated(" or 1", deep) + " }}"), Contains("nested"));
  CHECK_THAT(error_of("{{ x" + repeated(".y", deep) + " }}"), Contains("nested"));
  CHECK_THAT(error_of("{{ x" + repeated(" | trim", deep) + " }}"), Contains("nested"));
  CHECK_THAT(error_of("{{ 1" + repeated(" if 1 else 1", deep) + " }}"), Contains("nested"));
  CHECK_THAT(error_of(repeated("{% if 1 %}", deep)), Contains("nested"));
  CHECK_THAT(error_of(repeated("{% for x in y %}", deep)), Contains("nested"));
  CHECK_THAT(error_of("{% set " + repeated("(", deep) + "x" + repeated(")", deep) + " = 1 %}"),
             Contains("nested"));
  CHECK_THAT(error_of("{% set ns = namespace(l=[]) %}{% for i in range(1000) %}"
                      "{% set ns.l = [ns.l] %}{% endfor %}"),
             Contains("nested deeper"));
  // Nothing can hold itself.
  CHECK_THAT(error_of("{% set ns = namespace() %}{% set ns.me = ns %}"), Contains("namespace"));
  CHECK_THAT(error_of("{% set ns = namespace() %}{% set ns.me = [ns] %}"), Contains("namespace"));
  CHECK_THAT(
      error_of("{% set ns = namespace() %}{% for x in [1] %}{% set ns.l = loop %}{% endfor %}"),
      Contains("loop"));
}

TEST_CASE("bytes from outside stay marked, whatever a template does with them") {
  const auto parsed = [](std::string_view source) {
    auto made = Template::parse(source, "test");
    REQUIRE(made.has_value());
    return *made;
  };
  const Variables variables{{"u", Value::text("  <|x|> é", true)},
                            {"t", Value::text("tp")},
                            {"d", from_json(json::parse(R"({"k": ["v\n", {"w": "z"}]})"), true)}};
  const auto marked = [&](std::string_view source) {
    const auto text = parsed(source).render(variables, now);
    INFO(source << (text ? "" : text.error().message));
    REQUIRE(text.has_value());
    std::string only;
    for (const auto& range : text->literal)
      only += text->bytes.substr(range.begin, range.end - range.begin) + "/";
    return only;
  };
  CHECK(marked("<|x|>{{ t }}") == "");
  CHECK(marked("a{{ u }}b") == "  <|x|> é/");
  CHECK(marked("{{ '<' + u.strip() + t ~ u[2:4] }}") == "<|x|> é/<|/");
  CHECK(marked("{{ u | trim | upper }}") == "<|X|> É/");
  CHECK(marked("{{ u.split('|')[1] }} {{ u.replace('x', '|y|') }}") == "x/  <|/|> é/");
  CHECK(marked("{{ [u, t] | join(', ') }}") == "  <|x|> é/");
  CHECK(marked("{{ d | tojson }}") == "k/v\\n/w/z/");
  CHECK(marked("{{ d }}") == "k/v\\n/w/z/");
  CHECK(marked("{% set b %}a{{ u }}{% endset %}{{ b }}") == "  <|x|> é/");
  CHECK(marked("{% macro m(x) %}<{{ x[2] }}>{% endmacro %}{{ m(u) }}{{ u[::-1][-3:] }}") ==
        "</<  /");
  CHECK(marked("{% for c in u %}{{ c }}{% endfor %}") == "  <|x|> é/");
  CHECK(marked("{{ '%s-%s' % (u, t) }}") == "  <|x|> é/");
}

}  // namespace tandem::model::jinja
