// The event sequence of one response.
#include "api/responses_events.hpp"

#include <set>

#include "tests/api/openapi.hpp"
#include "tests/api/support.hpp"

using namespace tandem;
using namespace tandem::api;
using namespace tandem::api::testing;
namespace json = boost::json;

namespace {

GenerateCall response_call() {
  GenerateCall call;
  call.endpoint = Endpoint::responses;
  call.model = "demo";
  call.service_tier = "default";
  call.sampling.temperature = 0.7F;
  call.max_tokens = Tokens(9);
  return call;
}

model::AnswerPart content(std::string text) {
  return {.kind = model::AnswerPart::Kind::content, .text = std::move(text)};
}

const Usage some_usage{.prompt = Tokens(5), .completion = Tokens(3), .cached = Tokens(4)};

/// All events of a response that says "Hello" and ends with `finish`.
std::vector<json::object> run(ResponseEvents& events, FinishReason finish,
                              const Error* reason = nullptr) {
  std::vector<json::object> all;
  for (const auto& text : events.opening(true)) all.push_back(object_of(text));
  for (const auto* piece : {"Hel", "lo"})
    for (const auto& text : events.add({content(piece)}, {})) all.push_back(object_of(text));
  for (const auto& text : events.closing(finish, some_usage, reason))
    all.push_back(object_of(text));
  return all;
}

std::vector<std::string> types(const std::vector<json::object>& events) {
  std::vector<std::string> names;
  for (const auto& event : events) names.emplace_back(event.at("type").as_string());
  return names;
}

}  // namespace

TEST_CASE("a response that generates nothing has no output") {
  auto call = response_call();
  call.prefill_only = true;
  ResponseEvents events(call, {}, 7);
  std::vector<json::object> all;
  for (const auto& text : events.opening(true)) all.push_back(object_of(text));
  const Usage usage{.prompt = Tokens(5), .cached = Tokens(4)};
  for (const auto& text : events.closing(FinishReason::stop, usage, nullptr))
    all.push_back(object_of(text));
  CHECK(types(all) ==
        std::vector<std::string>{"response.created", "response.in_progress", "response.completed"});
  const auto& response = all.back().at("response").as_object();
  CHECK(response.at("status") == "completed");
  CHECK(response.at("output").as_array().empty());
  CHECK(response.at("usage").at("output_tokens") == 0);
}

TEST_CASE("obfuscated deltas have few sizes") {
  auto call = response_call();
  call.include_obfuscation = true;
  ResponseEvents events(call, {}, 7);
  events.opening(true);
  std::set<std::size_t> sizes;
  for (std::size_t length = 1; length <= 40; ++length) {
    const auto texts = events.add({content(std::string(length, 'x'))}, {});
    REQUIRE(texts.size() == 1);
    const auto delta = object_of(texts[0]);
    CHECK(delta.at("delta").as_string() == std::string(length, 'x'));
    CHECK(delta.at("obfuscation").is_string());
    // The numbers of events grow by a digit.
    const auto digits = std::to_string(delta.at("sequence_number").as_int64()).size();
    sizes.insert(texts[0].size() - digits);
  }
  CHECK(sizes.size() <= 2);
  for (const auto& text : events.closing(FinishReason::stop, some_usage, nullptr))
    CHECK_FALSE(object_of(text).contains("obfuscation"));
  ResponseEvents plain(response_call(), {}, 7);
  plain.opening(true);
  CHECK_FALSE(object_of(plain.add({content("x")}, {})[0]).contains("obfuscation"));
}

TEST_CASE("a response opens, streams, closes, and ends once") {
  ResponseEvents events(response_call(), "lane", 1700000000);
  const auto all = run(events, FinishReason::stop);
  CHECK(types(all) ==
        std::vector<std::string>{"response.created", "response.in_progress",
                                 "response.output_item.added", "response.content_part.added",
                                 "response.output_text.delta", "response.output_text.delta",
                                 "response.output_text.done", "response.content_part.done",
                                 "response.output_item.done", "response.completed"});
  for (std::size_t i = 0; i < all.size(); ++i) {
    const std::string type(all[i].at("type").as_string());
    INFO(type);
    CHECK(missing_keys(type, all[i]).empty());
    CHECK(all[i].at("sequence_number") == i);
    CHECK(all[i].at("stream_id") == "lane");
    if (const auto* response = all[i].if_contains("response")) {
      CHECK(missing_keys("Response", response->as_object()).empty());
      CHECK(response->at("id") == json::value(events.id()));
    }
  }
  CHECK(events.id().starts_with("resp_"));
}

TEST_CASE("parts and items grow from empty to whole") {
  ResponseEvents events(response_call(), {}, 1);
  const auto all = run(events, FinishReason::stop);
  for (const auto& event : all) CHECK_FALSE(event.contains("stream_id"));
  CHECK(all[0].at("response").at("status") == "in_progress");
  CHECK(all[0].at("response").at("output").as_array().empty());
  CHECK(all[0].at("response").at("usage").is_null());
  CHECK(all[2].at("item").at("status") == "in_progress");
  CHECK(all[2].at("item").at("content").as_array().empty());
  CHECK(missing_keys("OutputMessage", all[2].at("item").as_object()).empty());
  CHECK(all[3].at("part").at("text") == "");
  CHECK(all[4].at("delta") == "Hel");
  CHECK(all[6].at("text") == "Hello");
  CHECK(all[7].at("part").at("text") == "Hello");
  CHECK(missing_keys("OutputTextContent", all[7].at("part").as_object()).empty());
  CHECK(all[8].at("item").at("status") == "completed");
  for (const auto i : {3U, 4U, 5U, 6U, 7U})
    CHECK(all[i].at("item_id") == all[2].at("item").at("id"));
  const auto& last = all[9].at("response").as_object();
  CHECK(last.at("status") == "completed");
  CHECK(last.at("error").is_null());
  CHECK(last.at("incomplete_details").is_null());
  CHECK(last.at("output").at(0).at("content").at(0).at("text") == "Hello");
  CHECK(missing_keys("ResponseUsage", last.at("usage").as_object()).empty());
  CHECK(last.at("usage").at("total_tokens") == 8);
  CHECK(last.at("usage").at("input_tokens_details").at("cached_tokens") == 4);
  CHECK(last.at("usage").at("output_tokens_details").at("reasoning_tokens") == 0);
  CHECK(object_of(events.final_object()) == last);
}

TEST_CASE("each end has its event, status and details") {
  struct Row {
    FinishReason finish;
    const char *type, *status, *item_status;
  };
  for (const auto& row :
       {Row{FinishReason::length, "response.incomplete", "incomplete", "incomplete"},
        Row{FinishReason::cancelled, "response.incomplete", "cancelled", "incomplete"},
        Row{FinishReason::failed, "response.failed", "failed", "incomplete"}}) {
    ResponseEvents events(response_call(), {}, 1);
    const auto reason = error(Errc::device_failed, "the device \xff was lost");
    const auto all = run(events, row.finish, &reason);
    const auto& last = all.back();
    CHECK(last.at("type") == json::value(row.type));
    CHECK(missing_keys(row.type, last).empty());
    CHECK(last.at("response").at("status") == json::value(row.status));
    CHECK(last.at("response").at("output").at(0).at("status") == json::value(row.item_status));
    CHECK(last.at("response").at("usage").at("output_tokens") == 3);
    CHECK(last.at("response").at("error").is_object() == (row.finish == FinishReason::failed));
    CHECK(last.at("response").at("incomplete_details").is_object() ==
          (row.finish == FinishReason::length));
    if (row.finish == FinishReason::length)
      CHECK(last.at("response").at("incomplete_details").at("reason") == "max_output_tokens");
    if (row.finish == FinishReason::failed)
      CHECK(last.at("response").at("error").at("code") == "server_error");
  }
}

TEST_CASE("a failure without a reason still has an error") {
  ResponseEvents events(response_call(), {}, 1);
  const auto all = run(events, FinishReason::failed);
  CHECK(all.back().at("response").at("error").at("message").as_string().size() > 0);
}

TEST_CASE("the response repeats what was asked for") {
  auto call = response_call();
  call.sampling.top_p = 0.1F;
  const ResponseEcho echo{.instructions = "Be brief.",
                          .metadata = {{"a", "b"}},
                          .user = "u",
                          .safety_identifier = {},
                          .prompt_cache_key = {}};
  ResponseEvents events(call, {}, 1700000000, echo);
  const auto response = object_of(events.opening(true).front()).at("response").as_object();
  CHECK(response.at("object") == "response");
  CHECK(response.at("created_at") == 1700000000);
  CHECK(response.at("model") == "demo");
  CHECK(response.at("temperature") == 0.7);  // as sent, not as a float holds it
  CHECK(response.at("top_p") == 0.1);
  CHECK(response.at("max_output_tokens") == 9);
  CHECK(response.at("instructions") == "Be brief.");
  CHECK(response.at("metadata") == json::value({{"a", "b"}}));
  CHECK(response.at("user") == "u");
  CHECK(response.at("safety_identifier").is_null());
  CHECK(response.at("service_tier") == "default");
  CHECK(response.at("text").at("format").at("type") == "text");
  CHECK(response.at("tools").as_array().empty());

  ResponseEvents plain(GenerateCall{}, {}, 1);
  const auto other = object_of(plain.opening(true).front()).at("response").as_object();
  CHECK(other.at("instructions").is_null());
  CHECK(other.at("metadata").as_object().empty());
  CHECK(other.at("max_output_tokens").is_null());
}

TEST_CASE("log-probabilities come with their delta and again in the end") {
  ResponseEvents events(response_call(), {}, 1);
  events.opening(true);
  LogprobEntry entry;
  entry.chosen = {"Hi", "Hi", -0.5F};
  entry.top = {{"Ho", "Ho", -1.0F}};
  const auto begun = events.add({content("Hi")}, {entry, entry});
  const auto delta = object_of(begun.back());
  REQUIRE(delta.at("logprobs").as_array().size() == 2);
  const auto& first = delta.at("logprobs").at(0).as_object();
  CHECK(missing_keys("ChatCompletionTokenLogprob", first).empty());
  CHECK(first.at("top_logprobs").at(0).at("token") == "Ho");
  events.add({content("!")}, {entry});
  const auto closing = events.closing(FinishReason::stop, some_usage, nullptr);
  CHECK(object_of(closing.front()).at("logprobs").as_array().size() == 3);
  CHECK(object_of(events.final_object())
            .at("output")
            .at(0)
            .at("content")
            .at(0)
            .at("logprobs")
            .as_array()
            .size() == 3);
}

TEST_CASE("two responses have different ids, of the response and of its message") {
  ResponseEvents one(response_call(), {}, 1), two(response_call(), {}, 1);
  CHECK(one.id() != two.id());
  CHECK(object_of(one.opening(true)[2]).at("item").at("id") !=
        object_of(two.opening(true)[2]).at("item").at("id"));
}
