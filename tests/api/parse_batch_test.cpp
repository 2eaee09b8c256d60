// Batches: the creating call, and the lines of input files.
#include "api/errors.hpp"
#include "tests/api/support.hpp"

using namespace tandem;
using namespace tandem::api;
using namespace tandem::api::testing;
using Catch::Matchers::Contains;

namespace {

std::string create_body(std::string_view endpoint, std::string_view window,
                        std::string_view more = {}) {
  std::string body = R"({"input_file_id":"file-1","endpoint":")" + std::string(endpoint) +
                     R"(","completion_window":")" + std::string(window) + "\"";
  if (!more.empty()) body.append(",").append(more);
  return body + "}";
}

Result<BatchCreate> create(std::string_view window, std::string_view more = {}) {
  return parse_batch_create(create_body("/v1/chat/completions", window, more));
}

}  // namespace

TEST_CASE("a line gives its id, url and body") {
  const auto line = parse_batch_line(
      R"({"custom_id":"a-1","method":"POST","url":"/v1/completions","body":{"model":"m","n":2}})");
  REQUIRE(line.has_value());
  CHECK(line->custom_id == "a-1");
  CHECK(line->url == "/v1/completions");
  CHECK(object_of(line->body) == object_of(R"({"model":"m","n":2})"));
}

TEST_CASE("a bad line has a code of its own for each way to be bad") {
  const std::string good = R"("custom_id":"a","method":"POST","url":"/v1/completions","body":{})";
  REQUIRE(parse_batch_line("{" + good + "}").has_value());
  REQUIRE(parse_batch_line("{" + good + "}\r").has_value());
  const std::string id_512(512, 'x'), id_513(513, 'x');
  const auto with_id = [](const std::string& id) {
    return R"({"custom_id":")" + id + R"(","method":"POST","url":"/v1/completions","body":{}})";
  };
  CHECK(parse_batch_line(with_id(id_512)).has_value());
  struct Row {
    std::string line, code, param;
  };
  const Row rows[] = {
      {"", "invalid_json_line", ""},
      {"{", "invalid_json_line", ""},
      {"[]", "invalid_json_line", ""},
      {"{\"custom_id\":\"\xff\"}", "invalid_json_line", ""},
      {"{" + good + "} x", "invalid_json_line", ""},
      {R"({"method":"POST","url":"/v1/completions","body":{}})", "missing_required_parameter",
       "custom_id"},
      {R"({"custom_id":"a","url":"/v1/completions","body":{}})", "missing_required_parameter",
       "method"},
      {R"({"custom_id":"a","method":"POST","body":{}})", "missing_required_parameter", "url"},
      {R"({"custom_id":"a","method":"POST","url":"/v1/completions"})", "missing_required_parameter",
       "body"},
      {R"({"custom_id":"a","method":"POST","url":"/v1/completions","body":null})",
       "missing_required_parameter", "body"},
      {with_id(""), "invalid_custom_id", "custom_id"},
      {with_id(id_513), "invalid_custom_id", "custom_id"},
      {R"({"custom_id":7,"method":"POST","url":"/v1/completions","body":{}})", "invalid_custom_id",
       "custom_id"},
      {R"({"custom_id":"a","method":"GET","url":"/v1/completions","body":{}})", "invalid_method",
       "method"},
      {R"({"custom_id":"a","method":1,"url":"/v1/completions","body":{}})", "invalid_method",
       "method"},
      {R"({"custom_id":"a","method":"POST","url":"/v1/embeddings","body":{}})", "invalid_url",
       "url"},
      {R"({"custom_id":"a","method":"POST","url":"/v1/responses","body":{}})", "invalid_url",
       "url"},
      {R"({"custom_id":"a","method":"POST","url":"/v1/completions","body":[]})", "invalid_value",
       "body"},
  };
  for (const auto& row : rows) {
    const auto parsed = parse_batch_line(row.line);
    INFO(row.line);
    REQUIRE(!parsed);
    CHECK(batch_error_code(parsed.error()) == row.code);
    CHECK(parsed.error().param == row.param);
    CHECK_FALSE(parsed.error().message.empty());
  }
}

TEST_CASE("errors inside a line's body have the codes of ordinary calls") {
  CHECK(batch_error_code(error(Errc::unsupported, "x", "tools")) == "unsupported_parameter");
  CHECK(batch_error_code(error(Errc::model_not_found, "x", "model")) == "model_not_found");
}

TEST_CASE("a batch is created with a window of hours or minutes") {
  const auto day = create("24h", R"("metadata":{"a":"b"})");
  REQUIRE(day.has_value());
  CHECK(day->input_file_id == "file-1");
  CHECK(day->endpoint == "/v1/chat/completions");
  CHECK(day->completion_window == "24h");
  CHECK(day->window_seconds == 86400);
  CHECK(day->metadata.at("a") == "b");
  CHECK(create("1m")->window_seconds == 60);
  CHECK(create("720h")->window_seconds == 720 * 3600);
  CHECK(create("43200m")->window_seconds == 720 * 3600);
  for (const auto* window : {"", "h", "24", "24d", "0h", "-1h", "+1h", "1.5h", "24h ", " 24h",
                             "721h", "43201m", "99999999999999999999h", "9223372036854775807h"}) {
    INFO(window);
    REQUIRE(!create(window));
    CHECK(create(window).error().param == "completion_window");
  }
}

TEST_CASE("unknown fields of a batch are counted, or refused if that is asked for") {
  const auto body = create_body("/v1/completions", "24h", R"("output_expire_after":{},"zebra":1)");
  CHECK(parse_batch_create(body)->num_ignored == 2);
  CHECK(create("24h")->num_ignored == 0);
  ParseLimits strict;
  strict.strict_fields = true;
  const auto refused = parse_batch_create(body, strict);
  REQUIRE(!refused);
  CHECK(refused.error().code == Errc::unsupported);
  CHECK(refused.error().param == "output_expire_after");
  CHECK(parse_batch_create(create_body("/v1/completions", "24h"), strict).has_value());
}

TEST_CASE("a batch needs its fields, and an endpoint that batches have") {
  CHECK(parse_batch_create("{}").error().param == "input_file_id");
  CHECK(parse_batch_create(R"({"input_file_id":7})").error().param == "input_file_id");
  CHECK(parse_batch_create(R"({"input_file_id":"f"})").error().param == "endpoint");
  CHECK(parse_batch_create(R"({"input_file_id":"f","endpoint":"/v1/completions"})").error().param ==
        "completion_window");
  CHECK(parse_batch_create(create_body("/v1/completions", "24h")).has_value());
  for (const auto* endpoint : {"/v1/embeddings", "/v1/responses", "completions"})
    CHECK(parse_batch_create(create_body(endpoint, "24h")).error().param == "endpoint");
}

TEST_CASE("outputs expire after one hour to 30 days from their creation, if the caller says so") {
  const auto expiry = [](std::string_view value) {
    return create("24h", R"("output_expires_after":)" + std::string(value));
  };
  CHECK(create("24h")->output_expires_after_seconds == std::nullopt);
  CHECK(expiry("null")->output_expires_after_seconds == std::nullopt);
  for (const std::int64_t seconds : {3600, 2592000})
    CHECK(expiry(R"({"anchor":"created_at","seconds":)" + std::to_string(seconds) + "}")
              ->output_expires_after_seconds == seconds);
  struct Row {
    std::string value, param;
  };
  const Row rows[] = {
      {"3600", "output_expires_after"},
      {"{}", "output_expires_after.anchor"},
      {R"({"seconds":3600})", "output_expires_after.anchor"},
      {R"({"anchor":"now","seconds":3600})", "output_expires_after.anchor"},
      {R"({"anchor":"created_at"})", "output_expires_after.seconds"},
      {R"({"anchor":"created_at","seconds":3599})", "output_expires_after.seconds"},
      {R"({"anchor":"created_at","seconds":2592001})", "output_expires_after.seconds"},
      {R"({"anchor":"created_at","seconds":"3600"})", "output_expires_after.seconds"},
  };
  for (const auto& row : rows) {
    INFO(row.value);
    const auto parsed = expiry(row.value);
    REQUIRE(!parsed);
    CHECK(parsed.error().code == Errc::invalid_value);
    CHECK(parsed.error().param == row.param);
  }
}

TEST_CASE("metadata is bounded in pairs and in characters, not bytes") {
  const auto pairs = [](int count) {
    std::string text = R"("metadata":{)";
    for (int i = 0; i < count; ++i) text += (i ? ",\"k" : "\"k") + std::to_string(i) + "\":\"v\"";
    return text + "}";
  };
  const auto repeated = [](int count) {
    std::string text;
    for (int i = 0; i < count; ++i) text += "é";
    return text;
  };
  const auto one = [](const std::string& key, const std::string& value) {
    return R"("metadata":{")" + key + "\":\"" + value + "\"}";
  };
  CHECK(create("24h", pairs(16)).has_value());
  CHECK(create("24h", one(repeated(64), repeated(512))).has_value());
  for (const auto& metadata :
       {pairs(17), one(repeated(65), "v"), one("k", repeated(513)),
        std::string(R"("metadata":{"k":1})"), std::string(R"("metadata":[])")}) {
    const auto refused = create("24h", metadata);
    REQUIRE(!refused);
    CHECK(refused.error().param == "metadata");
  }
}
