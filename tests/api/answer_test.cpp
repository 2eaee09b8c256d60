// Answers that reason and call tools, from their tokens to the fields of the API: in one piece, in
// chunks, and as events.
#include "api/choice_stream.hpp"
#include "api/format.hpp"
#include "api/responses_events.hpp"
#include "tests/api/openapi.hpp"
#include "tests/api/support.hpp"

using namespace tandem;
using namespace tandem::api;
using namespace tandem::api::testing;
namespace json = boost::json;
using Kind = model::AnswerPart::Kind;

namespace {

/// A tokenizer of the tokens that a test needs; those in angle brackets are special.
class MarkerTokenizer final : public model::Tokenizer {
 public:
  explicit MarkerTokenizer(std::vector<std::string> tokens) : tokens_(std::move(tokens)) {}
  [[nodiscard]] std::vector<TokenId> encode(std::string_view, bool, bool) const override {
    return {};
  }
  [[nodiscard]] std::string_view token_text(TokenId id) const override {
    return tokens_.at(static_cast<std::size_t>(id));
  }
  [[nodiscard]] std::string_view token_bytes(TokenId id) const override {
    return is_special(id) ? std::string_view() : token_text(id);
  }
  [[nodiscard]] bool is_special(TokenId id) const override {
    return token_text(id).starts_with('<') && token_text(id).ends_with('>');
  }
  [[nodiscard]] std::optional<TokenId> find(std::string_view content) const override {
    const auto found = std::find(tokens_.begin(), tokens_.end(), content);
    if (found == tokens_.end()) return std::nullopt;
    return static_cast<TokenId>(found - tokens_.begin());
  }
  [[nodiscard]] std::size_t vocab_size() const override { return tokens_.size(); }

 private:
  std::vector<std::string> tokens_;
};

using Pieces = std::vector<std::string>;

constexpr model::AnswerFormat qwen3{.tools = model::ToolFormat::hermes,
                                    .reasoning = model::ReasoningFormat::qwen3};

GenerateCall call_for(Endpoint endpoint, bool with_tools = true) {
  GenerateCall call;
  call.endpoint = endpoint;
  call.model = "demo";
  call.service_tier = "default";
  call.prompts = {std::vector<ChatMessage>{{"user", "Hi"}}};
  if (with_tools) call.tools = {{"now", "the time", R"({"type":"object"})"}};
  return call;
}

/// What became of an answer, token by token.
struct Streamed {
  std::vector<Delta> deltas;
  model::AnswerParts parts;
  Usage usage;
  bool cancelled_early = false;
  CallCollector collector;
};

/// The last token ends the answer: an end-of-text token, unless `finish` says otherwise.
Streamed stream(const GenerateCall& call, const Pieces& tokens, const model::AnswerFormat& format,
                PromptEnd end = PromptEnd::plain, FinishReason finish = FinishReason::stop) {
  const auto tokenizer = std::make_shared<MarkerTokenizer>(tokens);
  const AnswerSource source{tokenizer, format};
  Streamed result{.deltas = {},
                  .parts = {},
                  .usage = {},
                  .collector = CallCollector(call, {{RequestId(1), Tokens(3), end}}, source)};
  ChoiceStream choice(call, source, end);
  for (std::size_t i = 0; i < tokens.size() && !choice.ended(); ++i) {
    const bool last = i + 1 == tokens.size();
    const auto event =
        token_event(1, *tokenizer->find(tokens[i]), last ? std::optional(finish) : std::nullopt);
    result.collector.push(event);
    result.deltas.push_back(choice.push(event));
    append(result.parts, result.deltas.back().parts);
  }
  result.cancelled_early = choice.wants_cancel();
  result.usage = result.collector.usage();
  return result;
}

/// Without what is random.
model::AnswerParts without_ids(model::AnswerParts parts) {
  for (auto& part : parts) part.id.clear();
  return parts;
}

const Pieces reasoned_call{"<think>",
                           "\n",
                           "Hm",
                           ".\n",
                           "</think>",
                           "\n\n",
                           "So",
                           ".",
                           "\n",
                           "<tool_call>",
                           "\n{\"na",
                           "me\": \"now\", \"argu",
                           "ments\": {\"z\": ",
                           "\"é\"}",
                           "}",
                           "\n",
                           "</tool_call>",
                           "<|im_end|>"};

const model::AnswerParts reasoned_parts{
    {.kind = Kind::reasoning, .text = "Hm."},
    {.kind = Kind::content, .text = "So."},
    {.kind = Kind::call, .text = "{\"z\": \"é\"}", .name = "now"}};

std::vector<json::object> chunks_of(const GenerateCall& call, const std::vector<Delta>& deltas) {
  const auto head = new_reply_head(call, 7, "");
  std::vector<json::object> chunks;
  for (const auto& delta : deltas) {
    const bool first = chunks.empty();
    if (!first && delta.says_nothing()) continue;
    const auto text = stream_chunk(head, call, 0, delta, first);
    CHECK(problems("CreateChatCompletionStreamResponse", text) == "");
    chunks.push_back(object_of(text));
  }
  return chunks;
}

/// As clients put chunks together: texts are joined, calls by their index.
json::object joined(const std::vector<json::object>& chunks) {
  json::object message{{"content", ""}, {"reasoning_content", ""}};
  json::array calls;
  const auto add = [](json::object& object, const char* name, const json::value* text) {
    if (text && text->is_string())
      object[name] = std::string(object[name].as_string()) + std::string(text->as_string());
  };
  for (const auto& chunk : chunks) {
    const auto& delta = chunk.at("choices").at(0).at("delta").as_object();
    add(message, "content", delta.if_contains("content"));
    add(message, "reasoning_content", delta.if_contains("reasoning_content"));
    const auto* list = delta.if_contains("tool_calls");
    if (!list) continue;
    for (const auto& part : list->as_array()) {
      const auto index = static_cast<std::size_t>(part.at("index").as_int64());
      if (index == calls.size()) {
        CHECK(part.at("function").as_object().contains("name"));
        calls.push_back(
            {{"id", part.at("id")},
             {"type", part.at("type")},
             {"function", {{"name", part.at("function").at("name")}, {"arguments", ""}}}});
      } else {
        CHECK_FALSE(part.as_object().contains("id"));
      }
      add(calls.at(index).at("function").as_object(), "arguments",
          part.at("function").as_object().if_contains("arguments"));
    }
  }
  message["tool_calls"] = calls;
  return message;
}

}  // namespace

TEST_CASE("an answer's reasoning, content and calls are told apart, token by token") {
  const auto result = stream(call_for(Endpoint::chat_completions), reasoned_call, qwen3);
  CHECK(without_ids(result.parts) == reasoned_parts);
  CHECK(result.parts.back().id.starts_with("call_"));
  CHECK(result.deltas.back().finish == FinishReason::stop);
  CHECK(result.deltas.back().called_tools);
  CHECK(result.usage.completion == Tokens(18));
  CHECK(result.usage.reasoning == Tokens(5));
  CHECK_FALSE(result.cancelled_early);
  // As early as can be: the name with the first of the arguments, then as they come.
  CHECK(without_ids(result.deltas[2].parts) ==
        model::AnswerParts{{.kind = Kind::reasoning, .text = "Hm"}});
  CHECK(result.deltas[12].parts.at(0).name == "now");
  CHECK(result.deltas[12].parts.at(0).text == "{\"z\": ");
  CHECK(result.deltas[13].parts.at(0).text == "\"é\"}");
}

TEST_CASE("markers are looked for where they mean something") {
  auto call = call_for(Endpoint::chat_completions);
  const auto content = [&](const model::AnswerFormat& format) {
    const auto result = stream(call, reasoned_call, format);
    for (const auto& part : result.parts) CHECK(part.kind != Kind::call);
    CHECK_FALSE(result.deltas.back().called_tools);
    return content_of(result.parts);
  };
  // Special tokens are hidden unless something looks for them.
  const std::string json = "\n{\"name\": \"now\", \"arguments\": {\"z\": \"é\"}}\n";
  call.hide_tools = true;
  CHECK(content(qwen3) == "So.\n" + json);
  call.hide_tools = false;
  call.tools.clear();
  CHECK(content(qwen3) == "So.\n" + json);
  CHECK(content({.tools = model::ToolFormat::none}) == "\nHm.\n\n\nSo.\n" + json);
  call = call_for(Endpoint::completions);
  CHECK(content(qwen3) == "\nHm.\n\n\nSo.\n" + json);
}

TEST_CASE("an answer may begin inside of its reasoning") {
  const auto call = call_for(Endpoint::chat_completions, false);
  const auto result = stream(call, {"Hm", ".", "</think>", "Yes", "<|im_end|>"}, qwen3,
                             PromptEnd::reasoning_opened);
  CHECK(result.parts == model::AnswerParts{{.kind = Kind::reasoning, .text = "Hm."},
                                           {.kind = Kind::content, .text = "Yes"}});
  CHECK(result.usage.reasoning == Tokens(3));
}

TEST_CASE("reasoning tokens are counted however text is held back") {
  auto call = call_for(Endpoint::chat_completions, false);
  const auto count = [&](const Pieces& tokens, FinishReason finish = FinishReason::stop) {
    return stream(call, tokens, qwen3, PromptEnd::plain, finish).usage.reasoning.value();
  };
  CHECK(count({"Hi", "<|im_end|>"}) == 0);
  CHECK(count({"<th", "ink", ">", "a", "</", "think", ">", "b", "<|im_end|>"}) == 7);
  CHECK(count({"<th", "is", "<|im_end|>"}) == 0);
  CHECK(count({"<think>a", "b</think>c", "d", "<|im_end|>"}) == 2);
  CHECK(count({"<think>", "\xe2", "\x82\xac", "</think>", "\xe2", "\x82\xac", "<|im_end|>"}) == 4);
  CHECK(count({"<think>", "a", "<|im_end|>"}) == 2);
  CHECK(count({"<think>", "a", "b"}, FinishReason::length) == 3);
  // Text that may be the beginning of a stop string reaches the parser late.
  call.stop = {">\n#", "</think>\n\n#", "aX"};
  CHECK(count({"<think>", "a", "</think>", "\n", "\n", "b", "<|im_end|>"}) == 3);
  CHECK(count({"<think>", "a", "X", "c"}) == 3);
}

TEST_CASE("a stop string ends an answer inside of a call") {
  auto call = call_for(Endpoint::chat_completions);
  call.stop = {"STOP"};
  const auto result = stream(
      call, {"<tool_call>", "{\"name\": \"now\", \"arguments\": {\"a\": \"", "x STOP y", "z"},
      {.tools = model::ToolFormat::hermes});
  CHECK(result.parts.at(0).text == "{\"a\": \"x ");
  CHECK(result.deltas.back().finish == FinishReason::stop);
  CHECK(result.cancelled_early);
}

TEST_CASE("without parallel calls an answer ends behind the first one") {
  auto call = call_for(Endpoint::chat_completions);
  call.parallel_tool_calls = false;
  const Pieces tokens{"<tool_call>", "{\"name\": \"now\"", "}\n", "</tool_call>", "more"};
  const auto result = stream(call, tokens, {.tools = model::ToolFormat::hermes}, PromptEnd::plain,
                             FinishReason::length);
  CHECK(without_ids(result.parts) ==
        model::AnswerParts{{.kind = Kind::call, .text = "{}", .name = "now"}});
  CHECK(result.deltas.size() == 3);
  CHECK(result.deltas.back().finish == FinishReason::stop);
  CHECK(result.deltas.back().called_tools);
  CHECK(result.cancelled_early);
  CHECK(result.usage.completion == Tokens(3));
}

TEST_CASE("a chat reply has reasoning, content and calls in their fields") {
  const auto call = call_for(Endpoint::chat_completions);
  const auto result = stream(call, reasoned_call, qwen3);
  REQUIRE(result.collector.done());
  const auto text = reply_body(new_reply_head(call, 1, ""), result.collector);
  CHECK(problems("CreateChatCompletionResponse", text) == "");
  const auto body = object_of(text);
  const auto& choice = body.at("choices").at(0);
  CHECK(choice.at("finish_reason") == "tool_calls");
  const auto& message = choice.at("message").as_object();
  CHECK(message.at("content") == "So.");
  CHECK(message.at("reasoning_content") == "Hm.");
  REQUIRE(message.at("tool_calls").as_array().size() == 1);
  const auto& first = message.at("tool_calls").at(0).as_object();
  CHECK(first.at("id").as_string().starts_with("call_"));
  CHECK(first.at("type") == "function");
  CHECK(first.at("function") == json::value({{"name", "now"}, {"arguments", "{\"z\": \"é\"}"}}));
  CHECK(body.at("usage").at("completion_tokens") == 18);
  CHECK(body.at("usage").at("completion_tokens_details").at("reasoning_tokens") == 5);
}

TEST_CASE("a reply that only calls has null for content, and one that does not call has no calls") {
  const auto call = call_for(Endpoint::chat_completions);
  const auto message = [&](const Pieces& tokens) {
    const auto result = stream(call, tokens, qwen3);
    return object_of(reply_body(new_reply_head(call, 1, ""), result.collector))
        .at("choices")
        .at(0)
        .at("message")
        .as_object();
  };
  const auto called = message({"<tool_call>", "{\"name\":\"now\"}", "<|im_end|>"});
  CHECK(called.at("content").is_null());
  CHECK_FALSE(called.contains("reasoning_content"));
  const auto said = message({"Hi", "<|im_end|>"});
  CHECK(said.at("content") == "Hi");
  CHECK_FALSE(said.contains("tool_calls"));
  CHECK(message({"<|im_end|>"}).at("content") == "");
}

TEST_CASE("an answer that is cut off in a call ends by its length") {
  const auto call = call_for(Endpoint::chat_completions);
  const auto result = stream(call, {"<tool_call>", "{\"name\":\"now\",\"arguments\":{\"a"}, qwen3,
                             PromptEnd::plain, FinishReason::length);
  const auto body = object_of(reply_body(new_reply_head(call, 1, ""), result.collector));
  CHECK(body.at("choices").at(0).at("finish_reason") == "length");
  CHECK(body.at("choices").at(0).at("message").at("tool_calls").at(0).at("function") ==
        json::value({{"name", "now"}, {"arguments", "{\"a"}}));
}

TEST_CASE("chunks of a chat add up to its reply") {
  const auto call = call_for(Endpoint::chat_completions);
  auto result = stream(call, reasoned_call, qwen3);
  const auto chunks = chunks_of(call, result.deltas);
  CHECK(chunks.front().at("choices").at(0).at("delta").at("role") == "assistant");
  CHECK(chunks.back().at("choices").at(0).at("finish_reason") == "tool_calls");
  auto message = joined(chunks);
  CHECK(message.at("content") == "So.");
  CHECK(message.at("reasoning_content") == "Hm.");
  CHECK(message.at("tool_calls").at(0).at("function") ==
        json::value({{"name", "now"}, {"arguments", "{\"z\": \"é\"}"}}));
  // Merged for a slow reader they add up to the same.
  Delta all = result.deltas.front();
  for (std::size_t i = 1; i < result.deltas.size(); ++i) join(all, result.deltas[i]);
  CHECK(all.called_tools);
  CHECK(joined(chunks_of(call, {all})) == message);
}

TEST_CASE("a first chunk that calls has null for content") {
  const auto call = call_for(Endpoint::chat_completions);
  const auto result = stream(call, {"<tool_call>{\"name\":\"now\"}", "<|im_end|>"}, qwen3);
  Delta all = result.deltas[0];
  join(all, result.deltas[1]);
  const auto chunk = chunks_of(call, {all}).at(0);
  CHECK(chunk.at("choices").at(0).at("delta").at("content").is_null());
}

namespace {

struct Events {
  std::vector<json::object> all;
  json::object final;
};

Events events_of(const GenerateCall& call, const Streamed& result,
                 FinishReason finish = FinishReason::stop) {
  ResponseEvents events(call, "lane", 1700000000);
  Events said;
  const auto keep = [&](const std::vector<std::string>& texts) {
    for (const auto& text : texts) said.all.push_back(object_of(text));
  };
  keep(events.opening(false));
  for (const auto& delta : result.deltas) keep(events.add(delta.parts, delta.logprobs));
  keep(events.closing(finish, result.usage, nullptr));
  for (std::size_t i = 0; i < said.all.size(); ++i) {
    const std::string type(said.all[i].at("type").as_string());
    INFO(type);
    CHECK(missing_keys(type, said.all[i]).empty());
    CHECK(said.all[i].at("sequence_number") == i);
    CHECK(said.all[i].at("stream_id") == "lane");
  }
  said.final = object_of(events.final_object());
  return said;
}

std::vector<std::string> types(const Events& events) {
  std::vector<std::string> names;
  for (const auto& event : events.all) {
    std::string name(event.at("type").as_string());
    name.erase(0, std::string_view("response.").size());
    if (names.empty() || names.back() != name) names.push_back(std::move(name));
  }
  return names;
}

}  // namespace

TEST_CASE("a response's output is a list of reasoning, messages and calls") {
  const auto call = call_for(Endpoint::responses);
  const auto events = events_of(call, stream(call, reasoned_call, qwen3));
  CHECK(types(events) ==
        std::vector<std::string>{"created", "in_progress",
                                 // reasoning
                                 "output_item.added", "content_part.added", "reasoning_text.delta",
                                 "reasoning_text.done", "content_part.done", "output_item.done",
                                 // message
                                 "output_item.added", "content_part.added", "output_text.delta",
                                 "output_text.done", "content_part.done", "output_item.done",
                                 // call
                                 "output_item.added", "function_call_arguments.delta",
                                 "function_call_arguments.done", "output_item.done", "completed"});
  const auto& output = events.final.at("output").as_array();
  REQUIRE(output.size() == 3);
  const auto& thought = output[0].as_object();
  CHECK(missing_keys("ReasoningItem", thought).empty());
  CHECK(thought.at("id").as_string().starts_with("rs_"));
  CHECK(thought.at("content") == json::value({{{"type", "reasoning_text"}, {"text", "Hm."}}}));
  CHECK(thought.at("summary").as_array().empty());
  const auto& message = output[1].as_object();
  CHECK(missing_keys("OutputMessage", message).empty());
  CHECK(message.at("content").at(0).at("text") == "So.");
  const auto& called = output[2].as_object();
  CHECK(missing_keys("FunctionToolCall", called).empty());
  CHECK(called.at("id").as_string().starts_with("fc_"));
  CHECK(called.at("call_id").as_string().starts_with("call_"));
  CHECK(called.at("name") == "now");
  CHECK(called.at("arguments") == "{\"z\": \"é\"}");
  for (const auto& item : output) CHECK(item.at("status") == "completed");
  CHECK(events.final.at("usage").at("output_tokens_details").at("reasoning_tokens") == 5);
}

TEST_CASE("every event of an item names it and its place") {
  const auto call = call_for(Endpoint::responses);
  const Pieces tokens{"a",
                      "<tool_call>",
                      "{\"name\":\"x\",\"arguments\":{",
                      "}}",
                      "</tool_call>",
                      "<tool_call>",
                      "{\"name\":\"y\"}",
                      "</tool_call>",
                      "b",
                      "<|im_end|>"};
  const auto events = events_of(call, stream(call, tokens, qwen3));
  std::string id, arguments;
  std::int64_t place = -1;
  for (const auto& event : events.all) {
    const auto type = event.at("type").as_string();
    if (type == "response.output_item.added") {
      CHECK(event.at("output_index") == ++place);
      CHECK(event.at("item").at("status") == "in_progress");
      id = event.at("item").at("id").as_string();
      arguments.clear();
      if (const auto* begun = event.at("item").as_object().if_contains("arguments"))
        CHECK(*begun == "");
    }
    if (place < 0 || !event.contains("output_index")) continue;
    CHECK(event.at("output_index") == place);
    if (event.contains("item_id")) CHECK(event.at("item_id") == json::value(id));
    if (type == "response.function_call_arguments.delta")
      arguments += event.at("delta").as_string();
    if (type == "response.function_call_arguments.done")
      CHECK(event.at("arguments") == json::value(arguments));
  }
  CHECK(place == 3);
  CHECK(events.final.at("output").at(1).at("arguments") == "{}");
  CHECK(events.final.at("output").at(2).at("name") == "y");
  CHECK(events.final.at("output").at(3).at("content").at(0).at("text") == "b");
}

TEST_CASE("what was not finished is incomplete, and what came before it is not") {
  const auto call = call_for(Endpoint::responses);
  const auto result = stream(call, {"a", "<tool_call>", "{\"name\":\"x\",\"arguments\":{\"k"},
                             qwen3, PromptEnd::plain, FinishReason::length);
  const auto events = events_of(call, result, FinishReason::length);
  CHECK(events.final.at("status") == "incomplete");
  CHECK(events.final.at("output").at(0).at("status") == "completed");
  CHECK(events.final.at("output").at(1).at("status") == "incomplete");
  CHECK(events.final.at("output").at(1).at("arguments") == "{\"k");
}

TEST_CASE("a response that says nothing has a message without text") {
  const auto call = call_for(Endpoint::responses, false);
  const auto events = events_of(call, stream(call, {"<|im_end|>"}, qwen3));
  REQUIRE(events.final.at("output").as_array().size() == 1);
  CHECK(events.final.at("output").at(0).at("content").at(0).at("text") == "");
}

TEST_CASE("log-probabilities in front of the first text wait for their message") {
  auto call = call_for(Endpoint::responses, false);
  call.sampling.logprobs = 0;
  const auto result =
      stream(call, {"\xe2", "\x82\xac", "b", "<|im_end|>"}, {.tools = model::ToolFormat::none});
  const auto events = events_of(call, result);
  CHECK(events.all.at(2).at("type") == "response.output_item.added");
  CHECK(events.all.at(4).at("logprobs").as_array().size() == 2);
  CHECK(events.final.at("output").at(0).at("content").at(0).at("logprobs").as_array().size() == 3);
  // Those of reasoning are nobody's.
  const auto thought =
      events_of(call, stream(call, {"<think>", "a", "</think>", "b", "<|im_end|>"}, qwen3));
  CHECK(thought.final.at("output").at(1).at("content").at(0).at("logprobs").as_array().size() == 1);
}

TEST_CASE("a response repeats its tools and what may be done with them") {
  auto call = call_for(Endpoint::responses);
  call.parallel_tool_calls = false;
  call.hide_tools = true;
  ResponseEvents events(call, {}, 1);
  const auto response = object_of(events.opening(true).front()).at("response").as_object();
  CHECK(response.at("tools") == json::value({{{"type", "function"},
                                              {"name", "now"},
                                              {"description", "the time"},
                                              {"parameters", {{"type", "object"}}},
                                              {"strict", false}}}));
  CHECK(response.at("tool_choice") == "none");
  CHECK(response.at("parallel_tool_calls") == false);
}
