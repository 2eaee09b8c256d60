// Fields of calls: what arrives, what is refused, and at which number a range ends.
#include <limits>

#include "tests/api/support.hpp"

using namespace tandem;
using namespace tandem::api;
using namespace tandem::api::testing;
using Catch::Matchers::Contains;

namespace {

constexpr auto completions = Endpoint::completions;
constexpr auto chat = Endpoint::chat_completions;
constexpr auto responses = Endpoint::responses;

/// A field with JSON texts of its extreme allowed values and of values just outside.
struct Range {
  std::vector<Endpoint> endpoints;
  const char* field;
  std::vector<const char*> allowed, refused;
  const char* bounds;  ///< stands in the message
};

const std::vector<Endpoint> everywhere{completions, chat, responses};

const std::vector<Range> ranges{
    {everywhere,
     "temperature",
     {"0", "2", "2.0", "1e-9"},
     {"-0.001", "2.001", "-1"},
     "from 0 to 2"},
    {everywhere, "top_p", {"0", "1", "0.5"}, {"-0.001", "1.001"}, "from 0 to 1"},
    {everywhere, "min_p", {"0", "1"}, {"-0.001", "1.001"}, "from 0 to 1"},
    {everywhere, "presence_penalty", {"-2", "2"}, {"-2.001", "2.001"}, "from -2 to 2"},
    {everywhere, "frequency_penalty", {"-2", "2"}, {"-2.001", "2.001"}, "from -2 to 2"},
    {everywhere, "repetition_penalty", {"0.01", "10"}, {"0.009", "0", "10.001"}, "from 0.01 to 10"},
    {everywhere,
     "top_k",
     {"-1", "0", "16777216"},
     {"-2", "16777217", "1.5"},
     "from -1 to 16777216"},
    {everywhere,
     "seed",
     {"-9223372036854775808", "9223372036854775807", "0", "3.0"},
     {"-9223372036854775809", "9223372036854775808", "1e300", "0.5"},
     "from -9223372036854775808 to 9223372036854775807"},
    {{completions, chat}, "n", {"1", "4", "2.0"}, {"0", "5", "-1", "2.5"}, "from 1 to 4"},
    {{completions, chat}, "max_tokens", {"1", "2147483648"}, {"0", "2147483649"}, "from 1 to"},
    {{completions, chat},
     "max_completion_tokens",
     {"1", "2147483648"},
     {"0", "-5", "2147483649"},
     "from 1 to 2147483648"},
    {{responses}, "max_output_tokens", {"1", "2147483648"}, {"0", "2147483649"}, "from 1 to"},
    {{responses}, "top_logprobs", {"0", "20"}, {"-1", "21"}, "from 0 to 20"},
    {{completions}, "logprobs", {"0", "5"}, {"-1", "6"}, "from 0 to 5"},
};

}  // namespace

TEST_CASE("a number at its bound is allowed, one beyond it names field, value and bounds") {
  for (const auto& range : ranges)
    for (const auto endpoint : range.endpoints) {
      const auto field = "\"" + std::string(range.field) + "\":";
      for (const auto* value : range.allowed) {
        INFO(field << value);
        CHECK(parse(endpoint, field + value).has_value());
      }
      for (const auto* value : range.refused) {
        INFO(field << value);
        const auto refused = refusal_of(endpoint, field + value);
        CHECK(refused.code == Errc::invalid_value);
        CHECK(refused.param == range.field);
        CHECK_THAT(refused.message, Contains("'" + std::string(range.field) + "'"));
        CHECK_THAT(refused.message, Contains(range.bounds));
        CHECK_THAT(refused.message, Contains("the number "));
      }
    }
}

TEST_CASE("a value of another type is refused, whatever the field") {
  for (const auto& range : ranges)
    for (const auto endpoint : range.endpoints)
      for (const auto* value : {"\"1\"", "true", "[]", "[1]", "{}", "{\"a\":1}"}) {
        const auto refused = refusal_of(endpoint, "\"" + std::string(range.field) + "\":" + value);
        CHECK(refused.code == Errc::invalid_value);
        CHECK(refused.param == range.field);
      }
  for (const auto* field : {"stream", "ignore_eos", "include_stop_str_in_output"})
    for (const auto* value : {"1", "\"true\"", "[]"})
      CHECK(refusal_of(chat, "\"" + std::string(field) + "\":" + value).param == field);
}

TEST_CASE("null counts as left out, whatever the field") {
  for (const auto& range : ranges)
    for (const auto endpoint : range.endpoints)
      CHECK(parse(endpoint, "\"" + std::string(range.field) + "\":null").has_value());
  for (const auto* field : {"stop",
                            "stop_token_ids",
                            "logit_bias",
                            "stream",
                            "stream_options",
                            "service_tier",
                            "tools",
                            "tool_choice",
                            "functions",
                            "response_format",
                            "audio",
                            "prediction",
                            "suffix",
                            "user",
                            "previous_response_id",
                            "conversation",
                            "background",
                            "text",
                            "modalities",
                            "best_of",
                            "metadata",
                            "instructions",
                            "web_search_options",
                            "min_tokens",
                            "include"})
    for (const auto endpoint : all_endpoints) {
      const auto parsed = parse(endpoint, "\"" + std::string(field) + "\":null");
      INFO(field);
      CHECK(parsed.has_value());
    }
}

TEST_CASE("defaults are OpenAI's") {
  for (const auto endpoint : all_endpoints) {
    const auto call = call_of(endpoint);
    CHECK(call.endpoint == endpoint);
    CHECK(call.model == "demo");
    CHECK(call.n == 1);
    CHECK(call.sampling == SamplingParams());
    CHECK_FALSE(call.has_seed);
    CHECK_FALSE(call.max_tokens.has_value());
    CHECK_FALSE(call.stream);
    CHECK(call.request_class == RequestClass::online);
    CHECK(call.service_tier == "default");
  }
}

TEST_CASE("every field of a chat call arrives") {
  const auto call = call_of(chat, R"("n":2,"best_of":2,"stream":true,
      "stream_options":{"include_usage":true,"include_obfuscation":false},
      "max_tokens":7,"max_completion_tokens":9,"temperature":0.5,"top_p":0.25,"top_k":40,"min_p":0.125,
      "repetition_penalty":1.5,"presence_penalty":-1,"frequency_penalty":1,"seed":-1,
      "stop":["a","bc"],"stop_token_ids":[0,999],"ignore_eos":true,
      "include_stop_str_in_output":true,"logit_bias":{"0":-100,"999":100},
      "logprobs":true,"top_logprobs":20,"service_tier":"flex","cache_salt":"pepper",
      "user":"u","metadata":{"a":"b"},"store":true,"prompt_cache_key":"k","safety_identifier":"s",
      "parallel_tool_calls":true,"reasoning_effort":"low")");
  CHECK(call.n == 2);
  CHECK(call.stream);
  CHECK(call.include_usage);
  CHECK(call.max_tokens == Tokens(9));  // the newer name counts if both are sent
  CHECK(call.has_seed);
  CHECK(call.stop == std::vector<std::string>{"a", "bc"});
  CHECK(call.stop_token_ids == std::vector<TokenId>{0, 999});
  CHECK(call.ignore_eos);
  CHECK(call.include_stop_text);
  CHECK(call.request_class == RequestClass::offline);
  CHECK(call.service_tier == "flex");
  CHECK(call.cache_salt == "pepper");
  SamplingParams expected{.temperature = 0.5F,
                          .top_k = 40,
                          .top_p = 0.25F,
                          .min_p = 0.125F,
                          .repetition_penalty = 1.5F,
                          .presence_penalty = -1,
                          .frequency_penalty = 1,
                          .seed = std::numeric_limits<std::uint64_t>::max(),
                          .logit_bias = {{0, -100.0F}, {999, 100.0F}},
                          .logprobs = 20};
  CHECK(call.sampling == expected);
}

TEST_CASE("every field of a completions call arrives") {
  const auto call = call_of(completions, R"("max_tokens":3,"logprobs":2,"stop":"x","top_k":-1)");
  CHECK(call.max_tokens == Tokens(3));
  CHECK(call.sampling.logprobs == 2U);
  CHECK(call.stop == std::vector<std::string>{"x"});
  CHECK(call.sampling.top_k == 0);
  CHECK(call_of(completions, R"("echo":true)").echo);
}

TEST_CASE("every field of a response arrives") {
  const auto parsed = parse(responses, R"("instructions":"Be brief.","max_output_tokens":5,
      "top_logprobs":3,"metadata":{"k":"v"},"user":"u","background":false,"generate":true,
      "text":{"format":{"type":"text"},"verbosity":"low"},"reasoning":{"effort":"low"},"tools":[],
      "tool_choice":"auto","truncation":"auto","store":true)");
  REQUIRE(parsed.has_value());
  CHECK(parsed->call.max_tokens == Tokens(5));
  CHECK(parsed->call.sampling.logprobs == 3U);
  CHECK(parsed->echo.instructions == "Be brief.");
  CHECK(parsed->echo.metadata == std::map<std::string, std::string>{{"k", "v"}});
  CHECK(parsed->echo.user == "u");
  CHECK(parsed->num_ignored == 0);
  CHECK(call_of(responses, R"("include":["message.output_text.logprobs"])").sampling.logprobs ==
        0U);
  CHECK(call_of(responses, R"("include":["message.output_text.logprobs"],"top_logprobs":2)")
            .sampling.logprobs == 2U);
  CHECK_FALSE(call_of(responses, R"("include":["reasoning.encrypted_content"],"top_logprobs":0)")
                  .sampling.logprobs.has_value());
}

TEST_CASE("logprobs of chat: top_logprobs needs logprobs") {
  CHECK(call_of(chat, R"("logprobs":true)").sampling.logprobs == 0U);
  CHECK(call_of(chat, R"("logprobs":true,"top_logprobs":0)").sampling.logprobs == 0U);
  CHECK_FALSE(call_of(chat, R"("logprobs":false)").sampling.logprobs.has_value());
  CHECK_FALSE(call_of(chat, R"("logprobs":false,"top_logprobs":0)").sampling.logprobs.has_value());
  CHECK(refusal_of(chat, R"("top_logprobs":1)").param == "top_logprobs");
  CHECK(refusal_of(chat, R"("logprobs":true,"top_logprobs":21)").param == "top_logprobs");
  CHECK(refusal_of(chat, R"("logprobs":1)").param == "logprobs");
}

TEST_CASE("service tiers map to classes, and the reply will name the tier used") {
  for (const auto* tier : {"auto", "default", "scale", "priority", "fast"}) {
    const auto call = call_of(chat, "\"service_tier\":\"" + std::string(tier) + "\"");
    CHECK(call.request_class == RequestClass::online);
    CHECK(call.service_tier == "default");
  }
  const auto refused = refusal_of(chat, R"("service_tier":"gold")");
  CHECK(refused.code == Errc::invalid_value);
  CHECK(refused.param == "service_tier");
  CHECK_THAT(refused.message, Contains("'gold'") && Contains("flex"));
}

TEST_CASE("stop strings and stop token ids are bounded") {
  CHECK(call_of(chat, R"("stop":[])").stop.empty());
  CHECK(call_of(chat, R"("stop":["12345678","b","c","d"])").stop.size() == 4);
  for (const auto* stop : {R"("")", R"("123456789")", R"(["a","b","c","d","e"])", R"(["a",1])", "3",
                           "{}", R"([""])", R"([["a"]])"})
    CHECK(refusal_of(chat, "\"stop\":" + std::string(stop)).param == "stop");
  for (const auto* ids : {"[-1]", "[1000]", "[1.5]", "[\"1\"]", "7", "[9223372036854775808]"})
    CHECK(refusal_of(chat, "\"stop_token_ids\":" + std::string(ids)).param == "stop_token_ids");
  std::string many = "[0";
  for (int i = 1; i < 64; ++i) many += ",0";
  CHECK(call_of(chat, "\"stop_token_ids\":" + many + "]").stop_token_ids.size() == 64);
  CHECK(refusal_of(chat, "\"stop_token_ids\":" + many + ",0]").param == "stop_token_ids");
}

TEST_CASE("logit_bias holds token ids of the vocabulary and values from -100 to 100") {
  CHECK(call_of(chat, R"("logit_bias":{})").sampling.logit_bias.empty());
  CHECK(call_of(chat, R"("logit_bias":{"1":1,"2":2,"3":3})").sampling.logit_bias.size() == 3);
  for (const auto* bias :
       {R"({"1":1,"2":2,"3":3,"4":4})", R"({"1000":1})", R"({"-1":1})", R"({"x":1})", R"({"":1})",
        R"({"1.0":1})", R"({" 1":1})", R"({"01":1})", R"({"99999999999999999999":1})", "[]", "1"})
    CHECK(refusal_of(chat, "\"logit_bias\":" + std::string(bias)).param == "logit_bias");
  for (const auto* value : {"100.5", "-100.5", "\"1\"", "[]"}) {
    const auto refused = refusal_of(chat, R"("logit_bias":{"5":)" + std::string(value) + "}");
    CHECK(refused.param == "logit_bias.5");
    CHECK_THAT(refused.message, Contains("from -100 to 100"));
  }
}

TEST_CASE("best_of must equal n") {
  CHECK(call_of(completions, R"("n":3,"best_of":3)").n == 3);
  CHECK(refusal_of(completions, R"("best_of":2)").code == Errc::unsupported);
  CHECK(refusal_of(completions, R"("n":2,"best_of":4)").param == "best_of");
}

TEST_CASE("a response that generates nothing is for the prefix cache alone") {
  CHECK(call_of(responses, R"("generate":false)").prefill_only);
  CHECK_FALSE(call_of(responses, R"("generate":true)").prefill_only);
  CHECK_FALSE(call_of(responses, R"("user":"u")").prefill_only);
  CHECK(refusal_of(responses, R"("generate":0)").param == "generate");
}

TEST_CASE("stream options need a stream") {
  CHECK(refusal_of(chat, R"("stream_options":{"include_usage":true})").param == "stream_options");
  CHECK_FALSE(call_of(chat, R"("stream":true,"stream_options":{})").include_usage);
  CHECK(refusal_of(chat, R"("stream":true,"stream_options":{"include_usage":1})").param ==
        "stream_options.include_usage");
  CHECK(call_of(chat, R"("stream":true,"stream_options":{"include_obfuscation":true})")
            .include_obfuscation);
  CHECK_FALSE(call_of(chat, R"("stream":true,"stream_options":{})").include_obfuscation);
  // A WebSocket streams unasked.
  CHECK(call_of(responses, R"("stream_options":{"include_obfuscation":true})").include_obfuscation);
  CHECK(refusal_of(responses, R"("stream_options":{"include_obfuscation":0})").param ==
        "stream_options.include_obfuscation");
  CHECK(refusal_of(chat, R"("stream":true,"stream_options":[])").param == "stream_options");
}

TEST_CASE("fields whose omission would change the meaning are refused by name") {
  const std::vector<std::pair<const char*, const char*>> both{
      {"tool_choice", R"("required")"},
      {"tool_choice", R"({"type":"function","function":{"name":"f"}})"},
      {"functions", R"([{"name":"f"}])"},
      {"function_call", R"("auto")"},
      {"response_format", R"({"type":"json_object"})"},
      {"response_format", R"({"type":"json_schema","json_schema":{}})"},
      {"response_format", "{}"},
      {"response_format", R"({"type":1})"},
      {"audio", R"({"voice":"x"})"},
      {"modalities", R"(["text","audio"])"},
      {"modalities", "[1]"},
      {"prediction", R"({"type":"content","content":"x"})"},
      {"web_search_options", "{}"},
      {"logits_processors", R"(["x"])"},
      {"guided_json", R"({"type":"object"})"},
      {"guided_regex", R"("a*")"},
      {"structured_outputs", R"({"regex":"a"})"},
      {"use_beam_search", "true"},
      {"min_tokens", "1"},
      {"length_penalty", "1.5"},
      {"skip_special_tokens", "false"},
      {"add_special_tokens", "false"},
      {"chat_template", R"("{{ x }}")"},
      {"truncate_prompt_tokens", "10"},
      {"prompt_logprobs", "1"}};
  for (const auto endpoint : {completions, chat})
    for (const auto& [field, value] : both) {
      INFO(field << ": " << value);
      const auto refused = refusal_of(endpoint, "\"" + std::string(field) + "\":" + value);
      CHECK(refused.code == Errc::unsupported);
      CHECK(refused.param == field);
    }
  CHECK(refusal_of(completions, R"("suffix":"end")").code == Errc::unsupported);
  CHECK(refusal_of(completions, R"("tools":[{}])").code == Errc::unsupported);
  CHECK(refusal_of(completions, R"("chat_template_kwargs":{"x":1})").code == Errc::unsupported);
  CHECK(refusal_of(completions, R"("echo":true,"stream":true)").param == "echo");
  CHECK(refusal_of(completions, R"("echo":true,"logprobs":1)").param == "echo");
  CHECK(refusal_of(chat, R"("echo":true)").code == Errc::unsupported);
  const std::vector<std::pair<const char*, const char*>> of_responses{
      {"tool_choice", R"("required")"},
      {"previous_response_id", R"("resp_1")"},
      {"conversation", R"("conv_1")"},
      {"prompt", R"({"id":"p"})"},
      {"background", "true"}};
  for (const auto& [field, value] : of_responses) {
    const auto refused = refusal_of(responses, "\"" + std::string(field) + "\":" + value);
    CHECK(refused.code == Errc::unsupported);
    CHECK(refused.param == field);
  }
  CHECK(refusal_of(responses, R"("include":["x",5])").param == "include");
  const auto format = refusal_of(responses, R"("text":{"format":{"type":"json_object"}})");
  CHECK(format.code == Errc::unsupported);
  CHECK(format.param == "text.format");
}

TEST_CASE("fields of another endpoint are refused, and the one to use is named") {
  struct Row {
    std::vector<Endpoint> endpoints;
    const char *field, *value, *instead;
  };
  const std::vector<Endpoint> not_responses{completions, chat};
  const Row rows[] = {
      {not_responses, "max_output_tokens", "5", "'max_completion_tokens'"},
      {not_responses, "generate", "false", "/v1/responses"},
      {not_responses, "previous_response_id", R"("resp_1")", "stored"},
      {not_responses, "conversation", R"("conv_1")", "stored"},
      {{chat}, "input", R"("x")", "'messages'"},
      {{chat}, "instructions", R"("x")", "'messages'"},
      {{completions}, "messages", "[]", "/v1/chat/completions"},
      {{responses}, "messages", "[]", "'input'"},
      {{responses}, "max_tokens", "5", "'max_output_tokens'"},
      {{responses}, "max_completion_tokens", "5", "'max_output_tokens'"},
      {{responses}, "n", "2", "one answer"},
      {{responses}, "best_of", "2", "one answer"},
      {{responses}, "logprobs", "true", "'top_logprobs'"},
      {{responses}, "response_format", R"({"type":"json_object"})", "\"text\""},
  };
  for (const auto& row : rows)
    for (const auto endpoint : row.endpoints) {
      const auto refused = refusal_of(endpoint, "\"" + std::string(row.field) + "\":" + row.value);
      CHECK(refused.code == Errc::unsupported);
      CHECK(refused.param == row.field);
      CHECK_THAT(refused.message, Contains(row.instead));
    }
  for (const auto* same : {R"("n":1)", R"("best_of":1.0)", R"("logprobs":false)", R"("n":null)",
                           R"("response_format":{"type":"text"})"})
    CHECK(parse(responses, same).has_value());
  CHECK(parse(chat, R"("generate":true)").has_value());
}

TEST_CASE("a text that is not JSON is told where it breaks off") {
  const auto message = [](std::string_view text) {
    const auto parsed = parse_call(chat, text, small_limits());
    REQUIRE(!parsed);
    return parsed.error().message;
  };
  CHECK_THAT(message(R"({"model":"demo","n":x})"), Contains("at byte 20 of 22"));
  CHECK_THAT(message(R"({"model")"), Contains("incomplete") && Contains("at byte 8 of 8"));
  CHECK_THAT(message("{} {}"), Contains("extra data at byte 3 of 5"));
  CHECK_THAT(message(""), Contains("at byte 0 of 0"));
}

TEST_CASE("the same fields pass where they ask for nothing") {
  for (const auto endpoint : all_endpoints)
    for (const auto* field :
         {R"("tools":[])", R"("functions":[])", R"("tool_choice":"none")",
          R"("tool_choice":"auto")", R"("modalities":["text"])", R"("modalities":[])",
          R"("logits_processors":[])", R"("guided_json":{})", R"("use_beam_search":false)",
          R"("min_tokens":0)", R"("length_penalty":1)", R"("length_penalty":1.0)",
          R"("skip_special_tokens":true)", R"("chat_template_kwargs":{})", R"("suffix":"")"}) {
      const auto parsed = parse(endpoint, field);
      INFO(field);
      CHECK(parsed.has_value());
    }
  CHECK(parse(chat, R"("response_format":{"type":"text"})").has_value());
  CHECK(parse(completions, R"("response_format":{"type":"text"})").has_value());
}

TEST_CASE("unknown fields are ignored and counted, or refused if fields are strict") {
  std::string fields = R"("zebra":1,"yak":{"a":[]},"temperature":1)";
  auto parsed = parse(chat, fields);
  REQUIRE(parsed.has_value());
  CHECK(parsed->num_ignored == 2);
  CHECK(parsed->ignored_fields == std::vector<std::string>{"zebra", "yak"});

  for (int i = 0; i < 40; ++i)
    fields += ",\"x" + std::to_string(i) + std::string(100, 'y') + "\":0";
  parsed = parse(chat, fields);
  REQUIRE(parsed.has_value());
  CHECK(parsed->num_ignored == 42);
  CHECK(parsed->ignored_fields.size() == 16);
  for (const auto& name : parsed->ignored_fields) CHECK(name.size() <= 67);

  auto limits = small_limits();
  limits.strict_fields = true;
  CHECK(parse_call(chat, body_of(chat, R"("temperature":1,"user":"u")"), limits).has_value());
  const auto strict = parse_call(chat, body_of(chat, R"("zebra":1)"), limits);
  REQUIRE(!strict);
  CHECK(strict.error().code == Errc::unsupported);
  CHECK(strict.error().param == "zebra");
}

TEST_CASE("a missing or unknown model is refused; without a served model any name passes") {
  for (const auto& body : {R"({"prompt":"x"})", R"({"model":null,"prompt":"x"})"}) {
    const auto missing = parse_call(completions, body, small_limits());
    REQUIRE(!missing);
    CHECK(missing.error().param == "model");
    CHECK(missing.error().code == Errc::invalid_value);
  }
  const auto other = parse_call(completions, R"({"model":"gpt","prompt":"x"})", small_limits());
  REQUIRE(!other);
  CHECK(other.error().code == Errc::model_not_found);
  CHECK(other.error().param == "model");
  CHECK_THAT(other.error().message, Contains("'gpt'") && Contains("'demo'"));
  auto limits = small_limits();
  limits.model.clear();
  CHECK(parse_call(completions, R"({"model":"gpt","prompt":"x"})", limits).has_value());
}

TEST_CASE("the first of several problems is the one reported") {
  const auto refused = refusal_of(chat, R"("n":0,"temperature":9)");
  CHECK(refused.param == "n");
}
