// The multipart reader: whatever the pieces in which a body arrives, the parts are the same.
#include "net/multipart.hpp"

#include <catch2/catch.hpp>
#include <random>

namespace tandem::net {
namespace {

struct Outcome {
  std::optional<Error> failed;
  std::string file;
  std::map<std::string, std::string> fields;
  std::string filename;
  bool has_file = false;

  friend bool operator==(const Outcome& a, const Outcome& b) {
    return a.failed.has_value() == b.failed.has_value() && (!a.failed || *a.failed == *b.failed) &&
           (a.failed || (a.file == b.file && a.fields == b.fields && a.filename == b.filename &&
                         a.has_file == b.has_file));
  }
};

/// Feeds `body` in pieces of the sizes that `next` gives.
template <class Next>
Outcome parse(std::string_view body, Next next, MultipartLimits limits = {}) {
  Outcome outcome;
  MultipartParser parser("XX", limits, [&](std::string_view bytes) {
    outcome.file += bytes;
    return std::nullopt;
  });
  while (!body.empty() && !outcome.failed) {
    const auto size = std::min<std::size_t>(next(), body.size());
    outcome.failed = parser.feed(body.substr(0, size));
    body.remove_prefix(size);
  }
  if (!outcome.failed) outcome.failed = parser.finish();
  outcome.fields = parser.fields();
  outcome.filename = parser.filename();
  outcome.has_file = parser.has_file();
  return outcome;
}
Outcome parse(std::string_view body) {
  return parse(body, [&] { return body.size(); });
}

std::string part(std::string_view disposition, std::string_view content) {
  return "--XX\r\nContent-Disposition: " + std::string(disposition) + "\r\n\r\n" +
         std::string(content) + "\r\n";
}

}  // namespace

TEST_CASE("a form's fields and file are read") {
  const auto outcome =
      parse(part("form-data; name=\"purpose\"", "batch") +
            part("form-data; name=\"file\"; filename=\"a \\\"b\\\".jsonl\"", "one\r\ntwo\n") +
            part("form-data; name=note", "") + "--XX--\r\n");
  REQUIRE_FALSE(outcome.failed);
  CHECK(outcome.fields.at("purpose") == "batch");
  CHECK(outcome.fields.at("note").empty());
  CHECK(outcome.filename == "a \"b\".jsonl");
  CHECK(outcome.file == "one\r\ntwo\n");
}

TEST_CASE("how a form is cut into pieces does not change what is read") {
  std::minstd_rand random(20260821);
  const auto below = [&](std::size_t bound) {
    return std::uniform_int_distribution<std::size_t>(0, bound - 1)(random);
  };
  const std::string_view alphabet[] = {"\r", "\n", "-", "--", "XX", "\r\n--X", "\r\n--", "a", "{}"};
  for (int round = 0; round < 400; ++round) {
    std::string content;
    for (auto left = below(60); left > 0; --left) content += alphabet[below(9)];
    const bool has_delimiter = content.find("\r\n--XX") != content.npos;
    auto body = part("form-data; name=file; filename=f", content) +
                part("form-data; name=purpose", "batch") + "--XX--\r\n";
    if (below(4) == 0) body.resize(below(body.size()) + 1);  // cut off
    if (below(4) == 0) body[below(body.size())] = static_cast<char>(below(256));
    const auto whole = parse(body);
    for (int way = 0; way < 4; ++way) {
      const auto pieces = parse(body, [&] { return way == 0 ? 1 : below(9) + 1; });
      INFO("round " << round << " way " << way);
      REQUIRE(pieces == whole);
    }
    if (!whole.failed && !has_delimiter && whole.has_file && whole.fields.contains("purpose") &&
        body.find(content) != body.npos)
      CHECK(whole.file.size() >= content.size() - std::min<std::size_t>(content.size(), 1));
  }
}

TEST_CASE("content that looks like a boundary stays content") {
  const std::string content = "\r\n--X\r\n--\r\r\n-XX\r\n--xx\n--XX--";
  const auto outcome = parse(part("form-data; name=file; filename=f", content) + "--XX--");
  REQUIRE_FALSE(outcome.failed);
  CHECK(outcome.file == content);
}

TEST_CASE("malformed forms are refused by name") {
  const auto file = part("form-data; name=file; filename=f", "x");
  CHECK(parse("").failed);
  CHECK(parse("no boundary at all").failed);
  CHECK(parse(file).failed);                                     // not closed
  CHECK(parse(file + file + "--XX--").failed->param == "file");  // two files
  CHECK(parse(part("form-data; name=a", "1") + part("form-data; name=a", "2") + "--XX--")
            .failed->param == "a");
  CHECK(parse(part("attachment; name=a", "1") + "--XX--").failed);
  CHECK(parse(part("form-data", "1") + "--XX--").failed);
  CHECK(parse(part("form-data; name=\"a", "1") + "--XX--").failed);
  CHECK(parse("--XX\r\n\r\nx\r\n--XX--").failed);
  CHECK(parse("--XX\r\nno colon\r\n\r\nx\r\n--XX--").failed);
  CHECK(parse("--XXjunk\r\n").failed);
}

TEST_CASE("forms have bounds") {
  MultipartLimits limits;
  limits.max_file_bytes = 10;
  limits.max_parts = 3;
  limits.max_field_bytes = 5;
  const auto status = [&](const std::string& body) {
    return parse(
               body, [] { return std::size_t{7}; }, limits)
        .failed;
  };
  CHECK_FALSE(status(part("form-data; name=file; filename=f", "0123456789") + "--XX--"));
  CHECK(status(part("form-data; name=file; filename=f", "0123456789x") + "--XX--")->code ==
        Errc::too_large);
  CHECK(status(part("form-data; name=a", "123456") + "--XX--")->code == Errc::too_large);
  std::string many;
  for (char name = 'a'; name < 'e'; ++name)
    many += part(std::string("form-data; name=") + name, "1");
  CHECK(status(many + "--XX--"));
  CHECK(status("--XX\r\nX: " + std::string(5000, 'x')));
  CHECK(status(std::string(5000, 'x')));
  CHECK(status("--XX" + std::string(5000, ' ')));
}

TEST_CASE("the boundary comes from the Content-Type") {
  CHECK(multipart_boundary("multipart/form-data; boundary=abc").value() == "abc");
  CHECK(multipart_boundary("Multipart/Form-Data; charset=utf-8; boundary=\"a b\"").value() ==
        "a b");
  CHECK(multipart_boundary("multipart/form-data").has_error());
  CHECK(multipart_boundary("multipart/mixed; boundary=abc").has_error());
  CHECK(multipart_boundary("application/json").has_error());
  CHECK(multipart_boundary("multipart/form-data; boundary=" + std::string(71, 'x')).has_error());
  CHECK(multipart_boundary("multipart/form-data; boundary=").has_error());
}

}  // namespace tandem::net
