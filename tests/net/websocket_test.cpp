// The Responses protocol over WebSocket.
#include <boost/json.hpp>
#include <map>
#include <vector>

#include "tests/net/service.hpp"

namespace tandem::tests {
namespace {

namespace json = boost::json;

std::string create(const std::string& lane = {}, const std::string& more = {}) {
  auto text = std::string(R"({"type":"response.create","model":"letters","input":"hi")");
  if (!lane.empty()) text += R"(,"stream_id":")" + lane + '"';
  return text + more + "}";
}

json::value next_event(Client& client) {
  const auto message = client.read_message();
  REQUIRE(message.opcode == 1);
  return json::parse(message.payload);
}

std::string type_of(const json::value& event) { return event.at("type").as_string().c_str(); }

bool is_terminal(const std::string& type) {
  return type == "response.completed" || type == "response.incomplete" || type == "response.failed";
}

/// Reads up to the end of one response, checking its numbers.
std::vector<json::value> read_response(Client& client) {
  std::vector<json::value> events;
  do {
    events.push_back(next_event(client));
    REQUIRE(events.back().at("sequence_number") == events.size() - 1);
  } while (!is_terminal(type_of(events.back())));
  return events;
}

std::string text_of(const std::vector<json::value>& events) {
  std::string text;
  for (const auto& event : events)
    if (type_of(event) == "response.output_text.delta")
      text += event.at("delta").as_string().c_str();
  return text;
}

}  // namespace

TEST_CASE("a response that generates nothing ends without output") {
  Service service;
  service.engine.answer_at_once(1, FinishReason::length);
  auto client = service.connect();
  REQUIRE(client.upgrade() == 101);
  client.send_text(create({}, R"(,"generate":false)"));
  const auto events = read_response(client);
  REQUIRE(events.size() == 3);
  CHECK(type_of(events[2]) == "response.completed");
  CHECK(events[2].at("response").at("output").as_array().empty());
}

TEST_CASE("a response streams over the socket, and the next one after it") {
  Service service;
  service.engine.answer_at_once(5);
  auto client = service.connect();
  REQUIRE(client.upgrade() == 101);
  for (int round = 0; round < 3; ++round) {
    client.send_text(create());
    const auto events = read_response(client);
    CHECK(type_of(events[0]) == "response.created");
    CHECK(type_of(events[1]) == "response.in_progress");
    CHECK(type_of(events[2]) == "response.output_item.added");
    CHECK(type_of(events[3]) == "response.content_part.added");
    CHECK(text_of(events) == "abcde");
    CHECK(type_of(events.back()) == "response.completed");
    CHECK(events.back().at("response").at("usage").at("input_tokens") == 3);
    CHECK(events.back().at("response").at("id") == events[0].at("response").at("id"));
  }
  client.send_frame(8, std::string("\x03\xe8", 2));
  CHECK(client.read_message().close_code() == 1000);
}

TEST_CASE("lanes run side by side, each in order") {
  Service service;
  auto client = service.connect();
  REQUIRE(client.upgrade() == 101);
  client.send_text(create("left"));
  client.send_text(create("left"));
  client.send_text(create("right"));
  const auto left = service.engine.ids(0).at(0), right = service.engine.ids(1).at(0);
  CHECK(service.engine.num_calls() == 2);  // the second of `left` waits for the first

  std::map<std::string, std::vector<json::value>> events;
  const auto read_one = [&] {
    auto event = next_event(client);
    const std::string lane = event.at("stream_id").as_string().c_str();
    events[lane].push_back(std::move(event));
    return lane;
  };
  service.engine.emit(right, 1, std::nullopt, 1);
  service.engine.emit(right, 0, FinishReason::stop);
  while (events["right"].empty() || !is_terminal(type_of(events["right"].back()))) read_one();
  CHECK(text_of(events["right"]) == "b");  // finished while `left` still runs
  CHECK(service.engine.num_calls() == 2);

  service.engine.emit(left, 1);
  service.engine.emit(left, 0, FinishReason::stop);
  const auto second = service.engine.ids(2).at(0);  // now it has begun
  service.engine.emit(second, 1, std::nullopt, 25);
  service.engine.emit(second, 0, FinishReason::stop);
  int ended = 0;
  while (ended < 2) {
    read_one();
    ended += is_terminal(type_of(events["left"].back())) ? 1 : 0;
  }
  CHECK(text_of(events["left"]) == "az");
  for (const auto& [lane, all] : events) {
    std::int64_t expected = 0;
    for (const auto& event : all) {
      if (type_of(event) == "response.created") expected = 0;
      CHECK(event.at("sequence_number") == expected++);
    }
  }
}

TEST_CASE("response.cancel ends a response, and only that") {
  Service service;
  auto client = service.connect();
  REQUIRE(client.upgrade() == 101);
  client.send_text(create("a"));
  const auto id = service.engine.ids(0).at(0);
  const auto created = next_event(client);
  const std::string response = created.at("response").at("id").as_string().c_str();
  client.send_text(R"({"type":"response.cancel","event_id":"e1","response_id":"resp_none"})");
  json::value event;
  do event = next_event(client);
  while (type_of(event) != "error");
  CHECK(event.at("error").at("event_id") == "e1");
  client.send_text(R"({"type":"response.cancel","response_id":")" + response + R"("})");
  CHECK(service.engine.wait_for_cancel(id));
  do event = next_event(client);
  while (!is_terminal(type_of(event)));
  CHECK(std::string(event.at("response").at("id").as_string().c_str()) == response);
  CHECK(event.at("response").at("status") == "cancelled");
  service.engine.answer_at_once(1);
  client.send_text(create("a"));
  CHECK(text_of(read_response(client)) == "a");
}

TEST_CASE("a bad event is an error event, and the session survives it") {
  Service service;
  service.engine.answer_at_once(2);
  auto client = service.connect();
  REQUIRE(client.upgrade() == 101);
  for (const auto* text :
       {"", "{", "[]", "nonsense", R"({"type":"response.unknown"})", R"({"no":"type"})",
        R"({"type":"response.create","model":"letters"})",
        R"({"type":"response.create","model":"other","input":"x"})",
        R"({"type":"response.create","model":"letters","input":"x","stream_id":"no spaces"})",
        R"({"type":"response.cancel"})"}) {
    INFO(text);
    client.send_text(text);
    const auto event = next_event(client);
    CHECK(type_of(event) == "error");
    CHECK(event.at("status").as_int64() >= 400);
  }
  client.send_text(R"({"type":"response.create","event_id":"e7","stream_id":"s","model":7})");
  const auto event = next_event(client);
  CHECK(event.at("error").at("event_id") == "e7");
  CHECK(event.at("stream_id") == "s");
  client.send_text(create());
  CHECK(text_of(read_response(client)) == "ab");
}

TEST_CASE("what intake refuses is an error event on its lane") {
  Service service;
  service.engine.refuse_with(error(Errc::overloaded, "full"));
  auto client = service.connect();
  REQUIRE(client.upgrade() == 101);
  client.send_text(create("a", R"(,"event_id":"e1")"));
  const auto event = next_event(client);
  CHECK(type_of(event) == "error");
  CHECK(event.at("status") == 429);
  CHECK(event.at("stream_id") == "a");
  CHECK(event.at("error").at("event_id") == "e1");
  service.engine.refuse_with(std::nullopt);
  service.engine.answer_at_once(1);
  client.send_text(create("a"));
  CHECK(text_of(read_response(client)) == "a");
}

TEST_CASE("responses in flight and lanes are bounded by name") {
  net::ServerOptions options;
  options.max_responses_per_connection = 3;
  options.max_lanes_per_connection = 2;
  Service service(options);
  auto client = service.connect();
  REQUIRE(client.upgrade() == 101);
  client.send_text(create("a"));
  client.send_text(create("b"));
  client.send_text(create("c"));  // one lane too many
  json::value event;
  do event = next_event(client);
  while (type_of(event) != "error");
  CHECK(event.at("error").at("param") == "stream_id");
  CHECK(event.at("error").at("code") == "websocket_stream_limit_reached");
  client.send_text(create("a"));
  client.send_text(create("a"));  // one response too many
  do event = next_event(client);
  while (type_of(event) != "error");
  CHECK(event.at("status") == 429);
  CHECK(service.engine.num_calls() == 2);
}

TEST_CASE("binary messages close with 1003, broken text with 1007, large ones with 1009") {
  net::ServerOptions options;
  options.max_body_bytes = 10000;
  Service service(options);
  const auto code_of = [&](int opcode, const std::string& payload) {
    auto client = service.connect();
    REQUIRE(client.upgrade() == 101);
    client.send_frame(opcode, payload);
    const auto message = client.read_message();
    CHECK(message.opcode == 8);
    return message.close_code();
  };
  CHECK(code_of(2, "{}") == 1003);
  CHECK(code_of(1, "\xff\xfe") == 1007);
  CHECK(code_of(1, std::string(10001, ' ')) == 1009);
}

TEST_CASE("a socket that breaks cancels all its responses") {
  Service service;
  auto client = service.connect();
  REQUIRE(client.upgrade() == 101);
  client.send_text(create("a"));
  client.send_text(create("b"));
  const auto one = service.engine.ids(0).at(0), two = service.engine.ids(1).at(0);
  service.engine.emit(one, 3);
  client.close();
  CHECK(service.engine.wait_for_cancel(one));
  CHECK(service.engine.wait_for_cancel(two));
}

TEST_CASE("a socket that is not read is cut off, and its response cancelled") {
  net::ServerOptions options;
  options.merge_above_bytes = 32 << 10;
  options.max_unsent_bytes = 256 << 10;
  Service service(options);
  auto client = service.connect(4096);
  REQUIRE(client.upgrade() == 101);
  client.send_text(create());
  const auto id = service.engine.ids(0).at(0);
  for (int i = 0; i < 3000; ++i) service.engine.emit(id, 1, std::nullopt, long_word);
  CHECK(service.engine.wait_for_cancel(id));
  CHECK(service.ask(get("/livez")).status == 200);
}

TEST_CASE("a socket without write progress is cut off") {
  net::ServerOptions options;
  options.write_timeout = std::chrono::milliseconds(200);
  options.max_unsent_bytes = 64 << 20;
  Service service(options);
  auto client = service.connect(4096);
  REQUIRE(client.upgrade() == 101);
  client.send_text(create());
  const auto id = service.engine.ids(0).at(0);
  for (int i = 0; i < 1000; ++i) service.engine.emit(id, 1, std::nullopt, long_word);
  CHECK(service.engine.wait_for_cancel(id));
}

TEST_CASE("a slow socket gets every letter, in fewer events, without a gap in their numbers") {
  net::ServerOptions options;
  options.merge_above_bytes = 16 << 10;
  Service service(options);
  auto client = service.connect(4096);
  REQUIRE(client.upgrade() == 101);
  client.send_text(create());
  const auto id = service.engine.ids(0).at(0);
  for (int i = 0; i < 1500; ++i) service.engine.emit(id, 1, std::nullopt, long_word);
  service.engine.emit(id, 0, FinishReason::stop);
  const auto events = read_response(client);
  CHECK(text_of(events) == std::string(1500 * 1000, 'L'));
  CHECK(events.size() < 1500);
}

TEST_CASE("a flex response that gets no token in its wait fails") {
  net::ServerOptions options;
  options.flex_wait = std::chrono::milliseconds(50);
  Service service(options);
  auto client = service.connect();
  REQUIRE(client.upgrade() == 101);
  client.send_text(create({}, R"(,"service_tier":"flex")"));
  const auto events = read_response(client);
  CHECK(type_of(events.back()) == "response.failed");
  CHECK(service.engine.wait_for_cancel(service.engine.ids(0).at(0)));
}

TEST_CASE("silent peers are pinged, and dropped when they do not answer") {
  net::ServerOptions options;
  options.websocket_ping = std::chrono::milliseconds(50);
  Service service(options);
  auto client = service.connect();
  REQUIRE(client.upgrade() == 101);
  client.send_text(create());
  const auto id = service.engine.ids(0).at(0);
  CHECK(service.engine.wait_for_cancel(id));  // we read nothing, so no pong goes out
}

TEST_CASE("draining lets responses finish, refuses new ones, and closes with 1001") {
  Service service;
  auto busy = service.connect(), idle = service.connect();
  REQUIRE(busy.upgrade() == 101);
  REQUIRE(idle.upgrade() == 101);
  busy.send_text(create());
  const auto id = service.engine.ids(0).at(0);
  service.server->begin_drain();
  CHECK(idle.read_message().close_code() == 1001);
  busy.send_text(create("late"));
  json::value event;
  do event = next_event(busy);
  while (type_of(event) != "error");
  CHECK(event.at("error").at("code") == "shutting_down");
  service.engine.emit(id, 1);
  service.engine.emit(id, 0, FinishReason::stop);
  do event = next_event(busy);
  while (!is_terminal(type_of(event)));
  CHECK(type_of(event) == "response.completed");
  CHECK(busy.read_message().close_code() == 1001);
}

TEST_CASE("a connection's lifetime ends it as a drain does") {
  net::ServerOptions options;
  options.websocket_lifetime = std::chrono::milliseconds(50);
  Service service(options);
  auto client = service.connect();
  REQUIRE(client.upgrade() == 101);
  CHECK(client.read_message().close_code() == 1001);
}

TEST_CASE("upgrades that are not proper are refused") {
  Service service;
  auto no_key = service.connect();
  no_key.send(
      "GET /v1/responses HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
  CHECK(no_key.read_reply().status == 400);
  auto elsewhere = service.connect();
  elsewhere.send(get("/v1/models", "Connection: Upgrade\r\nUpgrade: websocket\r\n"));
  CHECK(elsewhere.read_reply().status == 200);
}

}  // namespace tandem::tests
