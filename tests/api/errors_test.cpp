// Errors on the wire, and ids.
#include "api/errors.hpp"

#include <set>
#include <thread>

#include "api/ids.hpp"
#include "tests/api/openapi.hpp"
#include "tests/api/support.hpp"

using namespace tandem;
using namespace tandem::api;
using namespace tandem::api::testing;

namespace {

struct Row {
  Errc code;
  int status;
  const char *type, *name;
  bool permanent;
};

// As OpenAI documents its errors.
const Row rows[] = {
    {Errc::invalid_value, 400, "invalid_request_error", "invalid_value", true},
    {Errc::unsupported, 400, "invalid_request_error", "unsupported_parameter", true},
    {Errc::context_length_exceeded, 400, "invalid_request_error", "context_length_exceeded", true},
    {Errc::model_not_found, 404, "not_found_error", "model_not_found", true},
    {Errc::not_found, 404, "not_found_error", "not_found", true},
    {Errc::conflict, 409, "conflict_error", "conflict", true},
    {Errc::too_large, 413, "invalid_request_error", "request_too_large", true},
    {Errc::overloaded, 429, "rate_limit_error", "server_overloaded", false},
    {Errc::resource_unavailable, 429, "rate_limit_error", "resource_unavailable", false},
    {Errc::shutting_down, 503, "server_error", "shutting_down", false},
    {Errc::cancelled, 499, "invalid_request_error", "cancelled", true},
    {Errc::device_failed, 500, "server_error", "engine_restarted", false},
    {Errc::storage_failed, 503, "server_error", "storage_failed", false},
    {Errc::invalid_api_key, 401, "authentication_error", "invalid_api_key", true},
    {Errc::permission_denied, 403, "permission_error", "permission_denied", true},
    {Errc::response_not_found, 404, "not_found_error", "response_not_found", true},
    {Errc::resume_window_expired, 410, "invalid_request_error", "resume_window_expired", true},
    {Errc::stream_limit_reached, 400, "invalid_request_error", "websocket_stream_limit_reached",
     true},
    {Errc::internal, 500, "server_error", "internal_error", false},
};

}  // namespace

TEST_CASE("every kind of failure has a status, a type and a code") {
  // The table has every enumerator: the last one's number says how many there are.
  CHECK(std::size(rows) == static_cast<std::size_t>(Errc::internal));
  for (const auto& row : rows) {
    INFO(to_string(row.code));
    CHECK(http_status(row.code) == row.status);
    CHECK(error_type(row.code) == row.type);
    CHECK(error_code(row.code) == row.name);
    CHECK(is_permanent(row.code) == row.permanent);
    const auto text = error_body(error(row.code, "what", "where"));
    CHECK(problems("ErrorResponse", text) == "");
    const auto inner = object_of(text).at("error").as_object();
    CHECK(missing_keys("Error", inner).empty());
    CHECK(inner.at("message") == "what");
    CHECK(inner.at("param") == "where");
    CHECK(inner.at("type") == boost::json::value(row.type));
    CHECK(inner.at("code") == boost::json::value(row.name));
  }
}

TEST_CASE("clients are told to retry only what may pass") {
  for (const auto& row : rows) CHECK(row.permanent == (row.status < 500 && row.status != 429));
}

TEST_CASE("an error without a field says null, and bytes that are no text do no harm") {
  CHECK(object_of(error_body(error(Errc::internal, "x"))).at("error").at("param").is_null());
  const auto inner =
      object_of(error_body(error(Errc::not_found, "no \xff\xfe\"here\"", "a\xc3"))).at("error");
  CHECK(inner.at("message") == "no \xef\xbf\xbd\xef\xbf\xbd\"here\"");
  CHECK(inner.at("param") == "a\xef\xbf\xbd");
}

TEST_CASE("the error event of the WebSocket echoes what ids there are") {
  const auto reason = error(Errc::overloaded, "full");
  const auto whole = object_of(websocket_error(reason, "lane", "e1"));
  CHECK(whole.at("type") == "error");
  CHECK(whole.at("status") == 429);
  CHECK(whole.at("stream_id") == "lane");
  CHECK(whole.at("error").at("event_id") == "e1");
  CHECK(missing_keys("Error", whole.at("error").as_object()).empty());
  const auto bare = object_of(websocket_error(reason, {}, {}));
  CHECK_FALSE(bare.contains("stream_id"));
  CHECK_FALSE(bare.at("error").as_object().contains("event_id"));
}

TEST_CASE("ids have their prefix, are valid request ids, and do not repeat, also across threads") {
  std::set<std::string> ids;
  std::vector<std::vector<std::string>> made(4);
  std::vector<std::thread> threads;
  for (auto& list : made)
    threads.emplace_back([&list] {
      for (int i = 0; i < 1000; ++i) list.push_back(random_id("req-"));
    });
  for (auto& thread : threads) thread.join();
  for (const auto& list : made) ids.insert(list.begin(), list.end());
  CHECK(ids.size() == 4000);
  for (const auto& id : made[0]) {
    CHECK(id.starts_with("req-"));
    CHECK(id.size() == 28);
    CHECK(is_valid_request_id(id));
  }
}

TEST_CASE("request ids: 1 to 128 plain characters; lanes: 1 to 256") {
  for (const auto* good : {"a", "A-b_c.9", "..", "-"}) {
    CHECK(is_valid_request_id(good));
    CHECK(is_valid_stream_id(good));
  }
  for (const auto* bad : {"", " ", "a b", "a\n", "a/b", "\xc3\xa9", "a\"b", "a;b"}) {
    CHECK_FALSE(is_valid_request_id(bad));
    CHECK_FALSE(is_valid_stream_id(bad));
  }
  CHECK_FALSE(is_valid_request_id(std::string_view("a\0b", 3)));
  CHECK(is_valid_request_id(std::string(128, 'x')));
  CHECK_FALSE(is_valid_request_id(std::string(129, 'x')));
  CHECK(is_valid_stream_id(std::string(256, 'x')));
  CHECK_FALSE(is_valid_stream_id(std::string(257, 'x')));
}
