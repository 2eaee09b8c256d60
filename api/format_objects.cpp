// See format.hpp: files and batches.
#include <boost/json.hpp>

#include "api/format.hpp"

namespace tandem::api {
namespace json = boost::json;
namespace {

json::value optional_text(const std::string& text) {
  return text.empty() ? json::value(nullptr) : json::value(text);
}

json::value optional_time(const std::optional<std::int64_t>& time) {
  return time ? json::value(*time) : json::value(nullptr);
}

/// The API's own names: a renamed state of the store must not change them.
std::string_view status_name(store::BatchState state) {
  using enum store::BatchState;
  switch (state) {
    case validating: return "validating";
    case failed: return "failed";
    case in_progress: return "in_progress";
    case finalizing: return "finalizing";
    case completed: return "completed";
    case expired: return "expired";
    case cancelling: return "cancelling";
    case cancelled: return "cancelled";
  }
  return "failed";
}

json::object file_json(const store::FileInfo& file) {
  json::object object{{"id", file.id},
                      {"object", "file"},
                      {"bytes", file.bytes},
                      {"created_at", file.created_at},
                      {"filename", file.filename},
                      {"purpose", file.purpose},
                      {"status", "processed"}};
  if (file.expires_at) object["expires_at"] = *file.expires_at;
  return object;
}

json::value errors_json(const std::vector<store::BatchError>& errors) {
  if (errors.empty()) return nullptr;
  json::array data;
  for (const auto& e : errors)
    data.push_back({{"code", e.code},
                    {"message", e.message},
                    {"param", optional_text(e.param)},
                    {"line", optional_time(e.line)}});
  return json::object{{"object", "list"}, {"data", std::move(data)}};
}

json::object batch_json(const store::BatchInfo& b) {
  json::object metadata;
  for (const auto& [key, value] : b.metadata) metadata[key] = value;
  return {
      {"id", b.id},
      {"object", "batch"},
      {"endpoint", b.endpoint},
      {"model", optional_text(b.model)},
      {"errors", errors_json(b.errors)},
      {"input_file_id", b.input_file_id},
      {"completion_window", b.completion_window},
      {"status", status_name(b.state)},
      {"output_file_id", optional_text(b.output_file_id)},
      {"error_file_id", optional_text(b.error_file_id)},
      {"created_at", b.created_at},
      {"in_progress_at", optional_time(b.in_progress_at)},
      {"expires_at", b.expires_at},
      {"finalizing_at", optional_time(b.finalizing_at)},
      {"completed_at", optional_time(b.completed_at)},
      {"failed_at", optional_time(b.failed_at)},
      {"expired_at", optional_time(b.expired_at)},
      {"cancelling_at", optional_time(b.cancelling_at)},
      {"cancelled_at", optional_time(b.cancelled_at)},
      {"request_counts", {{"total", b.total}, {"completed", b.completed}, {"failed", b.failed}}},
      {"usage",
       {{"input_tokens", b.prompt_tokens},
        {"input_tokens_details", {{"cached_tokens", b.cached_tokens}}},
        {"output_tokens", b.completion_tokens},
        {"output_tokens_details", {{"reasoning_tokens", b.reasoning_tokens}}},
        {"total_tokens", b.prompt_tokens + b.completion_tokens}}},
      {"metadata", std::move(metadata)}};
}

/// The page that OpenAI's list calls share.
template <class Items, class ToJson>
std::string list_json(const Items& items, bool has_more, ToJson to_json) {
  json::array data;
  for (const auto& item : items) data.push_back(to_json(item));
  json::object list{{"object", "list"}, {"data", std::move(data)}, {"has_more", has_more}};
  list["first_id"] = items.empty() ? json::value("") : json::value(items.front().id);
  list["last_id"] = items.empty() ? json::value("") : json::value(items.back().id);
  return json::serialize(list);
}

}  // namespace

std::string file_object(const store::FileInfo& file) { return json::serialize(file_json(file)); }
std::string file_list(const std::vector<store::FileInfo>& files, bool has_more) {
  return list_json(files, has_more, file_json);
}
std::string file_deleted(std::string_view id) {
  return json::serialize(json::object{{"id", id}, {"object", "file"}, {"deleted", true}});
}
std::string batch_object(const store::BatchInfo& batch) {
  return json::serialize(batch_json(batch));
}
std::string batch_list(const std::vector<store::BatchInfo>& batches, bool has_more) {
  return list_json(batches, has_more, batch_json);
}

}  // namespace tandem::api
