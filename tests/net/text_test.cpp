// /tokenize and /detokenize over HTTP.
#include <boost/json.hpp>

#include "tests/net/service.hpp"

namespace tandem::tests {
namespace {

namespace json = boost::json;

const std::string text = R"({"prompt":"abc"})";

}  // namespace

TEST_CASE("a text is tokenized, and tokens become text, on one connection") {
  Service service;
  auto client = service.connect();
  client.send(post("/tokenize", R"({"model":"letters","prompt":"abc","return_token_strs":true})") +
              post("/detokenize", R"({"model":"letters","tokens":[7,8,26]})"));
  const auto tokens = client.read_reply();
  REQUIRE(tokens.status == 200);
  CHECK(tokens.fields.at("content-type") == "application/json");
  CHECK(json::parse(tokens.body) ==
        json::parse(R"({"count":3,"max_model_len":4096,"tokens":[0,0,0],)"
                    R"("token_strs":["a","a","a"]})"));
  const auto back = client.read_reply();
  REQUIRE(back.status == 200);
  CHECK(json::parse(back.body).at("prompt").as_string() == "hi" + std::string(1000, 'L'));
  CHECK(service.engine.num_calls() == 0);
}

TEST_CASE("calls about text are refused by field, by bound and by the engine's word") {
  net::ServerOptions options;
  options.max_body_bytes = 2500;
  Service service(options);
  for (const auto* body :
       {"", "{", "[]", "{}", R"({"prompt":7})", R"({"prompt":"x","messages":[]})"})
    CHECK(service.ask(post("/tokenize", body)).status == 400);
  for (const auto* body : {"", "{}", R"({"tokens":[27]})", R"({"tokens":["a"]})"})
    CHECK(service.ask(post("/detokenize", body)).status == 400);
  CHECK(service.ask(post("/tokenize", R"({"model":"other","prompt":"x"})")).status == 404);
  CHECK(service.ask(get("/tokenize")).status == 405);
  CHECK(service.ask(post("/tokenize", R"({"prompt":")" + std::string(2600, 'a') + "\"}")).status ==
        413);
  const auto too_long = service.ask(post("/detokenize", R"({"tokens":[26,26,26]})"));
  CHECK(too_long.status == 413);
  CHECK(too_long.body.find("max_body_bytes") != std::string::npos);
  service.engine.refuse_with(error(Errc::overloaded, "no"));
  const auto overloaded = service.ask(post("/tokenize", text));
  CHECK(overloaded.status == 429);
  CHECK(overloaded.fields.contains("retry-after"));
}

TEST_CASE("unknown fields of calls about text are counted, or refused if fields are strict") {
  const auto body = R"({"prompt":"abc","zebra":1})";
  Service service;
  CHECK(service.ask(post("/tokenize", body)).status == 200);
  CHECK(service.engine.wait_for_text_call(1).ignored_fields == 1);
  net::ServerOptions options;
  options.call_limits.strict_fields = true;
  Service strict(options);
  CHECK(strict.ask(post("/tokenize", body)).status == 400);
}

TEST_CASE("a client that leaves abandons its call about text; a stop answers it") {
  Service service;
  service.engine.hold_calls();
  auto leaving = service.connect(), staying = service.connect();
  leaving.send(post("/tokenize", text));
  service.engine.wait_for_text_call(1);
  staying.send(post("/detokenize", R"({"tokens":[1]})"));
  service.engine.wait_for_text_call(2);
  CHECK(service.ask(get("/livez")).status == 200);  // nobody waits for them
  leaving.close();
  CHECK(service.engine.wait_for_abandoned(1));
  service.server->stop();
  CHECK(staying.read_reply().status == 503);
}

}  // namespace tandem::tests
