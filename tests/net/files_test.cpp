// Files and batches over HTTP, against a queue that keeps them in a temporary folder.
#include <boost/json.hpp>
#include <random>

#include "tests/net/service.hpp"

namespace tandem::tests {
namespace {

namespace json = boost::json;

std::string field(const std::string& name, const std::string& value) {
  return "--XX\r\nContent-Disposition: form-data; name=\"" + name + "\"\r\n\r\n" + value + "\r\n";
}
std::string file(const std::string& content) {
  return "--XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"in.jsonl\"\r\n"
         "Content-Type: application/jsonl\r\n\r\n" +
         content + "\r\n";
}
std::string upload(const std::string& form) {
  return "POST /v1/files HTTP/1.1\r\nHost: x\r\n"
         "Content-Type: multipart/form-data; boundary=XX\r\nContent-Length: " +
         std::to_string(form.size()) + "\r\n\r\n" + form;
}
std::string id_of(const json::value& object) { return object.at("id").as_string().c_str(); }
std::string id_of(const HttpReply& reply) { return id_of(json::parse(reply.body)); }
std::string param_of(const HttpReply& reply) {
  const auto param = json::parse(reply.body).at("error").at("param");
  return param.is_string() ? param.as_string().c_str() : "";
}

}  // namespace

TEST_CASE("a file is uploaded, listed, read, read in part, and removed") {
  Service service;
  std::string content;
  std::minstd_rand random(7);
  for (int i = 0; i < 500000; ++i) content.push_back(static_cast<char>(random()));
  auto client = service.connect();
  client.send(upload(field("purpose", "batch") + field("expires_after[anchor]", "created_at") +
                     field("expires_after[seconds]", "3600") + file(content) + "--XX--\r\n"));
  auto reply = client.read_reply();
  REQUIRE(reply.status == 200);
  const auto object = json::parse(reply.body);
  const std::string id = id_of(object);
  CHECK(object.at("bytes") == content.size());
  CHECK(object.at("filename") == "in.jsonl");
  CHECK(service.queue.content(id) == content);
  CHECK(service.queue.last_added()->expires_after_seconds == 3600);

  client.send(get("/v1/files") + get("/v1/files/" + id) + get("/v1/files/" + id + "/content"));
  CHECK(id_of(json::parse(client.read_reply().body).at("data").at(0)) == id);
  CHECK(id_of(client.read_reply()) == id);
  reply = client.read_reply();
  CHECK(reply.body == content);
  const auto tag = reply.fields.at("etag");

  const auto range = [&](const std::string& bytes) {
    client.send(get("/v1/files/" + id + "/content", "Range: bytes=" + bytes + "\r\n"));
    return client.read_reply();
  };
  reply = range("10-19");
  CHECK(reply.status == 206);
  CHECK(reply.fields.at("content-range") == "bytes 10-19/500000");
  CHECK(reply.body == content.substr(10, 10));
  CHECK(range("499990-").body == content.substr(499990));
  CHECK(range("-7").body == content.substr(499993));
  CHECK(range("499990-999999").body.size() == 10);
  for (const auto* bad : {"500000-", "20-10", "x-y", "1-2,5-6", "-0", "-", ""})
    CHECK(range(bad).status == 416);

  const auto unchanged = [&](const std::string& fields) {
    client.send(get("/v1/files/" + id + "/content", fields));
    return client.read_reply();
  };
  client.send(get("/v1/files/" + id + "/content", "If-None-Match: W/\"no\", " + tag + "\r\n"));
  CHECK(client.read_reply(true).status == 304);
  CHECK(unchanged("If-None-Match: \"no\"\r\n").status == 200);
  CHECK(unchanged("If-Range: " + tag + "\r\nRange: bytes=0-9\r\n").body == content.substr(0, 10));
  CHECK(unchanged("If-Range: \"no\"\r\nRange: bytes=0-9\r\n").body == content);
  client.send("HEAD /v1/files/" + id + "/content HTTP/1.1\r\nHost: x\r\n\r\n");
  const auto header = client.read_reply(true);
  CHECK(header.fields.at("content-length") == "500000");
  CHECK(header.fields.at("etag") == tag);

  client.send("DELETE /v1/files/" + id + " HTTP/1.1\r\nHost: x\r\n\r\n" + get("/v1/files/" + id));
  CHECK(json::parse(client.read_reply().body).at("deleted") == true);
  CHECK(client.read_reply().status == 404);
}

TEST_CASE("an upload may come in chunks of any size") {
  Service service;
  const auto form = file("line one\r\n--X\r\nline two") + field("purpose", "batch") + "--XX--\r\n";
  for (std::size_t size = 1; size < 40; size += 3) {
    auto client = service.connect();
    client.send(
        "POST /v1/files HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
        "Content-Type: multipart/form-data; boundary=XX\r\n\r\n");
    char head[16];
    for (std::size_t at = 0; at < form.size(); at += size) {
      const auto piece = form.substr(at, size);
      std::snprintf(head, sizeof(head), "%zx\r\n", piece.size());
      client.send(head + piece + "\r\n");
    }
    client.send("0\r\n\r\n");
    const auto reply = client.read_reply();
    REQUIRE(reply.status == 200);
    CHECK(service.queue.content(id_of(reply)) == "line one\r\n--X\r\nline two");
  }
}

TEST_CASE("input files of batches expire after 30 days unless they say otherwise") {
  Service service;
  const auto send = [&](const std::string& purpose) {
    service.ask(upload(field("purpose", purpose) + file("{}") + "--XX--"));
    return service.queue.last_added()->expires_after_seconds;
  };
  CHECK(send("batch") == 2592000);
  CHECK(send("user_data") == std::nullopt);
}

TEST_CASE("uploads that are wrong are refused by field, and leave nothing on disk") {
  net::ServerOptions options;
  options.max_upload_bytes = 1000;
  Service service(options);
  const auto good = field("purpose", "batch");
  CHECK(param_of(service.ask(upload(file("x") + "--XX--"))) == "purpose");
  CHECK(param_of(service.ask(upload(file("x") + field("purpose", "vision") + "--XX--"))) ==
        "purpose");
  CHECK(param_of(service.ask(upload(good + "--XX--"))) == "file");
  CHECK(param_of(service.ask(upload(good + file("x") + field("extra", "1") + "--XX--"))) ==
        "extra");
  CHECK(param_of(service.ask(
            upload(good + file("x") + field("expires_after[anchor]", "created_at") +
                   field("expires_after[seconds]", "60") + "--XX--"))) == "expires_after[seconds]");
  CHECK(param_of(service.ask(
            upload(good + file("x") + field("expires_after[anchor]", "created_at") + "--XX--"))) ==
        "expires_after");
  CHECK(service.ask(upload(good + file("x"))).status == 400);  // no closing boundary
  CHECK(service.ask(upload("garbage")).status == 400);
  CHECK(service.ask(post("/v1/files", "{}")).status == 400);
  const auto large = service.ask(upload(good + file(std::string(1001, 'x')) + "--XX--"));
  CHECK(large.status == 413);
  CHECK(service
            .ask("POST /v1/files HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; "
                 "boundary=XX\r\nContent-Length: 99999999\r\n\r\n")
            .status == 413);
  CHECK_FALSE(service.queue.last_added());
  service.server->stop();
  CHECK(service.queue.num_unclaimed_uploads() == 0);
}

TEST_CASE("an upload that breaks off leaves nothing on disk") {
  Service service;
  {
    auto client = service.connect();
    const auto form = upload(field("purpose", "batch") + file(std::string(100000, 'x')));
    client.send(std::string_view(form).substr(0, 50000));
  }
  service.server->stop();
  CHECK(service.queue.num_unclaimed_uploads() == 0);
  CHECK_FALSE(service.queue.last_added());
}

TEST_CASE("a batch is created once per Idempotency-Key, read, listed and cancelled") {
  Service service;
  const auto uploaded = service.ask(upload(field("purpose", "batch") + file("{}") + "--XX--"));
  const std::string file_id = id_of(uploaded);
  const auto create = R"({"input_file_id":")" + file_id +
                      R"(","endpoint":"/v1/completions","completion_window":"24h",)"
                      R"("metadata":{"job":"7"}})";
  const auto one = service.ask(post("/v1/batches", create, "Idempotency-Key: k1\r\n"));
  REQUIRE(one.status == 200);
  const std::string id = id_of(one);
  CHECK(json::parse(one.body).at("status") == "validating");
  CHECK(json::parse(one.body).at("metadata").at("job") == "7");
  const auto again = service.ask(post("/v1/batches", create, "Idempotency-Key: k1\r\n"));
  CHECK(id_of(again) == id);
  CHECK(
      service.ask(post("/v1/batches", create, "Idempotency-Key: " + std::string(300, 'k') + "\r\n"))
          .status == 400);
  const auto first_try = id_of(service.ask(post("/v1/batches", create)));
  CHECK(first_try != id);

  CHECK(id_of(service.ask(get("/v1/batches/" + id))) == id);
  const auto page = json::parse(service.ask(get("/v1/batches?limit=1")).body);
  CHECK(page.at("data").as_array().size() == 1);
  CHECK(page.at("has_more") == true);
  CHECK(service.ask(get("/v1/batches?limit=101")).status == 400);
  // A query that cannot be read is not one without parameters.
  for (const auto* query : {"limit=%zz", "after=%", "after=a%0ab", "limit=1&%4"})
    CHECK(service.ask(get("/v1/batches?" + std::string(query))).status == 400);
  CHECK(service.ask(get("/v1/batches/batch_unknown")).status == 404);
  const auto cancelled = service.ask(post("/v1/batches/" + id + "/cancel", ""));
  CHECK(json::parse(cancelled.body).at("status") == "cancelling");
  CHECK(service.ask(post("/v1/batches", "{}")).status == 400);
  CHECK(service
            .ask(post("/v1/batches", R"({"input_file_id":"file-none",)"
                                     R"("endpoint":"/v1/completions",)"
                                     R"("completion_window":"24h"})"))
            .status == 404);
}

TEST_CASE("a client that tries again after a lost reply gets the batch of its first try") {
  Service service;
  const auto uploaded = service.ask(upload(field("purpose", "batch") + file("{}") + "--XX--"));
  const auto body = [&](const std::string& job) {
    return R"({"input_file_id":")" + id_of(uploaded) +
           R"(","endpoint":"/v1/completions","completion_window":"24h","metadata":{"job":")" + job +
           R"("}})";
  };
  const auto create = [&](const std::string& job, const std::string& tries) {
    return id_of(
        service.ask(post("/v1/batches", body(job), "x-stainless-retry-count: " + tries + "\r\n")));
  };
  const auto first = create("a", "0");
  CHECK(create("a", "1") == first);
  CHECK(create("a", "2") == first);
  const auto second = create("a", "0");  // the same again, on purpose
  CHECK(second != first);
  CHECK(create("a", "1") == second);
  CHECK(create("b", "1") != second);  // another body: its first try never arrived
  const auto plain = id_of(service.ask(post("/v1/batches", body("a"))));
  CHECK(plain != second);
}

TEST_CASE("files are listed by a purpose that there is") {
  Service service;
  for (const auto* purpose : {"batch", "batch_output", "user_data"})
    CHECK(service.ask(get("/v1/files?purpose=" + std::string(purpose))).status == 200);
  const auto refused = service.ask(get("/v1/files?purpose=zzz"));
  CHECK(refused.status == 400);
  CHECK(param_of(refused) == "purpose");
}

}  // namespace tandem::tests
