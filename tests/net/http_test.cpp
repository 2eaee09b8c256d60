// Routes, limits, health, keep-alive: HTTP as such, over real sockets.
#include <boost/json.hpp>
#include <caf/send.hpp>

#include "net/query.hpp"
#include "net/routes.hpp"
#include "tests/net/service.hpp"

namespace tandem::tests {
namespace {

std::string error_code_of(const HttpReply& reply) {
  return boost::json::parse(reply.body).at("error").at("code").as_string().c_str();
}
const std::string completion = R"({"model":"letters","prompt":"hi"})";

}  // namespace

TEST_CASE("paths find their route, with parameters decoded") {
  CHECK(net::find_route("GET", "/v1/models").route);
  CHECK(net::find_route("GET", "/v1/models/a/b%2Fc").parameters.at(0) == "a/b/c");
  CHECK(net::find_route("GET", "/v1/files/f1/content").parameters.at(0) == "f1");
  CHECK(net::find_route("POST", "/v1/batches/b1/cancel").route);
  CHECK(net::find_route("PUT", "/v1/files").allowed_methods == "POST, GET");
  CHECK(net::find_route("HEAD", "/livez").route);
  for (const auto* path : {"/", "/v1", "/v1/files/", "/v1/files//content", "/v1/models/",
                           "/v1/files/%00", "/v1/files/%zz", "/v1/files/a/b", "x"})
    CHECK(net::find_route("GET", path).allowed_methods.empty());
}

TEST_CASE("query parameters are decoded and range-checked") {
  CHECK(net::query_value("a=1&b=%2Fx&c", "b") == "/x");
  CHECK(net::query_value("a=1&c", "c") == "");
  CHECK_FALSE(net::query_value("aa=1", "a"));
  CHECK(net::query_number("limit=7", "limit", 1, 10, 3).value() == 7);
  CHECK(net::query_number("", "limit", 1, 10, 3).value() == 3);
  for (const auto* text : {"limit=0", "limit=11", "limit=x", "limit=", "limit=7x"})
    CHECK(net::query_number(text, "limit", 1, 10, 3).error().param == "limit");
}

TEST_CASE("health, version, metrics and models are served, several on one connection") {
  Service service;
  auto client = service.connect();
  client.send(get("/livez") + get("/readyz?verbose") + get("/health") + get("/ping") +
              get("/version") + get("/metrics") + get("/v1/models") + get("/v1/models/letters"));
  CHECK(client.read_reply().body == "ok\n");
  const auto ready = client.read_reply();
  CHECK(ready.status == 200);
  CHECK(ready.body.find("[+]store ok") != std::string::npos);
  CHECK(client.read_reply().status == 200);
  CHECK(client.read_reply().status == 200);
  CHECK(client.read_reply().body.find("1.2.3") != std::string::npos);
  const auto metrics = client.read_reply();
  CHECK(metrics.body == "tandem_up 1\n");
  CHECK(metrics.fields.at("content-type").starts_with("text/plain; version=0.0.4"));
  const auto models = boost::json::parse(client.read_reply().body);
  CHECK(models.at("data").at(0).at("id") == "letters");
  CHECK(boost::json::parse(client.read_reply().body).at("object") == "model");
  CHECK(service.ask(get("/v1/models/other")).status == 404);
}

TEST_CASE("readiness is verbose wherever in the query that is asked for") {
  Service service;
  for (const auto* path : {"/readyz?verbose", "/readyz?x=1&verbose", "/readyz?verbose=1"})
    CHECK(service.ask(get(path)).body.find("[+]store ok") != std::string::npos);
  for (const auto* path : {"/readyz", "/readyz?verbosely"})
    CHECK(service.ask(get(path)).body == "ok\n");
}

TEST_CASE("readiness names what is wrong") {
  Service service;
  service.not_ready = "the executor has died";
  auto reply = service.ask(get("/readyz"));
  CHECK(reply.status == 503);
  CHECK(reply.body.find("[-]engine failed: the executor has died") != std::string::npos);
  CHECK(service.ask(get("/livez")).status == 200);
  service.not_ready = "";
  service.queue.fail_probe(true);
  reply = service.ask(get("/health"));
  CHECK(reply.status == 503);
  CHECK(reply.body.find("[-]store failed: the disk is full") != std::string::npos);
}

TEST_CASE("HEAD has a header only, and keeps the connection") {
  Service service;
  auto client = service.connect();
  client.send("HEAD /livez HTTP/1.1\r\nHost: x\r\n\r\n" + get("/livez"));
  CHECK(client.read_reply(true).fields.at("content-length") == "3");
  CHECK(client.read_reply().body == "ok\n");
}

TEST_CASE("unknown paths and wrong methods are JSON errors") {
  Service service;
  const auto unknown = service.ask(get("/v2/everything"));
  CHECK(unknown.status == 404);
  CHECK(error_code_of(unknown) == "not_found");
  const auto wrong = service.ask("DELETE /v1/batches HTTP/1.1\r\nHost: x\r\n\r\n");
  CHECK(wrong.status == 405);
  CHECK(wrong.fields.at("allow") == "POST, GET");
  CHECK(service.ask(get("/v1/responses")).status == 426);
}

TEST_CASE("an answer's traceparent is a span in the caller's trace, if there is one") {
  Service service;
  const std::string trace = "0af7651916cd43dd8448eb211c80319c", span = "b7ad6b7169203331";
  for (const auto* path : {"/livez", "/nowhere"}) {
    const auto reply = service.ask(get(path, "traceparent: 00-" + trace + '-' + span + "-01\r\n"));
    const auto& ours = reply.fields.at("traceparent");
    CHECK(ours.starts_with("00-" + trace + '-'));
    CHECK(ours.ends_with("-01"));
    CHECK(ours.find(span) == ours.npos);
  }
  CHECK_FALSE(service.ask(get("/livez")).fields.contains("traceparent"));
  CHECK_FALSE(service.ask(get("/livez", "traceparent: 00-" + trace + "\r\n"))
                  .fields.contains("traceparent"));
}

TEST_CASE("X-Request-Id is echoed if it is sane, and minted if not") {
  Service service;
  CHECK(service.ask(get("/livez", "X-Request-Id: my-id.1_2\r\n")).fields.at("x-request-id") ==
        "my-id.1_2");
  const auto minted = service.ask(get("/livez", "X-Request-Id: no spaces!\r\n"));
  CHECK(minted.fields.at("x-request-id").starts_with("req_"));
  CHECK(minted.fields.contains("openai-processing-ms"));
}

TEST_CASE("browsers of other origins change nothing") {
  net::ServerOptions options;
  options.allowed_origins = {"https://console.example"};
  Service service(options);
  service.engine.answer_at_once(1);
  const auto with = [&](const std::string& origin) {
    return service.ask(post("/v1/completions", completion, "Origin: " + origin + "\r\n")).status;
  };
  CHECK(with("https://evil.example") == 403);
  CHECK(with("null") == 403);
  CHECK(with("https://console.example") == 200);
  CHECK(service.ask(get("/livez", "Origin: https://evil.example\r\n")).status == 200);
  auto client = service.connect();
  CHECK(client.upgrade("Origin: https://evil.example\r\n") == 403);
  auto other = service.connect();
  CHECK(other.upgrade("Origin: https://console.example\r\n") == 101);
}

TEST_CASE("bodies have a limit, announced or not, and the connection closes behind it") {
  net::ServerOptions options;
  options.max_body_bytes = 1000;
  Service service(options);
  {
    auto client = service.connect();
    client.send("POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n");
    const auto reply = client.read_reply();  // before a byte of the body
    CHECK(reply.status == 413);
    CHECK(error_code_of(reply) == "request_too_large");
    CHECK(reply.fields.at("connection") == "close");
    CHECK(client.ended());
  }
  {
    auto client = service.connect();
    client.send("POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send("3E9\r\n" + std::string(1001, ' '));
    CHECK(client.read_reply().status == 413);
    CHECK(client.ended());
  }
  CHECK(service.engine.num_calls() == 0);
}

TEST_CASE("a header that is too large is refused while it still comes") {
  Service service;
  auto client = service.connect();
  client.send("GET /livez HTTP/1.1\r\nHost: x\r\nX-Note: " + std::string(40000, 'x'));
  CHECK(client.read_reply().status == 431);
  CHECK(client.ended());
}

TEST_CASE("a body that nobody reads cannot pass for the next request") {
  Service service;
  auto client = service.connect();
  client.send(post("/nowhere", get("/livez")));
  CHECK(client.read_reply().status == 404);
  CHECK(client.ended());
}

TEST_CASE("Expect: 100-continue is honoured before the body, and spares it on refusal") {
  Service service;
  service.engine.answer_at_once(1);
  auto client = service.connect();
  client.send(
      "POST /v1/completions HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
      "Content-Length: " +
      std::to_string(completion.size()) + "\r\n\r\n");
  CHECK(client.read_reply().status == 100);
  client.send(completion);
  CHECK(client.read_reply().status == 200);
  client.send(
      "POST /v1/completions HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
      "Content-Length: 99999999\r\n\r\n");
  CHECK(client.read_reply().status == 413);
}

TEST_CASE("slow headers and slow bodies are cut off") {
  net::ServerOptions options;
  options.read_timeout = std::chrono::milliseconds(150);
  Service service(options);
  auto slow_header = service.connect();
  slow_header.send("GET /livez HT");
  CHECK(slow_header.read_reply().status == 408);
  auto slow_body = service.connect();
  slow_body.send("POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{");
  CHECK(slow_body.read_reply().status == 408);
  auto silent = service.connect();
  CHECK(silent.ended());
}

TEST_CASE("connections beyond the limit get 503, and room comes back") {
  net::ServerOptions options;
  options.max_connections = 2;
  Service service(options);
  {
    auto one = service.connect(), two = service.connect();
    one.send(get("/livez"));
    two.send(get("/livez"));
    CHECK(one.read_reply().status == 200);
    CHECK(two.read_reply().status == 200);
    const auto refused = service.connect().read_reply();
    CHECK(refused.status == 503);
    const auto wait = std::stoi(refused.fields.at("retry-after"));
    CHECK((wait >= 1 && wait <= 120));
  }
  // The server hears of the two ends in its own time; each refusal is a try.
  int status = 0;
  for (int tries = 0; tries < 1000 && status != 200; ++tries) {
    auto client = service.connect();
    client.send(get("/livez"));
    status = client.read_reply().status;
  }
  CHECK(status == 200);
}

TEST_CASE("HTTP/1.0 and Connection: close end after the reply") {
  Service service;
  for (const auto* request : {"GET /livez HTTP/1.0\r\nHost: x\r\n\r\n",
                              "GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"}) {
    auto client = service.connect();
    client.send(request);
    CHECK(client.read_reply().fields.at("connection") == "close");
    CHECK(client.ended());
  }
}

TEST_CASE("a server that cannot listen says where, and what to do") {
  Service service;
  net::ServerOptions options;
  options.port = service.server->port();
  const auto taken = net::Server::start(service.system, options, service.parts());
  REQUIRE(taken.has_error());
  CHECK(taken.error().message.find("127.0.0.1:" + std::to_string(options.port)) !=
        std::string::npos);
  CHECK(taken.error().message.find("another port") != std::string::npos);
  options.host = "0.0.0.0";
  options.port = 0;
  const auto open = net::Server::start(service.system, options, service.parts());
  REQUIRE(open.has_error());
  CHECK(open.error().message.find("insecure") != std::string::npos);
  CHECK(open.error().message.find("api_key_file") != std::string::npos);
  options.insecure = true;
  CHECK(net::Server::start(service.system, options, service.parts()).has_value());
  options.host = "not an address";
  CHECK(net::Server::start(service.system, options, service.parts()).has_error());
}

TEST_CASE("a drained server is not ready, answers what runs, and closes idle connections") {
  Service service;
  auto idle = service.connect(), busy = service.connect();
  idle.send(get("/livez"));
  CHECK(idle.read_reply().status == 200);
  busy.send(post("/v1/completions", completion));
  const auto id = service.engine.ids(0).at(0);
  CHECK(service.server->active_calls() == 1);
  service.server->begin_drain();
  CHECK(idle.ended());
  CHECK(service.ask(get("/readyz")).status == 503);
  service.engine.refuse_with(error(Errc::shutting_down, "the service is shutting down"));
  const auto refused = service.ask(post("/v1/completions", completion));
  CHECK(refused.status == 503);
  CHECK(refused.fields.at("connection") == "close");
  CHECK(refused.fields.contains("retry-after"));
  service.engine.emit(id, 2, FinishReason::stop);
  CHECK(busy.read_reply().status == 200);
  CHECK(busy.ended());
}

TEST_CASE("stopping answers whoever waits, cancels what runs, and leaves nothing behind") {
  Service service;
  auto waiting = service.connect(), streaming = service.connect(), idle = service.connect();
  waiting.send(post("/v1/completions", completion));
  const auto id = service.engine.ids(0).at(0);
  streaming.send(post("/v1/completions", R"({"model":"letters","prompt":"x","stream":true})"));
  const auto other = service.engine.ids(1).at(0);
  service.engine.emit(other, 1);
  streaming.read_until("data: ");
  service.server->stop();
  CHECK(service.engine.wait_for_cancel(id));
  CHECK(service.engine.wait_for_cancel(other));
  const auto reply = waiting.read_reply();
  CHECK(reply.status == 503);
  CHECK(error_code_of(reply) == "shutting_down");
  const auto rest = streaming.read_to_end();
  CHECK(rest.find("shutting_down") != std::string::npos);
  CHECK(rest.find("[DONE]") == std::string::npos);
  CHECK(idle.ended());
  service.server->stop();  // once more does no harm
}

TEST_CASE("the death of intake or queue is an error for callers, not a hang") {
  Service service;
  auto running = service.connect();
  running.send(post("/v1/completions", completion));
  service.engine.wait_for_call(1);
  caf::anon_send_exit(service.engine.intake(), caf::exit_reason::kill);
  CHECK(running.read_reply().status == 500);
  CHECK(service.ask(post("/v1/completions", completion)).status == 500);
  CHECK(service.ask(post("/tokenize", R"({"prompt":"x"})")).status == 500);
  caf::anon_send_exit(service.queue.queue(), caf::exit_reason::kill);
  CHECK(service.ask(get("/v1/files")).status == 500);
  CHECK(service.ask(get("/readyz")).status == 503);
  CHECK(service.ask(get("/livez")).status == 200);
}

}  // namespace tandem::tests
