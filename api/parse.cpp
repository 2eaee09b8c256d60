// See parse.hpp. One function per group of fields; parse_call puts them together per endpoint.
#include "api/parse.hpp"

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <limits>

#include "api/ids.hpp"
#include "api/json_fields.hpp"
#include "api/parse_fields.hpp"
#include "api/parse_prompt.hpp"
#include "api/parse_sampling.hpp"
#include "api/parse_tools.hpp"

namespace tandem::api {
namespace json = boost::json;
namespace {

constexpr std::int64_t max_tokens_limit = 1LL << 31;

void read_model(Fields& fields, const ParseLimits& limits, GenerateCall& call) {
  const auto model = fields.string("model", 256);
  if (!model)
    return fields.fail(Errc::invalid_value,
                       "'model' is missing; this service has '" + limits.model + "'", "model");
  check_model(fields, limits, *model);
  call.model = *model;
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
  read_model(fields, limits, call);
  read_service_tier(fields, call);
  call.stream = fields.boolean("stream").value_or(false);
  call.cache_salt = fields.string("cache_salt", 128).value_or("");
  // Bookkeeping of the caller, and hints: without effect on what is generated.
  for (const auto* name : {"user", "metadata", "store", "prompt_cache_key", "safety_identifier",
                           "prompt_cache_retention", "prompt_cache_options", "verbosity"})
    fields.ignore(name);
}

void read_stream_options(Fields& fields, GenerateCall& call) {
  const auto* options = fields.object("stream_options");
  if (!options) return;
  // A WebSocket streams without being asked to.
  const bool streams = call.stream || call.endpoint == Endpoint::responses;
  if (!streams)
    return fields.fail(Errc::invalid_value, "'stream_options' is only allowed with stream: true",
                       "stream_options");
  Fields inner(*options, "stream_options");
  call.include_usage = inner.boolean("include_usage").value_or(false);
  call.include_obfuscation = inner.boolean("include_obfuscation").value_or(false);
  if (inner.problem()) fields.fail(*inner.problem());
}

/// The last of `names` that is given counts.
void read_max_tokens(Fields& fields, GenerateCall& call,
                     std::initializer_list<std::string_view> names) {
  for (const auto name : names)
    if (const auto value = fields.integer(name, 1, max_tokens_limit))
      call.max_tokens = Tokens(*value);
}

void read_choices(Fields& fields, const ParseLimits& limits, GenerateCall& call) {
  call.n = static_cast<std::uint32_t>(fields.integer("n", 1, limits.max_choices).value_or(1));
  if (const auto best_of = fields.integer("best_of", 1, 20); best_of && *best_of != call.n)
    fields.fail(Errc::unsupported,
                "'best_of' is " + std::to_string(*best_of) + " and 'n' is " +
                    std::to_string(call.n) + "; 'best_of' must equal 'n' or be left out",
                "best_of");
}

/// `type` of the object field `name` must be "text": the answer is not held to any other format.
void require_text_format(Fields& fields, std::string_view name) {
  const auto* format = fields.object(name);
  if (!format) return;
  const auto* type = format->if_contains("type");
  if (type && type->is_string() && type->as_string() == "text") return;
  fields.fail(Errc::unsupported,
              "'" + fields.path(name) + "' is not supported but for {\"type\":\"text\"}", name);
}

/// A completion is text alone.
void refuse_tools(Fields& fields) {
  constexpr std::string_view why = "it is a field of chats and responses";
  for (const auto* name : {"tools", "chat_template_kwargs"})
    fields.unsupported_unless_empty(name, why);
  const auto* choice = fields.find("tool_choice");
  if (choice && !(*choice == "none" || *choice == "auto")) fields.unsupported("tool_choice", why);
  fields.ignore("parallel_tool_calls");
}

// Fields, some of other servers, that would change what is generated or how it looks; ignoring them
// would be a lie. Of the first kind an empty or false value asks for something, too.
constexpr std::string_view refused[] = {"audio", "prediction", "web_search_options", "moderation",
                                        "add_special_tokens"};
// clang-format off
constexpr std::string_view refused_unless_empty[] = {
    "guided_json", "guided_regex", "guided_choice", "guided_grammar", "structured_outputs",
    "grammar", "json_schema", "logits_processors", "bad_words", "allowed_token_ids",
    "use_beam_search", "prompt_logprobs", "truncate_prompt_tokens", "chat_template", "documents",
    "continue_final_message", "return_tokens_as_token_ids",
    "return_token_ids", "mm_processor_kwargs", "lora"};
// clang-format on

/// Refused unless it asks for what is done anyway.
struct Foreign {
  std::string_view name;
  json::value done_anyway;
};
const std::array<Foreign, 6>& foreign_fields() {
  static const std::array<Foreign, 6> fields{{{"min_tokens", 0.0},
                                              {"length_penalty", 1.0},
                                              {"skip_special_tokens", true},
                                              {"spaces_between_special_tokens", true},
                                              {"add_generation_prompt", true},
                                              {"detokenize", true}}};
  return fields;
}

bool is_same(const json::value& value, const json::value& other) {
  boost::system::error_code inexact;
  if (other.is_double())
    return value.is_number() && value.to_number<double>(inexact) == other.as_double();
  return value == other;
}

/// A field of another endpoint that would change the answer; where it asks for `done_anyway` it may
/// stay.
struct Misplaced {
  std::string_view name, why;
  json::value done_anyway = nullptr;
};

void refuse_misplaced(Fields& fields, std::initializer_list<Misplaced> misplaced) {
  for (const auto& [name, why, done_anyway] : misplaced)
    if (const auto* value = fields.find(name); value && !is_same(*value, done_anyway))
      fields.unsupported(name, why);
}

/// Fields of responses, in a call of another kind.
void refuse_fields_of_responses(Fields& fields) {
  static constexpr std::string_view stateless = "no conversation is stored; send all of it";
  refuse_misplaced(fields, {{"max_output_tokens", "use 'max_tokens' or 'max_completion_tokens'"},
                            {"generate", "it is a field of /v1/responses", true},
                            {"previous_response_id", stateless},
                            {"conversation", stateless}});
}

/// Fields of chats and completions, in a response.
void refuse_fields_of_completions(Fields& fields) {
  refuse_misplaced(fields, {{"messages", "use 'input'"},
                            {"max_tokens", "use 'max_output_tokens'"},
                            {"max_completion_tokens", "use 'max_output_tokens'"},
                            {"n", "a response is one answer", 1.0},
                            {"best_of", "a response is one answer", 1.0},
                            {"logprobs", "use 'top_logprobs'", false}});
  require_text_format(fields, "response_format");
}

void refuse_foreign(Fields& fields) {
  static constexpr std::string_view why = "leave it out";
  for (const auto name : refused) fields.unsupported(name, why);
  for (const auto name : refused_unless_empty) fields.unsupported_unless_empty(name, why);
  for (const auto* name : {"functions", "function_call"})
    fields.unsupported_unless_empty(name, "use 'tools' and 'tool_choice'");
  for (const auto& [name, done_anyway] : foreign_fields())
    if (const auto* value = fields.find(name); value && !is_same(*value, done_anyway))
      fields.unsupported(name, why);
  const auto* modalities = fields.array("modalities", 8);
  if (!modalities) return;
  for (const auto& modality : *modalities)
    if (modality != "text")
      fields.fail(Errc::unsupported,
                  "'modalities' holds " + describe(modality) + "; allowed is 'text'", "modalities");
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
  if (const auto logprobs = fields.integer("logprobs", 0, 5))
    call.sampling.logprobs = static_cast<std::uint32_t>(*logprobs);
  call.echo = fields.boolean("echo").value_or(false);
  if (call.echo && call.stream)
    fields.fail(Errc::unsupported, "'echo' is not supported together with stream", "echo");
  if (call.echo && call.sampling.logprobs)
    fields.fail(Errc::unsupported,
                "'echo' is not supported together with logprobs: those of the prompt are not known",
                "echo");
  fields.unsupported_unless_empty("suffix", "the model does not fill in");
  refuse_tools(fields);
  require_text_format(fields, "response_format");
  refuse_misplaced(fields, {{"messages", "it is a field of /v1/chat/completions"}});
  refuse_fields_of_responses(fields);
}

void parse_chat(Fields& fields, const ParseLimits& limits, GenerateCall& call) {
  read_messages(fields, limits, call);
  read_tools(fields, Endpoint::chat_completions, limits, call);
  read_template_arguments(fields, limits, call);
  read_choices(fields, limits, call);
  read_max_tokens(fields, call, {"max_tokens", "max_completion_tokens"});
  read_stream_options(fields, call);
  read_chat_logprobs(fields, call);
  require_text_format(fields, "response_format");
  if (fields.boolean("echo").value_or(false))
    fields.fail(Errc::unsupported, "'echo' is not supported: it is a field of /v1/completions",
                "echo");
  fields.ignore("reasoning_effort");
  refuse_misplaced(fields, {{"input", "use 'messages'"}, {"instructions", "use 'messages'"}});
  refuse_fields_of_responses(fields);
}

void read_response_logprobs(Fields& fields, GenerateCall& call) {
  const auto top = fields.integer("top_logprobs", 0, 20);
  if (top && *top > 0) call.sampling.logprobs = static_cast<std::uint32_t>(*top);
  // Other things to include belong to tools and stored state, of which there is none.
  if (const auto* include = fields.array("include", 64))
    for (const auto& what : *include) {
      if (!what.is_string())
        fields.fail(Errc::invalid_value,
                    "'include' holds " + describe(what) + "; allowed are names", "include");
      if (what == "message.output_text.logprobs" && !call.sampling.logprobs)
        call.sampling.logprobs = 0;
    }
}

void parse_responses(Fields& fields, const ParseLimits& limits, GenerateCall& call) {
  read_response_input(fields, limits, call);
  read_tools(fields, Endpoint::responses, limits, call);
  read_template_arguments(fields, limits, call);
  read_max_tokens(fields, call, {"max_output_tokens"});
  read_response_logprobs(fields, call);
  if (fields.boolean("background").value_or(false))
    fields.fail(Errc::unsupported, "'background' is not supported: push the work as a batch",
                "background");
  call.prefill_only = !fields.boolean("generate").value_or(true);
  read_stream_options(fields, call);
  if (const auto* text = fields.object("text")) {
    Fields inner(*text, "text");
    require_text_format(inner, "format");
    if (inner.problem()) fields.fail(*inner.problem());
  }
  fields.unsupported("previous_response_id",
                     "responses are not stored; send the whole conversation as 'input'");
  fields.unsupported("conversation", "conversations are not stored; send them as 'input'");
  fields.unsupported("prompt", "prompt templates are not stored; send 'input'");
  fields.unsupported_unless_empty("context_management", "leave it out");
  refuse_fields_of_completions(fields);
  for (const auto* name :
       {"type", "stream_id", "event_id", "reasoning", "truncation", "max_tool_calls"})
    fields.ignore(name);
}

ResponseEcho read_echo(Fields& fields) {
  ResponseEcho echo{.metadata = read_metadata(fields)};
  if (const auto* text = fields.find("instructions"); text && text->is_string())
    echo.instructions = std::string(text->as_string());
  echo.user = fields.string("user", 512).value_or("");
  echo.safety_identifier = fields.string("safety_identifier", 512).value_or("");
  echo.prompt_cache_key = fields.string("prompt_cache_key", 512).value_or("");
  return echo;
}

Result<ParsedCall> parse_call_object(Endpoint endpoint, const json::object& object,
                                     const ParseLimits& limits) {
  Fields fields(object);
  ParsedCall parsed;
  parsed.call.endpoint = endpoint;
  read_common(fields, limits, parsed.call);
  switch (endpoint) {
    case Endpoint::completions: parse_completions(fields, limits, parsed.call); break;
    case Endpoint::chat_completions: parse_chat(fields, limits, parsed.call); break;
    case Endpoint::responses:
      parse_responses(fields, limits, parsed.call);
      parsed.echo = read_echo(fields);
      parsed.resumable = fields.boolean("resumable").value_or(false);
      break;
  }
  read_sampling(fields, limits, parsed.call);
  read_stop(fields, limits, parsed.call);
  refuse_foreign(fields);
  auto unknown = read_unknown(fields, limits);
  parsed.ignored_fields = std::move(unknown.names);
  parsed.num_ignored = unknown.count;
  if (fields.problem()) return *fields.problem();
  return parsed;
}

constexpr std::string_view event_types = "response.create, response.cancel and response.resume";

/// The part of a WebSocket event that every type has.
struct EventHead {
  std::string type, stream_id, event_id;
  std::optional<Error> problem;
};

EventHead read_event_head(Fields& fields) {
  EventHead head;
  const auto stream_id = fields.string("stream_id", 256);
  head.event_id = fields.string("event_id", 256).value_or("");
  if (stream_id && is_valid_stream_id(*stream_id))
    head.stream_id = *stream_id;
  else if (stream_id)
    fields.fail(Errc::invalid_value,
                "'stream_id' is '" + excerpt(*stream_id, 64) +
                    "'; allowed are 1 to 256 characters of A-Z, a-z, 0-9, '_', '.' and '-'",
                "stream_id");
  const auto type = fields.string("type", 64);
  if (!type)
    fields.fail(Errc::invalid_value, "'type' is missing; allowed are " + std::string(event_types),
                "type");
  head.type = type.value_or("");
  head.problem = fields.problem();
  return head;
}

}  // namespace

Result<ParsedCall> parse_call(Endpoint endpoint, std::string_view text, const ParseLimits& limits) {
  const auto object = parse_object(text, "the request body");
  if (!object) return object.error();
  return parse_call_object(endpoint, *object, limits);
}

std::variant<CreateResponse, CancelResponse, ResumeResponse, BadEvent> parse_websocket_event(
    std::string_view text, const ParseLimits& limits) {
  const auto object = parse_object(text, "the event");
  if (!object) return BadEvent{{}, {}, object.error()};
  Fields fields(*object);
  auto head = read_event_head(fields);
  const auto bad = [&](Error reason) {
    return BadEvent{head.stream_id, head.event_id, std::move(reason)};
  };
  if (head.problem) return bad(*head.problem);
  if (head.type == "response.cancel" || head.type == "response.resume") {
    auto id = fields.string("response_id", 128);
    if (!id) fields.fail(Errc::invalid_value, "'response_id' is missing", "response_id");
    const auto after =
        fields.integer("starting_after", -1, std::numeric_limits<std::int32_t>::max());
    if (fields.problem()) return bad(*fields.problem());
    if (head.type == "response.resume")
      return ResumeResponse{std::move(*id), std::move(head.event_id), after.value_or(-1)};
    return CancelResponse{std::move(*id), std::move(head.event_id)};
  }
  if (head.type != "response.create")
    return bad(error(
        Errc::invalid_value,
        "the event type '" + head.type + "' is not known; allowed are " + std::string(event_types),
        "type"));
  auto parsed = parse_call_object(Endpoint::responses, *object, limits);
  if (!parsed) return bad(parsed.error());
  parsed->call.stream = true;
  return CreateResponse{std::move(head.stream_id), std::move(head.event_id), std::move(*parsed)};
}

}  // namespace tandem::api
