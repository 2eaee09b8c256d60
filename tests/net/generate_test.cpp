// Completions, chat completions and responses over HTTP, in one piece and streamed.
#include <boost/json.hpp>
#include <vector>

#include "tests/net/service.hpp"

namespace tandem::tests {
namespace {

namespace json = boost::json;

const std::string chat =
    R"({"model":"letters","messages":[{"role":"user","content":"hi"}],"stream":true)";
const std::string chat_stream = chat + "}";
const std::string completion = R"({"model":"letters","prompt":"hi"})";

/// The JSON of each `data:` line; "[DONE]" as a string.
std::vector<json::value> events_of(const std::string& body) {
  std::vector<json::value> events;
  for (std::size_t at = 0; (at = body.find("data: ", at)) != body.npos;) {
    at += 6;
    const auto text = body.substr(at, body.find("\n\n", at) - at);
    events.push_back(text == "[DONE]" ? json::value("[DONE]") : json::parse(text));
  }
  return events;
}

std::string text_of(const std::vector<json::value>& events) {
  std::string text;
  for (const auto& event : events) {
    if (!event.is_object() || event.at("choices").as_array().empty()) continue;
    const auto& delta = event.at("choices").at(0).at("delta").as_object();
    if (const auto* content = delta.if_contains("content"))
      if (content->is_string()) text += content->as_string().c_str();
  }
  return text;
}

}  // namespace

TEST_CASE("a completion comes in one piece, with usage") {
  Service service;
  service.engine.answer_at_once(5, FinishReason::length);
  const auto reply = service.ask(post("/v1/completions", completion));
  REQUIRE(reply.status == 200);
  const auto body = json::parse(reply.body);
  CHECK(body.at("object") == "text_completion");
  CHECK(body.at("choices").at(0).at("text") == "abcde");
  CHECK(body.at("choices").at(0).at("finish_reason") == "length");
  CHECK(body.at("usage").at("completion_tokens") == 5);
  CHECK(body.at("usage").at("prompt_tokens") == 3);
  CHECK(body.at("system_fingerprint") == "fp_letters");
}

TEST_CASE("a chat streams as server-sent events, to [DONE]") {
  Service service;
  service.engine.answer_at_once(10, FinishReason::length);
  auto client = service.connect();
  for (int round = 0; round < 2; ++round) {  // the connection is kept
    client.send(
        post("/v1/chat/completions", chat + R"(,"stream_options":{"include_usage":true}})"));
    const auto reply = client.read_reply();
    REQUIRE(reply.status == 200);
    CHECK(reply.complete);
    CHECK(reply.fields.at("content-type") == "text/event-stream");
    CHECK(reply.fields.at("cache-control") == "no-cache");
    CHECK(reply.fields.at("x-accel-buffering") == "no");
    const auto events = events_of(reply.body);
    REQUIRE(events.size() >= 3);
    CHECK(events.front().at("choices").at(0).at("delta").at("role") == "assistant");
    CHECK(text_of(events) == "abcdefghij");
    CHECK(events.back() == "[DONE]");
    const auto& usage = events[events.size() - 2];
    CHECK(usage.at("choices").as_array().empty());
    CHECK(usage.at("usage").at("completion_tokens") == 10);
    CHECK(events[events.size() - 3].at("choices").at(0).at("finish_reason") == "length");
    for (const auto& event : events)
      if (event.is_object()) {
        CHECK(event.at("id") == events.front().at("id"));
        CHECK(event.at("system_fingerprint") == "fp_letters");
      }
  }
}

TEST_CASE("each token reaches the reader before the next is made") {
  Service service;
  auto client = service.connect();
  client.send(post("/v1/chat/completions", chat_stream));
  const auto id = service.engine.ids(0).at(0);
  for (TokenId token = 0; token < 5; ++token) {
    service.engine.emit(id, 1, std::nullopt, token);
    client.read_until(std::string("\"content\":\"") + static_cast<char>('a' + token) + "\"");
  }
  service.engine.emit(id, 0, FinishReason::stop);
  client.read_until("data: [DONE]\n\n");
}

TEST_CASE("several choices stream side by side") {
  Service service;
  service.engine.answer_at_once(4);
  const auto reply = service.ask(post("/v1/chat/completions", chat + R"(,"n":3})"));
  int finished = 0;
  std::vector<std::string> texts(3);
  for (const auto& event : events_of(reply.body)) {
    if (!event.is_object()) continue;
    const auto& choice = event.at("choices").at(0);
    const auto index = static_cast<std::size_t>(choice.at("index").as_int64());
    if (const auto* content = choice.at("delta").as_object().if_contains("content"))
      texts.at(index) += content->as_string().c_str();
    finished += choice.at("finish_reason").is_string() ? 1 : 0;
  }
  CHECK(finished == 3);
  CHECK(texts == std::vector<std::string>(3, "abcd"));
}

TEST_CASE("HTTP/1.0 streams to the connection's end") {
  Service service;
  service.engine.answer_at_once(3);
  auto client = service.connect();
  client.send("POST /v1/chat/completions HTTP/1.0\r\nHost: x\r\nContent-Length: " +
              std::to_string(chat_stream.size()) + "\r\n\r\n" + chat_stream);
  const auto all = client.read_to_end();
  CHECK(all.find("chunked") == std::string::npos);
  CHECK(all.ends_with("data: [DONE]\n\n"));
}

TEST_CASE("refusals have a status of their own, streamed or not") {
  Service service;
  const auto ask = [&](Errc code, const std::string& path, const std::string& body) {
    service.engine.refuse_with(error(code, "no"));
    return service.ask(post(path, body));
  };
  for (const auto& [path, body] :
       {std::pair{"/v1/completions", completion}, std::pair{"/v1/chat/completions", chat_stream}}) {
    const auto overloaded = ask(Errc::overloaded, path, body);
    CHECK(overloaded.status == 429);
    const auto wait = std::stoi(overloaded.fields.at("retry-after"));
    CHECK((wait >= 1 && wait <= 120));
    CHECK_FALSE(overloaded.fields.contains("x-should-retry"));
    CHECK(ask(Errc::resource_unavailable, path, body).status == 429);
    const auto too_long = ask(Errc::context_length_exceeded, path, body);
    CHECK(too_long.status == 400);
    CHECK(too_long.fields.at("x-should-retry") == "false");
  }
}

TEST_CASE("malformed calls are refused by field, and never reach the engine") {
  Service service;
  for (const auto* body :
       {"", "{", "[]", "nonsense", R"({"model":"letters"})", R"({"model":"letters","prompt":7})",
        R"({"model":"letters","prompt":"x","n":99})",
        R"({"model":"letters","prompt":"x","temperature":"hot"})"}) {
    INFO(body);
    auto client = service.connect();
    client.send(post("/v1/completions", body) + get("/livez"));
    CHECK(client.read_reply().status == 400);
    CHECK(client.read_reply().status == 200);  // the connection lives on
  }
  CHECK(service.ask(post("/v1/completions", R"({"model":"other","prompt":"x"})")).status == 404);
  CHECK(service.engine.num_calls() == 0);
}

TEST_CASE("a failure before the first token is a status, after it an event without [DONE]") {
  Service service;
  {
    auto client = service.connect();
    client.send(post("/v1/chat/completions", chat_stream));
    service.engine.emit(service.engine.ids(0).at(0), 0, FinishReason::failed, 0,
                        error(Errc::device_failed, "the device was lost"));
    CHECK(client.read_reply().status == 500);
  }
  auto client = service.connect();
  client.send(post("/v1/chat/completions", chat_stream));
  const auto id = service.engine.ids(1).at(0);
  service.engine.emit(id, 1);
  client.read_until("\"content\":\"a\"");
  service.engine.emit(id, 0, FinishReason::failed, 0,
                      error(Errc::device_failed, "the device was lost"));
  const auto rest = client.read_to_end();
  CHECK(rest.find("data: {\"error\":") != std::string::npos);
  CHECK(rest.find("the device was lost") != std::string::npos);
  CHECK(rest.find("[DONE]") == std::string::npos);
  CHECK_FALSE(rest.ends_with("0\r\n\r\n"));
}

TEST_CASE("a client that leaves has its requests cancelled") {
  Service service;
  SECTION("in the middle of a stream") {
    auto client = service.connect();
    client.send(post("/v1/chat/completions", chat + R"(,"n":2})"));
    const auto ids = service.engine.ids(0);
    service.engine.emit(ids[0], 1);
    client.read_until("data: ");
    client.close();
    CHECK(service.engine.wait_for_cancel(ids[0]));
    CHECK(service.engine.wait_for_cancel(ids[1]));
  }
  SECTION("before the first token of a stream") {
    auto client = service.connect();
    client.send(post("/v1/chat/completions", chat_stream));
    const auto id = service.engine.ids(0).at(0);
    client.close();
    CHECK(service.engine.wait_for_cancel(id));
  }
  SECTION("while it waits for a reply in one piece") {
    auto client = service.connect();
    client.send(post("/v1/completions", completion));
    const auto id = service.engine.ids(0).at(0);
    service.engine.emit(id, 2);
    client.close();
    CHECK(service.engine.wait_for_cancel(id));
  }
  SECTION("by closing only its sending side") {
    auto client = service.connect();
    client.send(post("/v1/responses", R"({"model":"letters","input":"hi"})"));
    const auto id = service.engine.ids(0).at(0);
    client.half_close();
    CHECK(service.engine.wait_for_cancel(id));
  }
  SECTION("although it had sent more requests already") {
    auto client = service.connect();
    client.send(post("/v1/completions", completion) + get("/livez"));
    const auto id = service.engine.ids(0).at(0);
    client.close();
    CHECK(service.engine.wait_for_cancel(id));
  }
}

TEST_CASE("a client that leaves before its call is accepted abandons it") {
  Service service;
  service.engine.hold_calls();
  auto leaving = service.connect(), staying = service.connect();
  staying.send(post("/v1/completions", completion));
  service.engine.wait_for_call(1);
  leaving.send(post("/v1/chat/completions", chat_stream));
  service.engine.wait_for_call(2);
  leaving.close();
  CHECK(service.engine.wait_for_abandoned(1));
  auto socket = service.connect();
  REQUIRE(socket.upgrade() == 101);
  socket.send_text(R"({"type":"response.create","model":"letters","input":"hi"})");
  service.engine.wait_for_call(3);
  socket.close();
  CHECK(service.engine.wait_for_abandoned(2));
}

TEST_CASE("a stop string ends a choice, and its request in the engine") {
  Service service;
  auto client = service.connect();
  client.send(post("/v1/completions", R"({"model":"letters","prompt":"hi","stop":"cd"})"));
  const auto id = service.engine.ids(0).at(0);
  for (TokenId token = 0; token < 6; ++token) service.engine.emit(id, 1, std::nullopt, token);
  const auto body = json::parse(client.read_reply().body);
  CHECK(body.at("choices").at(0).at("text") == "ab");
  CHECK(body.at("choices").at(0).at("finish_reason") == "stop");
  CHECK(service.engine.wait_for_cancel(id));
}

TEST_CASE("a reader that stops reading is merged for, then cut off") {
  net::ServerOptions options;
  options.merge_above_bytes = 32 << 10;
  options.max_unsent_bytes = 256 << 10;
  Service service(options);
  auto client = service.connect(4096);
  client.send(post("/v1/chat/completions", chat_stream));
  const auto id = service.engine.ids(0).at(0);
  // 1000 letters a token: far more than the kernel's buffers and the bound hold.
  for (int i = 0; i < 3000; ++i) service.engine.emit(id, 1, std::nullopt, long_word);
  CHECK(service.engine.wait_for_cancel(id));
  const auto got = client.read_to_end();
  CHECK(got.size() < (2 << 20));
  CHECK(got.find("[DONE]") == std::string::npos);
  CHECK(service.ask(get("/livez")).status == 200);
}

TEST_CASE("a reader without progress is cut off although little is unsent") {
  net::ServerOptions options;
  options.write_timeout = std::chrono::milliseconds(200);
  options.max_unsent_bytes = 64 << 20;
  Service service(options);
  auto client = service.connect(4096);
  client.send(post("/v1/chat/completions", chat_stream));
  const auto id = service.engine.ids(0).at(0);
  for (int i = 0; i < 1000; ++i) service.engine.emit(id, 1, std::nullopt, long_word);
  CHECK(service.engine.wait_for_cancel(id));
}

TEST_CASE("a slow reader gets every letter, in fewer and larger chunks") {
  net::ServerOptions options;
  options.merge_above_bytes = 16 << 10;
  Service service(options);
  auto client = service.connect(4096);
  client.send(post("/v1/chat/completions", chat_stream));
  const auto id = service.engine.ids(0).at(0);
  for (int i = 0; i < 1500; ++i) service.engine.emit(id, 1, std::nullopt, long_word);
  service.engine.emit(id, 0, FinishReason::stop);
  const auto reply = client.read_reply();
  CHECK(reply.complete);
  const auto events = events_of(reply.body);
  CHECK(text_of(events) == std::string(1500 * 1000, 'L'));
  CHECK(events.back() == "[DONE]");
  CHECK(events.size() < 1500);
}

TEST_CASE("a silent stream is pinged") {
  net::ServerOptions options;
  options.sse_ping = std::chrono::milliseconds(20);
  Service service(options);
  auto client = service.connect();
  client.send(post("/v1/chat/completions", chat_stream));
  service.engine.emit(service.engine.ids(0).at(0), 1);
  client.read_until(": ping\n\n");
  client.read_until(": ping\n\n");
}

TEST_CASE("a flex call waits so long for its first token, and no longer") {
  net::ServerOptions options;
  options.flex_wait = std::chrono::milliseconds(50);
  Service service(options);
  const std::string flex = R"({"model":"letters","prompt":"hi","service_tier":"flex")";
  for (const auto* rest : {"}", R"(,"stream":true})"}) {
    auto client = service.connect();
    client.send(post("/v1/completions", flex + rest));
    const auto reply = client.read_reply();
    CHECK(reply.status == 429);
    CHECK(json::parse(reply.body).at("error").at("code") == "resource_unavailable");
    CHECK(reply.fields.contains("retry-after"));
    CHECK(service.engine.wait_for_cancel(service.engine.ids(service.engine.num_calls() - 1)[0]));
  }
  service.engine.answer_at_once(2);
  const auto served = service.ask(post("/v1/completions", flex + "}"));
  CHECK(json::parse(served.body).at("service_tier") == "flex");
}

TEST_CASE("responses stream their events, numbered without a gap") {
  Service service;
  service.engine.answer_at_once(6, FinishReason::length);
  const auto reply =
      service.ask(post("/v1/responses", R"({"model":"letters","input":"hi","stream":true,)"
                                        R"("metadata":{"note":"\"type\":\"response.fake\""}})"));
  REQUIRE(reply.status == 200);
  const auto events = events_of(reply.body);
  std::string text;
  for (std::size_t i = 0; i < events.size(); ++i) {
    CHECK(events[i].at("sequence_number") == i);
    const std::string type = events[i].at("type").as_string().c_str();
    CHECK(reply.body.find("event: " + type + "\ndata: ") != std::string::npos);
    if (type == "response.output_text.delta") text += events[i].at("delta").as_string().c_str();
  }
  CHECK(reply.body.find("event: response.fake") == std::string::npos);
  CHECK(text == "abcdef");
  CHECK(events.front().at("type") == "response.created");
  CHECK(events.back().at("type") == "response.incomplete");
  CHECK(events.back().at("response").at("usage").at("output_tokens") == 6);
}

TEST_CASE("a response comes in one piece too") {
  Service service;
  service.engine.answer_at_once(6);
  const auto reply = service.ask(post("/v1/responses", R"({"model":"letters","input":"hi"})"));
  REQUIRE(reply.status == 200);
  const auto body = json::parse(reply.body);
  CHECK(body.at("status") == "completed");
  CHECK(body.at("output").at(0).at("content").at(0).at("text") == "abcdef");
}

}  // namespace tandem::tests
