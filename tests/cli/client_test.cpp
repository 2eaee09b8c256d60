// The pure parts of the clients: URLs, event streams, events, text for terminals.
#include <catch2/catch.hpp>

#include "cli/client/api_calls.hpp"
#include "cli/client/progress.hpp"
#include "cli/client/responses.hpp"
#include "cli/client/sse_parser.hpp"
#include "cli/client/url.hpp"

using namespace tandem;
using namespace tandem::client;

TEST_CASE("a URL is taken apart, and /v1 at its end is dropped") {
  struct Row {
    const char *text, *host, *port, *prefix, *authority;
  };
  const auto row = GENERATE(Row{"http://127.0.0.1:8000", "127.0.0.1", "8000", "", "127.0.0.1:8000"},
                            Row{"http://localhost", "localhost", "80", "", "localhost:80"},
                            Row{"ws://[::1]:81/", "::1", "81", "", "[::1]:81"},
                            Row{"http://h:1/v1", "h", "1", "", "h:1"},
                            Row{"http://h:1/a/v1/", "h", "1", "/a", "h:1"},
                            Row{"http://h:1/a/b", "h", "1", "/a/b", "h:1"});
  INFO(row.text);
  const auto url = parse_url(row.text);
  REQUIRE(url.has_value());
  CHECK(url->host == row.host);
  CHECK(url->port == row.port);
  CHECK(url->prefix == row.prefix);
  CHECK(url->authority() == row.authority);
}

TEST_CASE("what is no usable URL is refused with the reason") {
  CHECK(parse_url("https://h").error().message.find("TLS") != std::string::npos);
  for (const auto* text :
       {"", "h:80", "ftp://h", "http://", "http://:80", "http://h:", "http://h:0", "http://h:65536",
        "http://h:8x", "http://[::1", "http://[::1]x", "http://u@h", "http://h/a b",
        "http://h/a\r\nX: y", "http://h\r\n"}) {
    INFO(text);
    CHECK_FALSE(parse_url(text).has_value());
  }
}

TEST_CASE("events come out whole wherever the stream is cut") {
  const std::string stream =
      ": ping\r\n\r\ndata: {\"a\":1}\n\nevent: x\ndata:one\ndata: two\n\nid: 3\n\ndata: [DONE]\n\n"
      "data: never ended";
  const std::vector<std::string> expected{"{\"a\":1}", "one\ntwo", "[DONE]"};
  for (std::size_t size = 1; size <= stream.size(); ++size) {
    SseParser parser;
    std::vector<std::string> got;
    for (std::size_t at = 0; at < stream.size(); at += size)
      REQUIRE(parser.push(std::string_view(stream).substr(at, size),
                          [&](std::string_view data) { got.emplace_back(data); }));
    INFO(size);
    CHECK(got == expected);
  }
}

TEST_CASE("an event without an end is given up") {
  SseParser parser;
  const std::string piece(1 << 20, 'x');
  bool fine = true;
  for (int i = 0; i < 20; ++i) fine = parser.push(piece, [](std::string_view) {});
  CHECK_FALSE(fine);
}

TEST_CASE("a question becomes a response.create event") {
  CHECK(create_event({.stream_id = "a",
                      .model = "m",
                      .instructions = "be brief",
                      .input = {{"user", "hi \"you\""}},
                      .max_tokens = 5,
                      .temperature = 0}) ==
        R"({"type":"response.create","model":"m","stream_id":"a","instructions":"be brief",)"
        R"("input":[{"type":"message","role":"user","content":"hi \"you\""}],)"
        R"("max_output_tokens":5,"temperature":0E0})");
  CHECK(create_event({.model = "m", .input = {{"user", "x"}}}).find("temperature") ==
        std::string::npos);
  CHECK(cancel_event("resp_1") == R"({"type":"response.cancel","response_id":"resp_1"})");
}

TEST_CASE("events of the service are understood") {
  using Kind = ResponseEvent::Kind;
  auto event = parse_response_event(
      R"({"type":"response.created","stream_id":"a","response":{"id":"resp_1","status":"in_progress"}})");
  REQUIRE(event.has_value());
  CHECK(event->kind == Kind::created);
  CHECK(event->response_id == "resp_1");
  CHECK(event->stream_id == "a");
  event = parse_response_event(R"({"type":"response.output_text.delta","delta":"é"})");
  CHECK(event->kind == Kind::delta);
  CHECK(event->text == "é");
  event = parse_response_event(
      R"({"type":"response.incomplete","response":{"id":"r","status":"incomplete",)"
      R"("incomplete_details":{"reason":"max_output_tokens"},"usage":{"output_tokens":7}}})");
  CHECK(event->kind == Kind::ended);
  CHECK(event->status == "incomplete");
  CHECK(event->message == "max_output_tokens");
  CHECK(event->output_tokens == 7);
  event = parse_response_event(R"({"type":"error","error":{"message":"no"},"stream_id":"b"})");
  CHECK(event->kind == Kind::error);
  CHECK(event->message == "no");
  CHECK(parse_response_event(R"({"type":"rate_limits.updated"})")->kind == Kind::other);
  for (const auto* text : {"", "[]", "{}", "{\"type\":1}", "{"})
    CHECK_FALSE(parse_response_event(text).has_value());
}

TEST_CASE("a batch object is read, whatever is missing or of another type") {
  const auto batch = parse_batch(
      R"({"id":"batch_1","status":"completed","output_file_id":"file-1","error_file_id":null,)"
      R"("request_counts":{"total":3,"completed":2,"failed":1},)"
      R"("usage":{"input_tokens":10,"output_tokens":20}})");
  REQUIRE(batch.has_value());
  CHECK(batch->ended());
  CHECK(batch->output_file_id == "file-1");
  CHECK(batch->error_file_id.empty());
  CHECK(batch->total == 3);
  CHECK(batch->completed == 2);
  CHECK(batch->failed == 1);
  CHECK(batch->input_tokens == 10);
  CHECK(batch->output_tokens == 20);
  const auto odd = parse_batch(R"({"status":"in_progress","request_counts":[],"usage":"x"})");
  REQUIRE(odd.has_value());
  CHECK_FALSE(odd->ended());
  CHECK_FALSE(parse_batch("[]").has_value());
}

TEST_CASE("what a service sends cannot steer the terminal") {
  CHECK(printable("plain é\n\ttext") == "plain é\n\ttext");
  CHECK(printable("a\033[2Jb\rc\007\x7f") == "a[2Jbc");
  CHECK(printable("x\xC2\x9Bz") == "xz");
  CHECK(printable("\xC2\xA0") == "\xC2\xA0");
}
