// Who may call: API keys on every route, and Host where there are none.
#include "net/api_keys.hpp"

#include <boost/json.hpp>
#include <fstream>

#include "net/routes.hpp"
#include "net/services.hpp"
#include "tests/net/service.hpp"
#include "tests/support/temporary_folder.hpp"

namespace tandem::tests {
namespace {

const std::string key = "sk-0123456789abcdef", other_key = "sk-fedcba9876543210";

class KeyFile {
 public:
  explicit KeyFile(const std::string& text) { std::ofstream(path()) << text; }
  [[nodiscard]] std::filesystem::path path() const { return folder_.path() / "keys"; }

 private:
  TemporaryFolder folder_;
};

std::string bearer(const std::string& value) { return "Authorization: Bearer " + value + "\r\n"; }

net::ServerOptions with_keys(const KeyFile& file) {
  net::ServerOptions options;
  options.api_key_file = file.path();
  return options;
}

}  // namespace

TEST_CASE("SHA-256 gives the digests of its standard") {
  CHECK(net::hex(net::sha256("abc")) ==
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(net::hex(net::sha256("")) ==
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

TEST_CASE("keys are read from a file, plain or as digests") {
  const KeyFile file("# the first\n" + key + "  \r\n\nsha256:" + net::hex(net::sha256(other_key)) +
                     "\n");
  const auto keys = net::ApiKeys::load(file.path());
  REQUIRE(keys.has_value());
  const auto one = keys->tenant_of("Bearer " + key), two = keys->tenant_of("bearer " + other_key);
  REQUIRE((one && two));
  CHECK(*one != *two);
  CHECK(one->find(key) == std::string::npos);
  for (const auto& wrong :
       {std::string(), std::string("Bearer"), "Bearer " + key + "x", "Bearer " + key.substr(1),
        "Basic " + key, key, "Bearer sha256:" + net::hex(net::sha256(other_key))})
    CHECK_FALSE(keys->tenant_of(wrong));
}

TEST_CASE("a key file that is wrong is refused by line, without its text") {
  for (const auto* text : {"", "# none\n", "short\n", "sk-0123456789abcdef with blanks\n",
                           "sha256:12\n", "sk-0123456789abcde\x01\n"}) {
    INFO(text);
    const KeyFile file(text);
    const auto keys = net::ApiKeys::load(file.path());
    REQUIRE(keys.has_error());
    CHECK(keys.error().param == "api_key_file");
    CHECK(keys.error().message.find(file.path().string()) == 0);
    CHECK(keys.error().message.find("sk-0") == std::string::npos);
  }
  CHECK(net::ApiKeys::load("/nonexistent/keys").has_error());
}

TEST_CASE("with keys every route but health asks for one") {
  const KeyFile file(key + "\n");
  Service service(with_keys(file));
  for (const auto& route : net::all_routes()) {
    std::string path(route.pattern);
    for (auto at = path.find('{'); at != path.npos; at = path.find('{'))
      path.replace(at, path.find('}', at) - at + 1, "id");
    INFO(route.method << " " << path);
    const auto request = [&](const std::string& fields) {
      return std::string(route.method) + " " + path + " HTTP/1.1\r\nHost: x\r\n" + fields + "\r\n";
    };
    const bool open = path == "/livez" || path == "/readyz" || path == "/health";
    for (const auto& fields : {std::string(), bearer(other_key)}) {
      const auto reply = service.ask(request(fields));
      CHECK(reply.status == (open ? 200 : 401));
      if (open) continue;
      CHECK(reply.fields.at("www-authenticate") == "Bearer");
      CHECK(reply.fields.at("x-should-retry") == "false");
      CHECK(boost::json::parse(reply.body).at("error").at("code") == "invalid_api_key");
      CHECK(boost::json::parse(reply.body).at("error").at("type") == "authentication_error");
    }
    CHECK(service.ask(request(bearer(key))).status != 401);
  }
  CHECK(service.ask(get("/nothing/here")).status == 401);
  CHECK(service.connect().upgrade() == 401);
  CHECK(service.connect().upgrade(bearer(other_key)) == 401);
  CHECK(service.connect().upgrade(bearer(key)) == 101);
}

TEST_CASE("a body that came without a key is not read, and a key in a trailer is none") {
  const KeyFile file(key + "\n");
  Service service(with_keys(file));
  auto client = service.connect();
  client.send(
      "POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
      "2\r\n{}\r\n0\r\n" +
      bearer(key) + "\r\n");
  const auto reply = client.read_reply();
  CHECK(reply.status == 401);
  CHECK(reply.fields.at("connection") == "close");
  CHECK(client.ended());
}

TEST_CASE("readiness gives its reasons to callers with a key only") {
  const KeyFile file(key + "\n");
  Service service(with_keys(file));
  service.not_ready = "the executor has died";
  const auto anonymous = service.ask(get("/readyz?verbose"));
  CHECK(anonymous.status == 503);
  CHECK(anonymous.body == "not ready\n");
  CHECK(service.ask(get("/readyz", bearer(key))).body.find("executor") != std::string::npos);
}

TEST_CASE("each key is a tenant of its own to the engine") {
  const KeyFile file(key + "\n" + other_key + "\n");
  Service service(with_keys(file));
  service.engine.answer_at_once(1);
  const std::string body = R"({"model":"letters","prompt":"hi"})";
  for (const auto& one : {key, other_key, key})
    CHECK(service.ask(post("/v1/completions", body, bearer(one))).status == 200);
  const auto tenant = [&](std::size_t call) {
    return service.engine.wait_for_call(call).submit.tenant;
  };
  CHECK_FALSE(tenant(1).empty());
  CHECK(tenant(1) != tenant(2));
  CHECK(tenant(1) == tenant(3));
}

TEST_CASE("an address that others can reach is fine with keys") {
  const KeyFile file(key + "\n");
  Service service;
  auto options = with_keys(file);
  options.host = "0.0.0.0";
  options.port = 0;
  CHECK(net::Server::start(service.system, options, service.parts()).has_value());
  options.api_key_file = "/nonexistent/keys";
  const auto failed = net::Server::start(service.system, options, service.parts());
  REQUIRE(failed.has_error());
  CHECK(failed.error().message.find("/nonexistent/keys") != std::string::npos);
}

TEST_CASE("without keys a loopback service answers to its own names only") {
  Service service;
  const auto status = [&](const std::string& host) {
    return service.ask("GET /v1/models HTTP/1.1\r\nHost: " + host + "\r\n\r\n").status;
  };
  for (const auto* fine : {"127.0.0.1", "127.0.0.1:8000", "localhost", "LOCALHOST:80", "[::1]",
                           "[::1]:8000", "a.localhost", "192.168.1.2:1", "x"})
    CHECK(status(fine) == 200);
  for (const auto* rebound : {"evil.example", "evil.example:8000", "localhost.evil.example", "",
                              "127.0.0.1.evil.example", "[evil]"})
    CHECK(status(rebound) == 403);
  const KeyFile file(key + "\n");
  Service with_key(with_keys(file));
  CHECK(with_key.ask("GET /v1/models HTTP/1.1\r\nHost: any.example\r\n" + bearer(key) + "\r\n")
            .status == 200);
}

}  // namespace tandem::tests
