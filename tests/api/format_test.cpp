// Replies, chunks and objects, held against OpenAI's schemas.
#include "api/format.hpp"

#include <cmath>
#include <limits>
#include <set>

#include "api/logprobs.hpp"
#include "tests/api/openapi.hpp"
#include "tests/api/support.hpp"

using namespace tandem;
using namespace tandem::api;
using namespace tandem::api::testing;
namespace json = boost::json;

namespace {

GenerateCall call_for(Endpoint endpoint) {
  GenerateCall call;
  call.endpoint = endpoint;
  call.model = "demo";
  call.prompts = {std::string("Once")};
  call.service_tier = "default";
  return call;
}

/// Two choices: "Hello" cut at the limit, "world" ended by its end-of-text token.
CallCollector collected(GenerateCall call) {
  call.n = 2;
  CallCollector collector(call, {{RequestId(1), Tokens(3)}, {RequestId(2), Tokens(3)}}, {words()});
  auto first = token_event(1, hello, FinishReason::length);
  first.logprob = -0.5F;
  first.top_logprobs = {{hello, -0.5F}, {euro_begin, -2.0F}, {euro_end, -3.0F}};
  first.cached_tokens = Tokens(2);
  collector.push(first);
  collector.push(token_event(2, world));
  collector.push(token_event(2, end_of_text, FinishReason::stop));
  return collector;
}

Delta text_delta(std::string text, std::optional<FinishReason> finish = {}) {
  Delta delta;
  append_content(delta.parts, std::move(text));
  delta.finish = finish;
  return delta;
}

const json::object& choice_of(const json::object& body, std::size_t index = 0) {
  return body.at("choices").at(index).as_object();
}

}  // namespace

TEST_CASE("a chat reply has every field that clients read") {
  const auto call = call_for(Endpoint::chat_completions);
  const auto head = new_reply_head(call, 1700000000, "");
  const auto text = reply_body(head, collected(call));
  CHECK(problems("CreateChatCompletionResponse", text) == "");
  const auto body = object_of(text);
  CHECK(body.at("id") == json::value(head.id));
  CHECK(head.id.starts_with("chatcmpl-"));
  CHECK(body.at("created") == 1700000000);
  CHECK(body.at("object") == "chat.completion");
  CHECK(body.at("service_tier") == "default");
  CHECK_FALSE(body.contains("system_fingerprint"));
  REQUIRE(body.at("choices").as_array().size() == 2);
  for (std::size_t i = 0; i < 2; ++i) {
    const auto& choice = choice_of(body, i);
    CHECK(missing_keys("chat choice", choice).empty());
    CHECK(missing_keys("ChatCompletionResponseMessage", choice.at("message").as_object()).empty());
    CHECK(choice.at("index") == i);
    CHECK(choice.at("logprobs").is_null());
    CHECK(choice.at("message").at("role") == "assistant");
  }
  CHECK(choice_of(body, 0).at("message").at("content") == "Hello");
  CHECK(choice_of(body, 0).at("finish_reason") == "length");
  CHECK(choice_of(body, 1).at("message").at("content") == "world");
  CHECK(choice_of(body, 1).at("finish_reason") == "stop");
  const auto& usage = body.at("usage").as_object();
  CHECK(missing_keys("CompletionUsage", usage).empty());
  CHECK(usage.at("prompt_tokens") == 3);
  CHECK(usage.at("completion_tokens") == 3);
  CHECK(usage.at("total_tokens") == 6);
  CHECK(usage.at("prompt_tokens_details").at("cached_tokens") == 2);
}

TEST_CASE("chat log-probabilities are lists of tokens with bytes") {
  auto call = call_for(Endpoint::chat_completions);
  call.sampling.logprobs = 3;
  const auto text = reply_body(new_reply_head(call, 1, ""), collected(call));
  CHECK(problems("CreateChatCompletionResponse", text) == "");
  const auto body = object_of(text);
  const auto& content = choice_of(body).at("logprobs").at("content").as_array();
  REQUIRE(content.size() == 1);
  CHECK(missing_keys("ChatCompletionTokenLogprob", content[0].as_object()).empty());
  CHECK(content[0].at("token") == "Hello");
  CHECK(content[0].at("bytes") == json::value({72, 101, 108, 108, 111}));
  CHECK(content[0].at("top_logprobs").at(1).at("bytes") == json::value({0xe2, 0x82}));
}

TEST_CASE("a completion reply, its echo and its log-probabilities") {
  auto call = call_for(Endpoint::completions);
  call.sampling.logprobs = 2;
  auto text = reply_body(new_reply_head(call, 1, ""), collected(call));
  CHECK(problems("CreateCompletionResponse", text) == "");
  auto body = object_of(text);
  CHECK(body.at("object") == "text_completion");
  CHECK(body.at("id").as_string().starts_with("cmpl-"));
  CHECK(missing_keys("completion choice", choice_of(body)).empty());
  CHECK(choice_of(body).at("text") == "Hello");
  const auto& logprobs = choice_of(body).at("logprobs").as_object();
  CHECK(logprobs.at("tokens") == json::value({"Hello"}));
  CHECK(logprobs.at("token_logprobs") == json::value({-0.5}));
  CHECK(logprobs.at("text_offset") == json::value({0}));
  // Parts of characters stay apart by their bytes.
  const auto& top = logprobs.at("top_logprobs").at(0).as_object();
  CHECK(top.size() == 3);
  CHECK(top.at("bytes:\\xe2\\x82") == -2.0);
  CHECK(top.at("bytes:\\xac") == -3.0);

  call.echo = true;
  text = reply_body(new_reply_head(call, 1, ""), collected(call));
  CHECK(choice_of(object_of(text)).at("text") == "OnceHello");
}

TEST_CASE("impossible log-probabilities stay valid JSON") {
  LogprobEntry entry;
  entry.chosen.token = "x";
  for (const float value :
       {-std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN(), -1e30F}) {
    entry.chosen.logprob = value;
    CHECK(logprob_entries({entry}).at(0).at("logprob") == -9999.0);
  }
}

TEST_CASE("chat chunks: the role comes first, the reason last, null in between") {
  const auto call = call_for(Endpoint::chat_completions);
  const auto head = new_reply_head(call, 7, "");
  const auto first = stream_chunk(head, call, 1, text_delta("He"), true);
  const auto next = stream_chunk(head, call, 1, text_delta("llo"), false);
  const auto last = stream_chunk(head, call, 1, text_delta("", FinishReason::stop), false);
  for (const auto& text : {first, next, last}) {
    CHECK(problems("CreateChatCompletionStreamResponse", text) == "");
    const auto chunk = object_of(text);
    CHECK(chunk.at("id") == json::value(head.id));
    CHECK(chunk.at("created") == 7);
    CHECK(chunk.at("object") == "chat.completion.chunk");
    CHECK(missing_keys("chat stream choice", choice_of(chunk)).empty());
    CHECK(choice_of(chunk).at("index") == 1);
    CHECK_FALSE(chunk.contains("usage"));
  }
  CHECK(choice_of(object_of(first)).at("delta") ==
        json::value({{"role", "assistant"}, {"content", "He"}}));
  CHECK(choice_of(object_of(next)).at("delta") == json::value({{"content", "llo"}}));
  CHECK(choice_of(object_of(next)).at("finish_reason").is_null());
  CHECK(choice_of(object_of(last)).at("delta").as_object().empty());
  CHECK(choice_of(object_of(last)).at("finish_reason") == "stop");
}

TEST_CASE("with include_usage every chunk has usage, and only the extra one holds any") {
  for (const auto endpoint : {Endpoint::chat_completions, Endpoint::completions}) {
    auto call = call_for(endpoint);
    call.include_usage = true;
    const auto head = new_reply_head(call, 7, "");
    const auto chunk = object_of(stream_chunk(head, call, 0, text_delta("x"), true));
    CHECK(chunk.at("usage").is_null());
    const auto text = usage_chunk(
        head, call, {.prompt = Tokens(5), .completion = Tokens(2), .cached = Tokens(4)});
    CHECK(problems(endpoint == Endpoint::completions ? "CreateCompletionResponse"
                                                     : "CreateChatCompletionStreamResponse",
                   text) == "");
    const auto last = object_of(text);
    CHECK(last.at("id") == chunk.at("id"));
    CHECK(last.at("choices").as_array().empty());
    CHECK(last.at("usage").at("total_tokens") == 7);
    CHECK(last.at("usage").at("prompt_tokens_details").at("cached_tokens") == 4);
  }
}

TEST_CASE("obfuscated chunks have few sizes") {
  for (const auto endpoint : {Endpoint::chat_completions, Endpoint::completions}) {
    auto call = call_for(endpoint);
    call.include_obfuscation = true;
    const auto head = new_reply_head(call, 7, "");
    std::set<std::size_t> sizes;
    std::set<std::string> paddings;
    for (std::size_t length = 1; length <= 40; ++length) {
      const auto text = stream_chunk(head, call, 0, text_delta(std::string(length, 'x')), false);
      sizes.insert(text.size());
      paddings.emplace(object_of(text).at("obfuscation").as_string());
      if (endpoint == Endpoint::chat_completions)
        CHECK(problems("CreateChatCompletionStreamResponse", text) == "");
    }
    CHECK(sizes.size() <= 2);
    CHECK(paddings.size() > 30);
    CHECK_FALSE(object_of(usage_chunk(head, call, {})).contains("obfuscation"));
    call.include_obfuscation = false;
    CHECK_FALSE(
        object_of(stream_chunk(head, call, 0, text_delta("x"), false)).contains("obfuscation"));
  }
}

TEST_CASE("completion chunks have the shape of completions") {
  auto call = call_for(Endpoint::completions);
  call.sampling.logprobs = 0;
  const auto head = new_reply_head(call, 7, "");
  auto delta = text_delta("He", FinishReason::length);
  delta.logprobs.push_back({.chosen = {"He", "He", -1.0F}, .top = {}, .text_offset = 12});
  const auto text = stream_chunk(head, call, 0, delta, false);
  CHECK(problems("CreateCompletionResponse", text) == "");
  const auto chunk = object_of(text);
  CHECK(choice_of(chunk).at("text") == "He");
  CHECK(choice_of(chunk).at("logprobs").at("text_offset") == json::value({12}));
  const auto quiet = object_of(stream_chunk(head, call, 0, text_delta("x"), false));
  CHECK(missing_keys("completion choice", choice_of(quiet)).empty());
  CHECK(choice_of(quiet).at("logprobs").is_null());
}

TEST_CASE("a fingerprint is sent where there is one") {
  const auto call = call_for(Endpoint::completions);
  const auto head = new_reply_head(call, 7, "fp_1");
  CHECK(object_of(usage_chunk(head, call, {})).at("system_fingerprint") == "fp_1");
}

TEST_CASE("models") {
  CHECK(problems("Model", model_object("demo", 5, 2048)) == "");
  CHECK(problems("ListModelsResponse", model_list("demo", 5, 2048)) == "");
  const auto list = object_of(model_list("demo", 5, 2048));
  CHECK(list.at("data").at(0).at("id") == "demo");
  CHECK(list.at("data").at(0).at("max_model_len") == 2048);
  CHECK(object_of(version_object("1.2.3")).at("version") == "1.2.3");
}

TEST_CASE("files") {
  store::FileInfo file{.id = "file-1",
                       .filename = "in \"quoted\".jsonl",
                       .purpose = "batch",
                       .bytes = 12,
                       .created_at = 100,
                       .expires_at = std::nullopt};
  CHECK(problems("OpenAIFile", file_object(file)) == "");
  CHECK_FALSE(object_of(file_object(file)).contains("expires_at"));
  file.expires_at = 200;
  CHECK(problems("OpenAIFile", file_object(file)) == "");
  CHECK(object_of(file_object(file)).at("expires_at") == 200);
  auto second = file;
  second.id = "file-2";
  const auto list = file_list({file, second}, true);
  CHECK(problems("ListFilesResponse", list) == "");
  CHECK(object_of(list).at("first_id") == "file-1");
  CHECK(object_of(list).at("last_id") == "file-2");
  CHECK(object_of(list).at("has_more") == true);
  CHECK(problems("ListFilesResponse", file_list({}, false)) == "");
  CHECK(problems("DeleteFileResponse", file_deleted("file-1")) == "");
  CHECK(object_of(file_deleted("file-1")).at("deleted") == true);
}

TEST_CASE("a batch says null for what has not happened yet") {
  store::BatchInfo batch;
  batch.id = "batch_1";
  batch.input_file_id = "file-1";
  batch.endpoint = "/v1/completions";
  batch.completion_window = "24h";
  batch.created_at = 100;
  batch.expires_at = 86500;
  const auto fresh = object_of(batch_object(batch));
  CHECK(problems("Batch", batch_object(batch)) == "");
  CHECK(fresh.at("status") == "validating");
  for (const auto* field :
       {"errors", "output_file_id", "error_file_id", "in_progress_at", "finalizing_at",
        "completed_at", "failed_at", "expired_at", "cancelling_at", "cancelled_at"}) {
    INFO(field);
    CHECK(fresh.at(field).is_null());
  }
  CHECK(fresh.at("expires_at") == 86500);
}

TEST_CASE("a batch shows its counts, files, times, usage and errors") {
  store::BatchInfo batch;
  batch.id = "batch_1";
  batch.input_file_id = "file-1";
  batch.output_file_id = "file-2";
  batch.error_file_id = "file-3";
  batch.endpoint = "/v1/completions";
  batch.completion_window = "24h";
  batch.model = "demo";
  batch.metadata = {{"a", "b"}};
  batch.state = store::BatchState::completed;
  batch.errors = {{"invalid_json_line", "bad", "", 3}, {"invalid_file", "worse", "x", {}}};
  batch.total = 5;
  batch.completed = 3;
  batch.failed = 2;
  batch.prompt_tokens = 30;
  batch.cached_tokens = 10;
  batch.completion_tokens = 12;
  batch.reasoning_tokens = 5;
  batch.in_progress_at = 1;
  batch.finalizing_at = 2;
  batch.completed_at = 3;
  const auto text = batch_object(batch);
  CHECK(problems("Batch", text) == "");
  const auto object = object_of(text);
  CHECK(missing_keys("BatchRequestCounts", object.at("request_counts").as_object()).empty());
  CHECK(object.at("request_counts") ==
        json::value({{"total", 5}, {"completed", 3}, {"failed", 2}}));
  CHECK(missing_keys("ResponseUsage", object.at("usage").as_object()).empty());
  CHECK(object.at("usage").at("total_tokens") == 42);
  CHECK(object.at("usage").at("input_tokens_details").at("cached_tokens") == 10);
  CHECK(object.at("usage").at("output_tokens_details").at("reasoning_tokens") == 5);
  CHECK(object.at("errors").at("object") == "list");
  CHECK(object.at("errors").at("data").at(0) ==
        json::value(
            {{"code", "invalid_json_line"}, {"message", "bad"}, {"param", nullptr}, {"line", 3}}));
  CHECK(object.at("errors").at("data").at(1).at("line").is_null());
  CHECK(object.at("metadata").at("a") == "b");
  CHECK(object.at("completed_at") == 3);
  const auto list = batch_list({batch, batch}, false);
  CHECK(problems("ListBatchesResponse", list) == "");
  CHECK(object_of(list).at("has_more") == false);
  CHECK(problems("ListBatchesResponse", batch_list({}, false)) == "");
}

TEST_CASE("every state of a batch has the API's name") {
  using enum store::BatchState;
  const std::pair<store::BatchState, const char*> names[] = {
      {validating, "validating"}, {failed, "failed"},       {in_progress, "in_progress"},
      {finalizing, "finalizing"}, {completed, "completed"}, {expired, "expired"},
      {cancelling, "cancelling"}, {cancelled, "cancelled"}};
  for (const auto& [state, name] : names) {
    store::BatchInfo batch;
    batch.state = state;
    CHECK(object_of(batch_object(batch)).at("status") == json::value(name));
    CHECK(problems("Batch", batch_object(batch)) == "");
  }
}
