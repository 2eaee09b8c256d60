// JSON as it arrives: what can still become an object, held against a parser that sees it whole.
#include "model/answer/json_scanner.hpp"

#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>
#include <catch2/catch.hpp>
#include <filesystem>
#include <random>

#include "tests/support/golden.hpp"

namespace tandem::model {
namespace {

/// The scanner takes all of `text`, and it is an object.
bool accepts(std::string_view text) {
  JsonScanner scanner;
  for (const char byte : text)
    if (!scanner.push(byte)) return false;
  return scanner.done();
}

bool boost_accepts(std::string_view text) {
  boost::json::parse_options options;
  options.max_depth = JsonScanner::max_depth;
  boost::system::error_code failure;
  const auto value =
      boost::json::parse(boost::json::string_view(text.data(), text.size()), failure, {}, options);
  return !failure && value.is_object();
}

}  // namespace

TEST_CASE("objects are accepted, and end where they end") {
  for (const std::string_view text :
       {"{}", "{ }", R"({"a":1})", R"({"a":[1,-0,0.5,1e9,1E+9,-1.5e-3,[],{}],"b":"\u00e9\n\"\\/"})",
        R"({ "a" : true , "b" : false , "c" : null })", "{\"a\":{\"b\":{\"c\":[[[\"]}\"]]]}}}"}) {
    INFO(text);
    CHECK(accepts(text));
    JsonScanner scanner;
    for (const char byte : text) CHECK(scanner.push(byte));
    CHECK_FALSE(scanner.push('}'));
  }
  JsonScanner scanner;
  for (const char byte : std::string_view(R"({"a": [{)")) CHECK(scanner.push(byte));
  CHECK(scanner.depth() == 3);
  CHECK_FALSE(scanner.done());
}

TEST_CASE("what can be no object any more is refused with the byte that makes it so") {
  for (const std::string_view text : {"[",
                                      "x",
                                      "{,",
                                      "{a",
                                      "{'",
                                      "{\"a\" 1",
                                      "{\"a\":}",
                                      "{\"a\":,",
                                      "{\"a\":1,}",
                                      "{\"a\":01",
                                      "{\"a\":1.}",
                                      "{\"a\":.",
                                      "{\"a\":1e}",
                                      "{\"a\":-}",
                                      "{\"a\":+",
                                      "{\"a\":tru}",
                                      "{\"a\":nulL",
                                      "{\"a\":\"\\x",
                                      "{\"a\":\"\\u12g",
                                      "{\"a\":\"\n",
                                      "{\"a\":[1}",
                                      "{\"a\":[1,]",
                                      "{\"a\":{]",
                                      "{\"a\":1e5.",
                                      "{\"a\":--"}) {
    INFO(text);
    JsonScanner scanner;
    for (const char byte : text.substr(0, text.size() - 1)) CHECK(scanner.push(byte));
    CHECK_FALSE(scanner.push(text.back()));
  }
}

TEST_CASE("nesting is bounded") {
  const auto nested = [](std::size_t depth) {
    return "{\"a\":" + std::string(depth - 1, '[') + std::string(depth - 1, ']') + "}";
  };
  CHECK(accepts(nested(JsonScanner::max_depth)));
  CHECK_FALSE(accepts(nested(JsonScanner::max_depth + 1)));
}

TEST_CASE("scanner and parser agree on random mutations of objects") {
  std::mt19937 random(7);
  const auto pick = [&](std::size_t below) {
    return std::uniform_int_distribution<std::size_t>(0, below - 1)(random);
  };
  const std::string source =
      R"({"a":[1,-0,0.5,1e9,{"k":null}],"b":"x\u00e9\n","c":{"d":true,"e":[[],{}]},"f":-12.5E-3})";
  constexpr std::string_view alphabet = "{}[]\",:0123456789.eE+-tfn\\u \n";
  std::size_t accepted = 0;
  for (int round = 0; round < 100'000; ++round) {
    auto text = source;
    for (std::size_t i = 0, count = 1 + pick(2); i < count; ++i) {
      const auto at = pick(text.size());
      switch (pick(3)) {
        case 0: text[at] = alphabet[pick(alphabet.size())]; break;
        case 1: text.erase(at, 1); break;
        default: text.insert(at, 1, alphabet[pick(alphabet.size())]);
      }
    }
    INFO(text);
    REQUIRE(accepts(text) == boost_accepts(text));
    accepted += accepts(text) ? 1 : 0;
  }
  CHECK(accepted > 1000);
}

TEST_CASE("the scanner judges a published set of JSON texts as they say") {
  const std::filesystem::path folder = "../shared/data/json-testsuite";
  if (!std::filesystem::exists(folder)) {
    WARN("skipped: ../shared/data/json-testsuite is not here");
    return;
  }
  std::size_t checked = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    const auto name = entry.path().filename().string();
    if (entry.path().extension() != ".json" || name.size() < 2 || name[1] != '_') continue;
    // Any value may be the text's outermost one there: here it is an object's.
    const auto text = "{\"a\":" + tests::read_whole_file(entry.path()) + "}";
    INFO(name);
    if (name[0] == 'y') CHECK(accepts(text));
    // Strings' encoding, and what is no longer wrong inside of an object, are not judged.
    if (name[0] == 'n' && boost_accepts(text) == false &&
        name.find("invalid-utf") == std::string::npos &&
        name.find("invalid_utf") == std::string::npos &&
        name.find("surrogate") == std::string::npos)
      CHECK(accepts(text) == false);
    ++checked;
  }
  CHECK(checked > 100);
}

}  // namespace tandem::model
