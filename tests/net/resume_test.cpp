// Responses that outlive their connection: response.resume.
#include <boost/json.hpp>
#include <fstream>
#include <vector>

#include "tests/net/service.hpp"
#include "tests/support/temporary_folder.hpp"

namespace tandem::tests {
namespace {

namespace json = boost::json;
using std::chrono::milliseconds;

std::string create(const std::string& lane = {}) {
  auto text =
      std::string(R"({"type":"response.create","model":"letters","input":"hi","resumable":true)");
  if (!lane.empty()) text += R"(,"stream_id":")" + lane + '"';
  return text + "}";
}
std::string resume(const std::string& id, int after) {
  return R"({"type":"response.resume","event_id":"r1","response_id":")" + id +
         R"(","starting_after":)" + std::to_string(after) + "}";
}

std::string next_text(Client& client) {
  auto message = client.read_message();
  REQUIRE(message.opcode == 1);
  return std::move(message.payload);
}
std::string type_of(const std::string& event) {
  return json::parse(event).at("type").as_string().c_str();
}
bool is_terminal(const std::string& event) {
  const auto type = type_of(event);
  return type == "response.completed" || type == "response.incomplete" || type == "response.failed";
}
std::string error_code_of(Client& client) {
  const auto event = json::parse(next_text(client));
  REQUIRE(event.at("type") == "error");
  CHECK(event.at("error").at("event_id") == "r1");
  return event.at("error").at("code").as_string().c_str();
}
std::string id_of(const std::string& created) {
  return json::parse(created).at("response").at("id").as_string().c_str();
}

/// Events as they came, up to the end of the response.
std::vector<std::string> read_to_end(Client& client) {
  std::vector<std::string> events;
  do events.push_back(next_text(client));
  while (!is_terminal(events.back()));
  return events;
}
std::vector<std::string> read_some(Client& client, std::size_t count) {
  std::vector<std::string> events;
  while (events.size() < count) events.push_back(next_text(client));
  return events;
}
std::string text_of(const std::vector<std::string>& events) {
  std::string text;
  for (const auto& event : events)
    if (type_of(event) == "response.output_text.delta")
      text += json::parse(event).at("delta").as_string().c_str();
  return text;
}
void check_numbers(const std::vector<std::string>& events, std::int64_t first) {
  for (const auto& event : events) CHECK(json::parse(event).at("sequence_number") == first++);
}

/// A resumable response whose client left after its first token.
struct LeftBehind {
  std::string id;
  RequestId call{};
};
LeftBehind leave_one_behind(Service& service) {
  auto client = service.connect();
  REQUIRE(client.upgrade() == 101);
  client.send_text(create());
  LeftBehind left{.call = service.engine.ids(0).at(0)};
  service.engine.emit(left.call, 1);
  left.id = id_of(next_text(client));
  return left;
}

}  // namespace

TEST_CASE("a resumed response goes on where its connection broke, byte for byte") {
  Service service;
  std::vector<std::string> seen;
  RequestId call{};
  {
    auto client = service.connect();
    REQUIRE(client.upgrade() == 101);
    client.send_text(create("left"));
    call = service.engine.ids(0).at(0);
    service.engine.emit(call, 1, std::nullopt, 0);
    service.engine.emit(call, 1, std::nullopt, 1);
    while (text_of(seen).size() < 2) seen.push_back(next_text(client));
  }
  service.engine.emit(call, 1, std::nullopt, 2);  // while nobody is there
  auto again = service.connect();
  REQUIRE(again.upgrade() == 101);
  const auto id = id_of(seen.front());
  again.send_text(resume(id, 1));
  const auto replayed = read_some(again, seen.size() - 2);
  for (std::size_t i = 0; i < replayed.size(); ++i) CHECK(replayed[i] == seen[i + 2]);
  service.engine.emit(call, 1, std::nullopt, 3);
  service.engine.emit(call, 0, FinishReason::stop);
  const auto rest = read_to_end(again);
  check_numbers(rest, static_cast<std::int64_t>(seen.size()));
  CHECK(text_of(seen) + text_of(rest) == "abcd");
  CHECK(json::parse(rest.back()).at("stream_id") == "left");

  // And once more from the beginning, after its end, on the same connection.
  again.send_text(resume(id, -1));
  const auto whole = read_to_end(again);
  check_numbers(whole, 0);
  CHECK(std::equal(seen.begin(), seen.end(), whole.begin()));
  CHECK(std::equal(rest.rbegin(), rest.rend(), whole.rbegin()));
}

TEST_CASE("only a response that asked for it outlives its connection") {
  Service service;
  RequestId plain{}, kept{};
  {
    auto client = service.connect();
    REQUIRE(client.upgrade() == 101);
    client.send_text(R"({"type":"response.create","model":"letters","input":"hi"})");
    plain = service.engine.ids(0).at(0);
    client.send_text(create("b"));
    kept = service.engine.ids(1).at(0);
    service.engine.emit(plain, 1);
    service.engine.emit(kept, 1);
    read_some(client, 10);
  }
  CHECK(service.engine.wait_for_cancel(plain));
  service.engine.emit(kept, 1, FinishReason::stop);  // would be refused after a cancel
  CHECK_FALSE(service.engine.is_cancelled(kept));
}

TEST_CASE("a response that waits in its lane when the connection breaks never begins") {
  Service service;
  RequestId first{};
  {
    auto client = service.connect();
    REQUIRE(client.upgrade() == 101);
    client.send_text(create("a"));
    client.send_text(create("a"));
    first = service.engine.ids(0).at(0);
    service.engine.emit(first, 1);
    read_some(client, 5);
  }
  service.engine.emit(first, 0, FinishReason::stop);
  auto client = service.connect();
  REQUIRE(client.upgrade() == 101);
  client.send_text(R"({"type":"response.create","model":"letters","input":"hi"})");
  service.engine.wait_for_call(2);
  CHECK(service.engine.num_calls() == 2);
}

TEST_CASE("ids that were never resumable are told from those that are not any more") {
  net::ServerOptions options;
  options.resume_window = milliseconds(30);
  Service service(options);
  const auto [id, call] = leave_one_behind(service);
  CHECK(service.engine.wait_for_cancel(call));  // its window is over
  auto client = service.connect();
  REQUIRE(client.upgrade() == 101);
  client.send_text(resume(id, 0));
  CHECK(error_code_of(client) == "resume_window_expired");
  client.send_text(resume("resp_unknown", 0));
  CHECK(error_code_of(client) == "response_not_found");
  client.send_text(R"({"type":"response.create","model":"letters","input":"hi"})");
  const auto plain = id_of(next_text(client));
  read_some(client, 3);
  client.send_text(resume(plain, 0));
  CHECK(error_code_of(client) == "response_not_found");
}

TEST_CASE("a response can be taken over from a connection that only seems to live") {
  Service service;
  auto old = service.connect();
  REQUIRE(old.upgrade() == 101);
  old.send_text(create("a"));
  const auto call = service.engine.ids(0).at(0);
  service.engine.emit(call, 1, std::nullopt, 0);
  const auto seen = read_some(old, 5);
  auto client = service.connect();
  REQUIRE(client.upgrade() == 101);
  client.send_text(resume(id_of(seen.front()), 4));
  client.send_text(resume(id_of(seen.front()), 4));
  CHECK(error_code_of(client) == "conflict");  // it is here already
  service.engine.emit(call, 1, std::nullopt, 1);
  service.engine.emit(call, 0, FinishReason::stop);
  const auto rest = read_to_end(client);
  check_numbers(rest, 5);
  CHECK(text_of(rest) == "b");
  // The old one hears no more of it, and its lane is free.
  old.send_text(create("a"));
  const auto next = service.engine.ids(1).at(0);
  service.engine.emit(next, 1, std::nullopt, 2);
  service.engine.emit(next, 0, FinishReason::stop);
  CHECK(text_of(read_to_end(old)) == "c");
}

TEST_CASE("resuming waits for its turn in the lane, and says how far the events go") {
  Service service;
  service.engine.answer_at_once(2);
  auto client = service.connect();
  REQUIRE(client.upgrade() == 101);
  client.send_text(create("a"));
  const auto first = read_to_end(client);
  service.engine.answer_at_once(std::nullopt);
  client.send_text(create("a"));
  const auto call = service.engine.ids(1).at(0);
  client.send_text(resume(id_of(first.front()), 3));
  service.engine.emit(call, 1);
  service.engine.emit(call, 0, FinishReason::stop);
  read_to_end(client);
  const auto replayed = read_to_end(client);
  CHECK(std::equal(replayed.begin(), replayed.end(), first.begin() + 4, first.end()));
  client.send_text(resume(id_of(first.front()), 99));
  CHECK(error_code_of(client) == "invalid_value");
}

TEST_CASE("logs are bounded: what has no connection is given up first") {
  net::ServerOptions options;
  options.resume_buffer_bytes = 64 << 10;
  Service service(options);
  const auto [id, lost] = leave_one_behind(service);
  auto client = service.connect();
  REQUIRE(client.upgrade() == 101);
  client.send_text(create());
  const auto here = service.engine.ids(1).at(0);
  for (int i = 0; i < 100; ++i) service.engine.emit(here, 1, std::nullopt, long_word);
  CHECK(service.engine.wait_for_cancel(lost));
  service.engine.emit(here, 0, FinishReason::stop);
  CHECK(text_of(read_to_end(client)) == std::string(100000, 'L'));  // it only lost its log
  client.send_text(resume(id, 0));
  CHECK(error_code_of(client) == "resume_window_expired");
}

TEST_CASE("a reader that is cut off for being slow can come back for all of it") {
  net::ServerOptions options;
  options.merge_above_bytes = 32 << 10;
  options.max_unsent_bytes = 256 << 10;
  Service service(options);
  auto slow = service.connect(4096);
  REQUIRE(slow.upgrade() == 101);
  slow.send_text(create());
  const auto call = service.engine.ids(0).at(0);
  service.engine.emit(call, 1);
  const auto id = id_of(next_text(slow));
  slow.send_text(R"({"type":"response.create","model":"letters","input":"hi","stream_id":"b"})");
  const auto plain = service.engine.ids(1).at(0);
  for (int i = 0; i < 3000; ++i) service.engine.emit(call, 1, std::nullopt, long_word);
  service.engine.emit(call, 0, FinishReason::stop);
  CHECK(service.engine.wait_for_cancel(plain));  // the connection has been cut off
  auto client = service.connect();
  REQUIRE(client.upgrade() == 101);
  // Once a later response is through, so is all of the burst: what still came while the log is
  // replayed could be too much for this connection as well.
  client.send_text(create());
  service.engine.emit(service.engine.ids(2).at(0), 1, FinishReason::stop);
  read_to_end(client);
  client.send_text(resume(id, -1));
  const auto events = read_to_end(client);
  check_numbers(events, 0);
  CHECK(text_of(events) == "a" + std::string(3000 * 1000, 'L'));
  CHECK_FALSE(service.engine.is_cancelled(call));
}

TEST_CASE("draining gives up responses without a connection") {
  Service service;
  const auto call = leave_one_behind(service).call;
  service.server->begin_drain();
  CHECK(service.engine.wait_for_cancel(call));
}

TEST_CASE("a response is its tenant's: another key does not find it") {
  TemporaryFolder folder;
  const auto file = folder.path() / "keys";
  const std::string one = "sk-0123456789abcdef", two = "sk-fedcba9876543210";
  std::ofstream(file) << one << '\n' << two << '\n';
  net::ServerOptions options;
  options.api_key_file = file;
  Service service(options);
  service.engine.answer_at_once(1);
  auto mine = service.connect(), other = service.connect();
  REQUIRE(mine.upgrade("Authorization: Bearer " + one + "\r\n") == 101);
  REQUIRE(other.upgrade("Authorization: Bearer " + two + "\r\n") == 101);
  mine.send_text(create());
  const auto events = read_to_end(mine);
  other.send_text(resume(id_of(events.front()), 0));
  CHECK(error_code_of(other) == "response_not_found");
  mine.send_text(resume(id_of(events.front()), 0));
  CHECK(read_to_end(mine).back() == events.back());
}

TEST_CASE("resumable is refused where nothing can be resumed") {
  net::ServerOptions options;
  options.resume_window = milliseconds(0);
  Service service(options);
  auto client = service.connect();
  REQUIRE(client.upgrade() == 101);
  client.send_text(create());
  const auto event = json::parse(next_text(client));
  CHECK(event.at("error").at("param") == "resumable");
  const auto reply =
      service.ask(post("/v1/responses", R"({"model":"letters","input":"hi","resumable":true})"));
  CHECK(reply.status == 400);
  CHECK(json::parse(reply.body).at("error").at("param") == "resumable");
}

}  // namespace tandem::tests
