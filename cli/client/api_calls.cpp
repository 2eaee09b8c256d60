// See api_calls.hpp.
#include "cli/client/api_calls.hpp"

#include <boost/json.hpp>

namespace tandem::client {
namespace json = boost::json;
namespace {

constexpr std::string_view boundary = "tandem-client-3f1c9a7e5b2d4860";

std::string text_of(const json::object& object, std::string_view name) {
  const auto* value = object.if_contains(name);
  return value && value->is_string() ? std::string(value->as_string()) : std::string();
}

std::int64_t number_of(const json::object& object, std::string_view name) {
  const auto* value = object.if_contains(name);
  return value && value->is_int64() ? value->as_int64() : 0;
}

const json::object* object_of(const json::object& object, std::string_view name) {
  const auto* value = object.if_contains(name);
  return value ? value->if_object() : nullptr;
}

Result<json::object> parse(std::string_view text) {
  json::error_code failure;
  auto value = json::parse(text, failure);
  if (failure || !value.is_object())
    return error(Errc::invalid_value, "the service sent something that is no JSON object: " +
                                          std::string(text.substr(0, 200)));
  return std::move(value.as_object());
}

/// The body of a reply that is fine, or what is wrong.
Result<std::string> ask(const Url& url, HttpRequest request) {
  const auto what = request.method + " " + request.target;
  auto response = call(url, std::move(request));
  if (!response) return response.error();
  if (response->status != 200)
    return error(Errc::invalid_value, what + " was answered with status " +
                                          std::to_string(response->status) + ": " +
                                          error_message(*response));
  return std::move(response->body);
}

}  // namespace

std::string error_message(const HttpResponse& response) {
  json::error_code failure;
  const auto value = json::parse(response.body, failure);
  if (!failure && value.is_object())
    if (const auto* error = object_of(value.as_object(), "error")) {
      const auto message = text_of(*error, "message");
      if (!message.empty()) return message;
    }
  return response.body.substr(0, 200);
}

bool BatchState::ended() const {
  return status == "completed" || status == "failed" || status == "expired" ||
         status == "cancelled";
}

Result<ModelInfo> first_model(const Url& url) {
  const auto body = ask(url, {.target = "/v1/models", .timeout = std::chrono::seconds(30)});
  if (!body) return body.error();
  const auto list = parse(*body);
  if (!list) return list.error();
  const auto* data = list->if_contains("data");
  if (!data || !data->is_array() || data->as_array().empty() ||
      !data->as_array().front().is_object())
    return error(Errc::model_not_found, "the service lists no model");
  const auto& model = data->as_array().front().as_object();
  return ModelInfo{text_of(model, "id"), number_of(model, "max_model_len"),
                   number_of(model, "vocab_size")};
}

Result<std::string> upload_batch_file(const Url& url, std::string_view content) {
  HttpRequest request{.method = "POST", .target = "/v1/files"};
  const auto part = "--" + std::string(boundary) + "\r\nContent-Disposition: form-data; name=";
  request.body = part + "\"purpose\"\r\n\r\nbatch\r\n" + part +
                 "\"file\"; filename=\"items.jsonl\"\r\nContent-Type: application/jsonl\r\n\r\n" +
                 std::string(content) + "\r\n--" + std::string(boundary) + "--\r\n";
  request.content_type = "multipart/form-data; boundary=" + std::string(boundary);
  const auto body = ask(url, std::move(request));
  if (!body) return body.error();
  const auto file = parse(*body);
  if (!file) return file.error();
  return text_of(*file, "id");
}

Result<BatchState> parse_batch(std::string_view text) {
  const auto object = parse(text);
  if (!object) return object.error();
  BatchState batch;
  batch.id = text_of(*object, "id");
  batch.status = text_of(*object, "status");
  batch.output_file_id = text_of(*object, "output_file_id");
  batch.error_file_id = text_of(*object, "error_file_id");
  if (const auto* counts = object_of(*object, "request_counts")) {
    batch.total = number_of(*counts, "total");
    batch.completed = number_of(*counts, "completed");
    batch.failed = number_of(*counts, "failed");
  }
  if (const auto* usage = object_of(*object, "usage")) {
    batch.input_tokens = number_of(*usage, "input_tokens");
    batch.output_tokens = number_of(*usage, "output_tokens");
  }
  if (const auto* errors = object_of(*object, "errors")) batch.errors = json::serialize(*errors);
  return batch;
}

Result<BatchState> create_batch(const Url& url, const std::string& file_id,
                                const std::string& endpoint) {
  const auto body =
      ask(url,
          {.method = "POST",
           .target = "/v1/batches",
           .body = json::serialize(json::object{
               {"input_file_id", file_id}, {"endpoint", endpoint}, {"completion_window", "24h"}})});
  if (!body) return body.error();
  return parse_batch(*body);
}

Result<BatchState> get_batch(const Url& url, const std::string& id) {
  const auto body = ask(url, {.target = "/v1/batches/" + id, .timeout = std::chrono::seconds(60)});
  if (!body) return body.error();
  return parse_batch(*body);
}

Result<std::string> file_content(const Url& url, const std::string& id) {
  return ask(url, {.target = "/v1/files/" + id + "/content"});
}

}  // namespace tandem::client
