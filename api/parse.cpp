// See parse.hpp. One function per group of fields; parse_call puts them together per endpoint.
#include "api/parse.hpp"

#include <boost/json.hpp>
#include <charconv>
#include <limits>

#include "api/ids.hpp"
#include "api/json_fields.hpp"
#include "api/parse_prompt.hpp"

namespace tandem::api {
namespace json = boost::json;
namespace {

constexpr std::int64_t max_tokens_limit = 1LL << 31;

void read_sampling(Fields& fields, const ParseLimits& limits, GenerateCall& call) {
  auto& s = call.sampling;
  s.temperature = static_cast<float>(fields.number("temperature", 0, 2).value_or(1.0));
  s.top_p = static_cast<float>(fields.number("top_p", 0, 1).value_or(1.0));
  s.min_p = static_cast<float>(fields.number("min_p", 0, 1).value_or(0.0));
  s.top_k = static_cast<std::int32_t>(fields.integer("top_k", -1, 1 << 24).value_or(0));
  if (s.top_k < 0) s.top_k = 0;  // both 0 and -1 mean "off" among the peers
  s.repetition_penalty =
      static_cast<float>(fields.number("repetition_penalty", 0.01, 10).value_or(1.0));
  s.presence_penalty = static_cast<float>(fields.number("presence_penalty", -2, 2).value_or(0.0));
  s.frequency_penalty = static_cast<float>(fields.number("frequency_penalty", -2, 2).value_or(0.0));
  if (const auto seed = fields.integer("seed", std::numeric_limits<std::int64_t>::min(),
                                       std::numeric_limits<std::int64_t>::max())) {
    call.has_seed = true;
    s.seed = static_cast<std::uint64_t>(*seed);
  }
  const auto* bias = fields.object("logit_bias");
  if (!bias) return;
  if (bias->size() > limits.max_logit_bias)
    return fields.fail(Errc::invalid_value,
                       "'logit_bias' has " + std::to_string(bias->size()) +
                           " entries; allowed are at most " + std::to_string(limits.max_logit_bias),
                       "logit_bias");
  for (const auto& entry : *bias) {
    TokenId token = -1;
    const std::string_view key(entry.key().data(), entry.key().size());
    const auto [end, failed] = std::from_chars(key.data(), key.data() + key.size(), token);
    if (failed != std::errc() || end != key.data() + key.size() || token < 0 ||
        token >= limits.vocab_size)
      return fields.fail(Errc::invalid_value,
                         "'logit_bias' has the key '" + std::string(key.substr(0, 32)) +
                             "'; allowed are token ids from 0 to " +
                             std::to_string(limits.vocab_size - 1),
                         "logit_bias");
    Fields one(*bias, "logit_bias");
    const auto value = one.number(key, -100, 100);
    if (one.problem()) return fields.fail(*one.problem());
    s.logit_bias.emplace_back(token, static_cast<float>(value.value_or(0)));
  }
}

void read_stop(Fields& fields, const ParseLimits& limits, GenerateCall& call) {
  const auto add = [&](const json::value& value) {
    if (!value.is_string())
      return fields.fail(Errc::invalid_value,
                         "'stop' must be a string or an array of strings, not " + describe(value),
                         "stop");
    const auto& text = value.as_string();
    if (text.empty() || text.size() > limits.max_stop_bytes)
      return fields.fail(Errc::invalid_value,
                         "a stop string has " + std::to_string(text.size()) +
                             " bytes; allowed are 1 to " + std::to_string(limits.max_stop_bytes),
                         "stop");
    call.stop.emplace_back(text);
  };
  if (const auto* stop = fields.find("stop")) {
    if (stop->is_array() && stop->as_array().size() > 4)
      fields.fail(Errc::invalid_value,
                  "'stop' has " + std::to_string(stop->as_array().size()) +
                      " strings; allowed are at most 4",
                  "stop");
    else if (stop->is_array())
      for (const auto& value : stop->as_array()) add(value);
    else
      add(*stop);
  }
  if (const auto* ids = fields.array("stop_token_ids", 64))
    for (const auto& value : *ids) {
      if (!value.is_int64() || value.as_int64() < 0 || value.as_int64() >= limits.vocab_size)
        return fields.fail(Errc::invalid_value,
                           "'stop_token_ids' holds " + describe(value) +
                               "; allowed are token ids from 0 to " +
                               std::to_string(limits.vocab_size - 1),
                           "stop_token_ids");
      call.stop_token_ids.push_back(static_cast<TokenId>(value.as_int64()));
    }
  call.ignore_eos = fields.boolean("ignore_eos").value_or(false);
  call.include_stop_text = fields.boolean("include_stop_str_in_output").value_or(false);
}

void read_service_tier(Fields& fields, GenerateCall& call) {
  const auto tier = fields.string("service_tier", 32).value_or("auto");
  static constexpr std::string_view known[] = {"auto",  "default",  "flex",
                                               "scale", "priority", "fast"};
  if (std::find(std::begin(known), std::end(known), tier) == std::end(known))
    return fields.fail(Errc::invalid_value,
                       "'service_tier' is '" + tier +
                           "'; allowed are auto, default, flex, scale, priority and fast",
                       "service_tier");
  // Every online tier is served as "default" here, and the reply says so.
  call.request_class = tier == "flex" ? RequestClass::offline : RequestClass::online;
  call.service_tier = tier == "flex" ? "flex" : "default";
}

void read_common(Fields& fields, const ParseLimits& limits, GenerateCall& call) {
  const auto model = fields.string("model", 256);
  if (!model)
    fields.fail(Errc::invalid_value, "'model' is missing; this service has '" + limits.model + "'",
                "model");
  call.model = model.value_or("");
  read_service_tier(fields, call);
  call.stream = fields.boolean("stream").value_or(false);
  call.cache_salt = fields.string("cache_salt", 128).value_or("");
  for (const auto* name : {"user", "metadata", "store", "prompt_cache_key", "safety_identifier",
                           "prompt_cache_retention", "verbosity", "parallel_tool_calls"})
    fields.ignore(name);
}

void read_stream_options(Fields& fields, GenerateCall& call) {
  const auto* options = fields.object("stream_options");
  if (!options) return;
  if (!call.stream)
    return fields.fail(Errc::invalid_value, "'stream_options' is only allowed with stream: true",
                       "stream_options");
  Fields inner(*options, "stream_options");
  call.include_usage = inner.boolean("include_usage").value_or(false);
  if (inner.boolean("include_obfuscation").value_or(false))
    inner.fail(Errc::unsupported, "'stream_options.include_obfuscation' is not supported",
               "include_obfuscation");
  if (inner.problem()) fields.fail(*inner.problem());
}

void read_max_tokens(Fields& fields, GenerateCall& call,
                     std::initializer_list<std::string_view> names) {
  for (const auto name : names)
    if (const auto value = fields.integer(name, 1, max_tokens_limit))
      call.max_tokens = Tokens(*value);
}

void read_choices(Fields& fields, const ParseLimits& limits, GenerateCall& call) {
  call.n = static_cast<std::uint32_t>(fields.integer("n", 1, limits.max_choices).value_or(1));
  if (const auto best_of = fields.integer("best_of", 1, 20); best_of && *best_of != call.n)
    fields.fail(Errc::unsupported, "'best_of' must equal 'n' or be left out", "best_of");
}

constexpr std::string_view no_tools = "this version of the service offers no tools; leave it out";

void refuse_chat_extras(Fields& fields) {
  if (const auto* tools = fields.array("tools", 1024); tools && !tools->empty())
    fields.fail(Errc::unsupported, "'tools' is not supported: " + std::string(no_tools), "tools");
  if (const auto* choice = fields.find("tool_choice");
      choice &&
      !(choice->is_string() && (choice->as_string() == "none" || choice->as_string() == "auto")))
    fields.fail(Errc::unsupported, "'tool_choice' is not supported: " + std::string(no_tools),
                "tool_choice");
  if (const auto* format = fields.object("response_format")) {
    const auto* type = format->if_contains("type");
    if (!type || !type->is_string() || type->as_string() != "text")
      fields.fail(Errc::unsupported,
                  "'response_format' is not supported but for {\"type\":\"text\"}",
                  "response_format");
  }
  if (const auto* modalities = fields.array("modalities", 8))
    for (const auto& modality : *modalities)
      if (!modality.is_string() || modality.as_string() != "text")
        fields.fail(Errc::unsupported, "'modalities' other than text are not supported",
                    "modalities");
  for (const auto* name : {"functions", "function_call", "audio", "prediction",
                           "web_search_options", "guided_json", "guided_regex", "guided_choice",
                           "guided_grammar", "structured_outputs", "logits_processors"})
    fields.unsupported(name, "leave it out");
  fields.ignore("reasoning_effort");
}

void read_chat_logprobs(Fields& fields, GenerateCall& call) {
  const bool wanted = fields.boolean("logprobs").value_or(false);
  const auto top = fields.integer("top_logprobs", 0, 20);
  if (top && *top > 0 && !wanted)
    return fields.fail(Errc::invalid_value, "'top_logprobs' needs logprobs: true", "top_logprobs");
  if (wanted) call.sampling.logprobs = static_cast<std::uint32_t>(top.value_or(0));
}

void parse_completions(Fields& fields, const ParseLimits& limits, GenerateCall& call) {
  read_completion_prompts(fields, limits, call);
  read_choices(fields, limits, call);
  read_max_tokens(fields, call, {"max_tokens", "max_completion_tokens"});
  read_stream_options(fields, call);
  read_sampling(fields, limits, call);
  read_stop(fields, limits, call);
  if (const auto logprobs = fields.integer("logprobs", 0, 20))
    call.sampling.logprobs = static_cast<std::uint32_t>(*logprobs);
  call.echo = fields.boolean("echo").value_or(false);
  if (call.echo && call.stream)
    fields.fail(Errc::unsupported, "'echo' is not supported together with stream", "echo");
  fields.unsupported("suffix", "the model does not fill in");
}

void parse_chat(Fields& fields, const ParseLimits& limits, GenerateCall& call) {
  read_messages(fields, limits, call);
  read_choices(fields, limits, call);
  read_max_tokens(fields, call, {"max_tokens", "max_completion_tokens"});
  read_stream_options(fields, call);
  read_sampling(fields, limits, call);
  read_stop(fields, limits, call);
  read_chat_logprobs(fields, call);
  refuse_chat_extras(fields);
}

void parse_responses(Fields& fields, const ParseLimits& limits, GenerateCall& call) {
  read_response_input(fields, limits, call);
  read_max_tokens(fields, call, {"max_output_tokens"});
  read_sampling(fields, limits, call);
  read_stop(fields, limits, call);
  if (const auto top = fields.integer("top_logprobs", 0, 20); top && *top > 0)
    call.sampling.logprobs = static_cast<std::uint32_t>(*top);
  if (fields.boolean("background").value_or(false))
    fields.fail(Errc::unsupported, "'background' is not supported: push the work as a batch",
                "background");
  if (!fields.boolean("generate").value_or(true))
    fields.fail(Errc::unsupported, "'generate: false' is not supported", "generate");
  if (const auto* text = fields.object("text"))
    if (const auto* format = text->if_contains("format"); format && format->is_object()) {
      const auto* type = format->as_object().if_contains("type");
      if (type && !(type->is_string() && type->as_string() == "text"))
        fields.fail(Errc::unsupported, "'text.format' is not supported but for {\"type\":\"text\"}",
                    "text");
    }
  if (const auto* tools = fields.array("tools", 1024); tools && !tools->empty())
    fields.fail(Errc::unsupported, "'tools' is not supported: " + std::string(no_tools), "tools");
  fields.unsupported("previous_response_id",
                     "responses are not stored; send the whole conversation as `input`");
  fields.unsupported("conversation", "conversations are not stored; send them as `input`");
  fields.unsupported("prompt", "prompt templates are not stored");
  for (const auto* name :
       {"type", "stream_id", "event_id", "reasoning", "truncation", "include", "tool_choice",
        "max_tool_calls", "stream_options", "moderation", "context_management"})
    fields.ignore(name);
}

}  // namespace

Result<ParsedCall> parse_call(Endpoint endpoint, std::string_view text, const ParseLimits& limits) {
  const auto object = parse_object(text, "the request body");
  if (!object) return object.error();
  Fields fields(*object);
  ParsedCall parsed;
  parsed.call.endpoint = endpoint;
  read_common(fields, limits, parsed.call);
  switch (endpoint) {
    case Endpoint::completions: parse_completions(fields, limits, parsed.call); break;
    case Endpoint::chat_completions: parse_chat(fields, limits, parsed.call); break;
    case Endpoint::responses: parse_responses(fields, limits, parsed.call); break;
  }
  parsed.ignored_fields = fields.unknown(16);
  if (limits.strict_fields && !parsed.ignored_fields.empty())
    fields.fail(Errc::unsupported,
                "'" + parsed.ignored_fields.front() + "' is not a field of this request",
                parsed.ignored_fields.front());
  if (fields.problem()) return *fields.problem();
  return parsed;
}

std::variant<CreateResponse, CancelResponse, BadEvent> parse_websocket_event(
    std::string_view text, const ParseLimits& limits) {
  const auto object = parse_object(text, "the event");
  if (!object) return BadEvent{{}, {}, object.error()};
  Fields fields(*object);
  const auto type = fields.string("type", 64).value_or("");
  const auto stream_id = fields.string("stream_id", 256).value_or("");
  const auto event_id = fields.string("event_id", 256).value_or("");
  const auto bad = [&](Error reason) {
    return BadEvent{is_valid_stream_id(stream_id) ? stream_id : "", event_id, std::move(reason)};
  };
  if (fields.problem()) return bad(*fields.problem());
  if (!stream_id.empty() && !is_valid_stream_id(stream_id))
    return bad(error(Errc::invalid_value,
                     "'stream_id' must be 1 to 256 characters of A-Z, a-z, 0-9, '_', '.' and '-'",
                     "stream_id"));
  if (type == "response.cancel") {
    auto id = fields.string("response_id", 128);
    if (fields.problem() || !id)
      return bad(fields.problem().value_or(
          error(Errc::invalid_value, "'response_id' is missing", "response_id")));
    return CancelResponse{std::move(*id), event_id};
  }
  if (type != "response.create")
    return bad(error(Errc::invalid_value,
                     "the event type '" + type.substr(0, 64) +
                         "' is not known; allowed are response.create and response.cancel",
                     "type"));
  auto parsed = parse_call(Endpoint::responses, text, limits);
  if (!parsed) return bad(parsed.error());
  parsed->call.stream = true;
  return CreateResponse{stream_id, event_id, std::move(*parsed)};
}

}  // namespace tandem::api
