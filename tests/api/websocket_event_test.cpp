// Client events of the Responses WebSocket.
#include "tests/api/support.hpp"

using namespace tandem;
using namespace tandem::api;
using namespace tandem::api::testing;
using Catch::Matchers::Contains;

namespace {

auto event(std::string_view text) { return parse_websocket_event(text, small_limits()); }

BadEvent refused(std::string_view text) {
  auto result = event(text);
  INFO(text);
  REQUIRE(std::holds_alternative<BadEvent>(result));
  return std::get<BadEvent>(std::move(result));
}

}  // namespace

TEST_CASE("response.create is the body of the call, with a lane") {
  const auto result = event(R"({"type":"response.create","stream_id":"left","event_id":"e1",
      "model":"demo","input":"Hi","max_output_tokens":4,"metadata":{"a":"b"},"custom":1})");
  REQUIRE(std::holds_alternative<CreateResponse>(result));
  const auto& create = std::get<CreateResponse>(result);
  CHECK(create.stream_id == "left");
  CHECK(create.event_id == "e1");
  CHECK(create.parsed.call.endpoint == Endpoint::responses);
  CHECK(create.parsed.call.stream);
  CHECK(create.parsed.call.max_tokens == Tokens(4));
  CHECK(create.parsed.echo.metadata.size() == 1);
  CHECK(create.parsed.ignored_fields == std::vector<std::string>{"custom"});
  const auto plain = event(R"({"type":"response.create","model":"demo","input":"Hi"})");
  REQUIRE(std::holds_alternative<CreateResponse>(plain));
  CHECK(std::get<CreateResponse>(plain).stream_id.empty());
}

TEST_CASE("response.cancel names a response") {
  const auto result = event(R"({"type":"response.cancel","response_id":"resp_1","event_id":"e2"})");
  REQUIRE(std::holds_alternative<CancelResponse>(result));
  CHECK(std::get<CancelResponse>(result).response_id == "resp_1");
  CHECK(std::get<CancelResponse>(result).event_id == "e2");
  CHECK(refused(R"({"type":"response.cancel"})").reason.param == "response_id");
  CHECK(refused(R"({"type":"response.cancel","response_id":1})").reason.param == "response_id");
  CHECK(refused(R"({"type":"response.cancel","response_id":")" + std::string(129, 'x') + "\"}")
            .reason.param == "response_id");
}

TEST_CASE("response.resume names a response and the last event that arrived") {
  const auto result = event(
      R"({"type":"response.resume","response_id":"resp_1","starting_after":7,"event_id":"e"})");
  REQUIRE(std::holds_alternative<ResumeResponse>(result));
  CHECK(std::get<ResumeResponse>(result).response_id == "resp_1");
  CHECK(std::get<ResumeResponse>(result).starting_after == 7);
  CHECK(std::get<ResumeResponse>(result).event_id == "e");
  const auto whole = event(R"({"type":"response.resume","response_id":"resp_1"})");
  CHECK(std::get<ResumeResponse>(whole).starting_after == -1);
  CHECK(refused(R"({"type":"response.resume","starting_after":1})").reason.param == "response_id");
  for (const auto* wrong : {"-2", "2147483648", "1.5", "\"1\""})
    CHECK(refused(R"({"type":"response.resume","response_id":"r","starting_after":)" +
                  std::string(wrong) + "}")
              .reason.param == "starting_after");
}

TEST_CASE("only response.create can ask to be resumable") {
  const auto parsed = [](const std::string& more) {
    return event(R"({"type":"response.create","model":"demo","input":"Hi")" + more + "}");
  };
  CHECK_FALSE(std::get<CreateResponse>(parsed("")).parsed.resumable);
  const auto asked = std::get<CreateResponse>(parsed(R"(,"resumable":true)"));
  CHECK(asked.parsed.resumable);
  CHECK(asked.parsed.num_ignored == 0);
  CHECK(refused(R"({"type":"response.create","model":"demo","input":"Hi","resumable":1})")
            .reason.param == "resumable");
}

TEST_CASE("a refused event keeps the ids that could be read") {
  const auto bad = refused(R"({"type":"response.create","stream_id":"left","event_id":"e1",
      "model":"demo","input":"Hi","temperature":3})");
  CHECK(bad.stream_id == "left");
  CHECK(bad.event_id == "e1");
  CHECK(bad.reason.param == "temperature");
  const auto unknown = refused(R"({"type":"response.sing","stream_id":"a","event_id":"e"})");
  CHECK(unknown.reason.param == "type");
  CHECK(unknown.stream_id == "a");
  CHECK_THAT(unknown.reason.message, Contains("response.sing") && Contains("response.cancel"));
  CHECK(refused(R"({"stream_id":"a"})").stream_id == "a");
  CHECK(refused(R"({"stream_id":"a"})").reason.param == "type");
  CHECK(refused(R"({"type":5,"stream_id":"a"})").stream_id == "a");
  CHECK(refused("nonsense").stream_id.empty());
  CHECK(refused("[]").reason.code == Errc::invalid_value);
}

TEST_CASE("a lane is named by 1 to 256 plain characters") {
  const auto create = [](const std::string& lane) {
    return R"({"type":"response.create","model":"demo","input":"Hi","event_id":"e","stream_id":)" +
           lane + "}";
  };
  CHECK(std::holds_alternative<CreateResponse>(event(create("null"))));
  CHECK(std::holds_alternative<CreateResponse>(event(create("\"A.z_9-\""))));
  CHECK(std::holds_alternative<CreateResponse>(event(create("\"" + std::string(256, 'x') + "\""))));
  for (const auto& lane : {std::string("\"\""), std::string("\"a b\""), std::string("\"ü\""),
                           std::string("7"), "\"" + std::string(257, 'x') + "\""}) {
    const auto bad = refused(create(lane));
    CHECK(bad.reason.param == "stream_id");
    CHECK(bad.stream_id.empty());
    CHECK(bad.event_id == "e");
  }
}
