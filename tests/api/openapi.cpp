#include "tests/api/openapi.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <fstream>
#include <iterator>
#include <map>
#include <optional>

namespace tandem::api::testing {
namespace json = boost::json;
namespace {

using Keys = std::vector<const char*>;

// Source: openai/openai-openapi f85dbe2, `required` of each schema. Those of the Responses API are
// not in the cut of the document that the tests may find.
const std::map<std::string_view, Keys>& required_keys() {
  static const std::map<std::string_view, Keys> table{
      {"CreateChatCompletionResponse", {"choices", "created", "id", "model", "object"}},
      {"CreateChatCompletionStreamResponse", {"choices", "created", "id", "model", "object"}},
      {"CreateCompletionResponse", {"id", "object", "created", "model", "choices"}},
      {"chat choice", {"finish_reason", "index", "message", "logprobs"}},
      {"chat stream choice", {"delta", "finish_reason", "index"}},
      {"completion choice", {"finish_reason", "index", "logprobs", "text"}},
      {"ChatCompletionResponseMessage", {"role", "content", "refusal"}},
      {"ChatCompletionTokenLogprob", {"token", "logprob", "bytes", "top_logprobs"}},
      {"CompletionUsage", {"prompt_tokens", "completion_tokens", "total_tokens"}},
      {"Batch",
       {"id", "object", "endpoint", "input_file_id", "completion_window", "status", "created_at"}},
      {"BatchRequestCounts", {"total", "completed", "failed"}},
      {"OpenAIFile", {"id", "object", "bytes", "created_at", "filename", "purpose", "status"}},
      {"ListFilesResponse", {"object", "data", "first_id", "last_id", "has_more"}},
      {"ListBatchesResponse", {"object", "data", "has_more"}},
      {"DeleteFileResponse", {"id", "object", "deleted"}},
      {"Model", {"id", "object", "created", "owned_by"}},
      {"ListModelsResponse", {"object", "data"}},
      {"Error", {"type", "message", "param", "code"}},
      {"ErrorResponse", {"error"}},
      {"Response",
       {"id", "object", "created_at", "error", "incomplete_details", "instructions", "model",
        "tools", "output", "parallel_tool_calls", "metadata", "tool_choice", "temperature", "top_p",
        "status", "usage"}},
      {"ResponseUsage",
       {"input_tokens", "input_tokens_details", "output_tokens", "output_tokens_details",
        "total_tokens"}},
      {"OutputMessage", {"id", "type", "role", "content", "status"}},
      {"OutputTextContent", {"type", "text", "annotations", "logprobs"}},
      {"ReasoningItem", {"id", "summary", "type"}},
      {"FunctionToolCall", {"type", "call_id", "name", "arguments"}},
      {"response.reasoning_text.delta",
       {"type", "item_id", "output_index", "content_index", "delta", "sequence_number"}},
      {"response.reasoning_text.done",
       {"type", "item_id", "output_index", "content_index", "text", "sequence_number"}},
      {"response.function_call_arguments.delta",
       {"type", "item_id", "output_index", "delta", "sequence_number"}},
      {"response.function_call_arguments.done",
       {"type", "item_id", "name", "output_index", "arguments", "sequence_number"}},
      {"response.created", {"type", "response", "sequence_number"}},
      {"response.in_progress", {"type", "response", "sequence_number"}},
      {"response.completed", {"type", "response", "sequence_number"}},
      {"response.incomplete", {"type", "response", "sequence_number"}},
      {"response.failed", {"type", "response", "sequence_number"}},
      {"response.output_item.added", {"type", "output_index", "sequence_number", "item"}},
      {"response.output_item.done", {"type", "output_index", "sequence_number", "item"}},
      {"response.content_part.added",
       {"type", "item_id", "output_index", "content_index", "part", "sequence_number"}},
      {"response.content_part.done",
       {"type", "item_id", "output_index", "content_index", "part", "sequence_number"}},
      {"response.output_text.delta",
       {"type", "item_id", "output_index", "content_index", "delta", "sequence_number",
        "logprobs"}},
      {"response.output_text.done",
       {"type", "item_id", "output_index", "content_index", "text", "sequence_number",
        "logprobs"}}};
  return table;
}

/// The schemas of the document, if it is there; read once.
const json::object* schemas() {
  static const std::optional<json::value> document = []() -> std::optional<json::value> {
    std::ifstream in("../shared/data/openai-openapi/openapi-subset.json");
    if (!in) {
      WARN("the OpenAPI document is not there: replies are only checked for required keys");
      return std::nullopt;
    }
    const std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
    return json::parse(text);
  }();
  return document ? &document->at("components").at("schemas").as_object() : nullptr;
}

bool has_type(const json::value& value, std::string_view type) {
  if (type == "object") return value.is_object();
  if (type == "array") return value.is_array();
  if (type == "string") return value.is_string();
  if (type == "integer") return value.is_int64() || value.is_uint64();
  if (type == "number") return value.is_number();
  if (type == "boolean") return value.is_bool();
  return type == "null" && value.is_null();
}

/// The part of JSON Schema that the document uses for replies.
class Checker {
 public:
  std::vector<std::string> found;

  void check(const json::object& schema, const json::value& value, const std::string& where) {
    if (const auto* nullable = schema.if_contains("nullable");
        nullable && nullable->as_bool() && value.is_null())
      return;
    if (const auto* reference = schema.if_contains("$ref")) {
      const std::string path(reference->as_string());
      return check(schemas()->at(path.substr(path.rfind('/') + 1)).as_object(), value, where);
    }
    for (const auto* one_of : {"anyOf", "oneOf"})
      if (const auto* choices = schema.if_contains(one_of))
        check_any(choices->as_array(), value, where);
    if (const auto* all = schema.if_contains("allOf"))
      for (const auto& part : all->as_array()) check(part.as_object(), value, where);
    if (const auto* type = schema.if_contains("type")) check_type(*type, value, where);
    if (const auto* allowed = schema.if_contains("enum")) {
      const auto& list = allowed->as_array();
      if (std::find(list.begin(), list.end(), value) == list.end())
        found.push_back(where + " holds " + json::serialize(value));
    }
    if (value.is_object()) check_object(schema, value.as_object(), where);
    if (const auto* items = schema.if_contains("items"); items && value.is_array())
      for (const auto& item : value.as_array()) check(items->as_object(), item, where + "[]");
  }

 private:
  void check_type(const json::value& type, const json::value& value, const std::string& where) {
    bool good = false;
    if (type.is_string()) good = has_type(value, type.as_string());
    if (type.is_array())
      for (const auto& one : type.as_array()) good = good || has_type(value, one.as_string());
    if (!good) found.push_back(where + " is no " + json::serialize(type));
  }

  void check_any(const json::array& choices, const json::value& value, const std::string& where) {
    std::string reasons;
    for (const auto& choice : choices) {
      Checker one;
      one.check(choice.as_object(), value, where);
      if (one.found.empty()) return;
      reasons += " | " + one.found.front();
    }
    found.push_back(where + " fits no alternative" + reasons);
  }

  void check_object(const json::object& schema, const json::object& value,
                    const std::string& where) {
    const auto* required = schema.if_contains("required");
    const auto is_required = [&](json::string_view key) {
      if (!required) return false;
      const auto& list = required->as_array();
      return std::find(list.begin(), list.end(), json::value(key)) != list.end();
    };
    if (required)
      for (const auto& key : required->as_array())
        if (!value.contains(key.as_string()))
          found.push_back(where + " lacks " + std::string(key.as_string()));
    if (const auto* properties = schema.if_contains("properties"))
      for (const auto& property : properties->as_object()) {
        const auto* field = value.if_contains(property.key());
        if (!field || (field->is_null() && !is_required(property.key()))) continue;
        check(property.value().as_object(), *field, where + "." + std::string(property.key()));
      }
    if (const auto* more = schema.if_contains("additionalProperties"); more && more->is_object())
      for (const auto& entry : value)
        check(more->as_object(), entry.value(), where + "." + std::string(entry.key()));
  }
};

}  // namespace

std::vector<std::string> missing_keys(std::string_view schema, const json::object& value) {
  std::vector<std::string> missing;
  for (const auto* key : required_keys().at(schema))
    if (!value.contains(key)) missing.emplace_back(key);
  return missing;
}

std::vector<std::string> violations(std::string_view schema, const json::value& value) {
  Checker checker;
  if (schemas() && schemas()->contains(schema))
    checker.check(schemas()->at(schema).as_object(), value, std::string(schema));
  return checker.found;
}

std::string problems(std::string_view schema, std::string_view text) {
  boost::system::error_code failed;
  const auto value = json::parse(text, failed);
  if (failed || !value.is_object()) return "not a JSON object";
  std::string result;
  for (const auto& key : missing_keys(schema, value.as_object())) result += " lacks " + key + ";";
  for (const auto& violation : violations(schema, value)) result += " " + violation + ";";
  return result;
}

}  // namespace tandem::api::testing
