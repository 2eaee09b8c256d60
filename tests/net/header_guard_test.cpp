// What the header guard must refuse, request by request, and what it must let through.
#include "net/header_guard.hpp"

#include <catch2/catch.hpp>

#include "net/request_parser.hpp"
#include "tests/net/service.hpp"

namespace tandem::net {
namespace {

struct Case {
  const char* name;
  std::string header;
  int status;  ///< 0: let through
};

const std::string host = "Host: localhost\r\n";

/// What Beast 345 lets through or reads in its own way, and what else two readers could read
/// differently.
std::vector<Case> cases() {
  const auto p = std::string("POST /v1/completions HTTP/1.1\r\n");
  const auto p0 = std::string("POST /v1/completions HTTP/1.0\r\n");
  return {
      {"plain", p + host + "Content-Length: 5\r\n\r\n", 0},
      {"chunked", p + host + "Transfer-Encoding: chunked\r\n\r\n", 0},
      {"chunked in capitals", p + host + "Transfer-Encoding: Chunked\r\n\r\n", 0},
      {"gzip before a length", p + host + "Transfer-Encoding: gzip\r\nContent-Length: 5\r\n\r\n",
       400},
      {"chunked, gzip", p + host + "Transfer-Encoding: chunked, gzip\r\n\r\n", 400},
      {"gzip, chunked", p + host + "Transfer-Encoding: gzip, chunked\r\n\r\n", 400},
      {"xchunked", p + host + "Transfer-Encoding: xchunked\r\n\r\n", 400},
      {"chunked twice",
       p + host + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
      {"an empty encoding", p + host + "Transfer-Encoding: \r\n\r\n", 400},
      {"chunked on HTTP/1.0", p0 + host + "Transfer-Encoding: chunked\r\n\r\n", 400},
      {"encoding and length", p + host + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
       400},
      {"length and encoding", p + host + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
       400},
      {"two lengths", p + host + "Content-Length: 5\r\nContent-Length: 6\r\n\r\n", 400},
      {"two equal lengths", p + host + "Content-Length: 5\r\nContent-Length: 5\r\n\r\n", 400},
      {"a length with a sign", p + host + "Content-Length: +5\r\n\r\n", 400},
      {"a length list", p + host + "Content-Length: 5, 5\r\n\r\n", 400},
      {"a hexadecimal length", p + host + "Content-Length: 0x5\r\n\r\n", 400},
      {"a length beyond 64 bits", p + host + "Content-Length: 99999999999999999999999\r\n\r\n",
       400},
      {"no Host", p + "Content-Length: 5\r\n\r\n", 400},
      {"two Hosts", p + host + "Host: evil.example\r\n\r\n", 400},
      {"a folded field", p + host + "X-Note: one\r\n two\r\n\r\n", 400},
      {"a folded first field", p + " X-Note: one\r\n" + host + "\r\n", 400},
      {"a blank before the colon", p + host + "Content-Length : 5\r\n\r\n", 400},
      {"no name", p + host + ": 5\r\n\r\n", 400},
      {"no colon", p + host + "Content-Length\r\n\r\n", 400},
      {"a bare line feed", p + host + "X-Note: one\nContent-Length: 5\r\n\r\n", 400},
      {"a bare carriage return", p + host + "X-Note: one\rContent-Length: 5\r\n\r\n", 400},
      {"a zero byte", p + host + std::string("X-Note: a\0b\r\n\r\n", 14), 400},
      {"bytes behind the header", p + host + "\r\nGET / HTTP/1.1\r\n\r\n", 400},
      {"two blanks in the request line", "POST  /v1/models HTTP/1.1\r\n" + host + "\r\n", 400},
      {"a tab in the request line", "POST\t/v1/models HTTP/1.1\r\n" + host + "\r\n", 400},
      {"an absolute target", "GET http://evil/ HTTP/1.1\r\n" + host + "\r\n", 400},
      {"another protocol", "GET / FTP/1.1\r\n" + host + "\r\n", 400},
      {"HTTP/2.0", "GET / HTTP/2.0\r\n" + host + "\r\n", 505},
      {"HTTP/0.9", "GET / HTTP/0.9\r\n" + host + "\r\n", 505},
      {"a compressed body", p + host + "Content-Encoding: gzip\r\n\r\n", 415},
      {"an encoding that is none", p + host + "Content-Encoding: identity\r\n\r\n", 0},
      {"an unknown expectation", p + host + "Expect: payment\r\n\r\n", 417},
      {"the known expectation", p + host + "Expect: 100-continue\r\n\r\n", 0},
      {"too many bytes", p + host + "X-Note: " + std::string(20000, 'x') + "\r\n\r\n", 431},
  };
}

}  // namespace

TEST_CASE("the header guard lets through only what has one meaning") {
  for (const auto& one : cases()) {
    INFO(one.name);
    const auto no = guard_header(one.header);
    CHECK((no ? no->status : 0) == one.status);
    if (no) CHECK(!no->message.empty());
  }
}

TEST_CASE("the header guard counts fields") {
  std::string header = "GET / HTTP/1.1\r\n" + host;
  for (int i = 0; i < 99; ++i) header += "X-" + std::to_string(i) + ": y\r\n";
  CHECK_FALSE(guard_header(header + "\r\n"));
  const auto no = guard_header(header + "X-More: y\r\n\r\n");
  REQUIRE(no);
  CHECK(no->status == 431);
}

TEST_CASE("every cut of a header is refused") {
  const std::string whole = "GET / HTTP/1.1\r\n" + host + "\r\n";
  for (std::size_t size = 0; size < whole.size(); ++size)
    CHECK(guard_header(std::string_view(whole).substr(0, size)));
}

TEST_CASE("what the guard refuses, the server refuses, and closes the connection") {
  tests::Service service;
  for (const auto& one : cases()) {
    // To a server, bytes behind a header are a body or the next request.
    if (one.status == 0 || one.name == std::string("bytes behind the header")) continue;
    INFO(one.name);
    auto client = service.connect();
    client.send(one.header + "GET /livez HTTP/1.1\r\n" + host + "\r\n");
    const auto reply = client.read_reply();
    CHECK(reply.status == one.status);
    CHECK(reply.fields.at("connection") == "close");
    CHECK(reply.fields.at("x-should-retry") == "false");
    CHECK(reply.body.find("\"error\"") != std::string::npos);
    CHECK(client.ended());  // nothing behind it was taken for a request
  }
}

TEST_CASE("bodies are read in whatever pieces they come") {
  const std::string header = "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n";
  const std::string body =
      "4;name=value\r\nWiki\r\n6\r\npedia \r\nE\r\nin \r\n\r\nchunks.\r\n0\r\n"
      "Authorization: stolen\r\n\r\n";
  for (std::size_t cut = 0; cut <= body.size(); ++cut) {
    RequestParser parser;
    REQUIRE_FALSE(parser.parse_header(header));
    parser.limit_body(1000);
    std::string read, waiting;
    const auto feed = [&](std::string_view piece) {
      waiting += piece;
      std::size_t consumed = 0;
      const auto no =
          parser.feed(waiting, consumed, [&](std::string_view bytes) { read += bytes; });
      waiting.erase(0, consumed);
      return no;
    };
    REQUIRE_FALSE(feed(std::string_view(body).substr(0, cut)));
    REQUIRE_FALSE(feed(std::string_view(body).substr(cut)));
    CHECK(parser.done());
    CHECK(read == "Wikipedia in \r\n\r\nchunks.");
    CHECK(parser.head().find("authorization") == nullptr);  // trailers are dropped
  }
}

TEST_CASE("chunked bodies have bounds") {
  const std::string header = "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n";
  const auto status_of = [&](const std::string& body) {
    RequestParser parser;
    REQUIRE_FALSE(parser.parse_header(header));
    parser.limit_body(10);
    std::size_t consumed = 0;
    const auto no = parser.feed(body, consumed, [](std::string_view) {});
    return no ? no->status : 0;
  };
  CHECK(status_of("5\r\nhello\r\n0\r\n\r\n") == 0);
  CHECK(status_of("6\r\nhello \r\n6\r\nworld!\r\n0\r\n\r\n") == 413);
  CHECK(status_of("FFFFFFFFFFFFFFFF\r\n") != 0);
  CHECK(status_of("5;" + std::string(300, 'x') + "\r\nhello\r\n") == 400);
  CHECK(status_of("5;" + std::string(20000, 'x')) == 400);
  CHECK(status_of("0\r\n" + std::string(20000, 'x')) == 400);
  CHECK(status_of("zz\r\n") == 400);
  CHECK(status_of("5\r\nhelloXX0\r\n\r\n") == 400);
}

}  // namespace tandem::net
