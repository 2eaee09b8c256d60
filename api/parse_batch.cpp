// Batches on the wire: the call that creates one, and the lines of its input file.
#include <algorithm>
#include <boost/json.hpp>
#include <charconv>

#include "api/json_fields.hpp"
#include "api/parse.hpp"
#include "api/parse_fields.hpp"

namespace tandem::api {
namespace json = boost::json;
namespace {

constexpr std::int64_t max_window_seconds = 30 * 24 * 3600;
constexpr std::string_view endpoints[] = {"/v1/completions", "/v1/chat/completions"};

bool is_batch_endpoint(std::string_view url) {
  return std::find(std::begin(endpoints), std::end(endpoints), url) != std::end(endpoints);
}

/// "24h", "90m" in seconds; 0 if it is no such text, or more than 30 days.
std::int64_t window_seconds(std::string_view text) {
  const auto* const last = text.data() + text.size();
  std::int64_t count = 0;
  const auto [end, failed] = std::from_chars(text.data(), last, count);
  if (failed != std::errc() || end == last || end + 1 != last) return 0;
  const std::int64_t unit = *end == 'h' ? 3600 : *end == 'm' ? 60 : 0;
  if (unit == 0 || count < 1 || count > max_window_seconds / unit) return 0;
  return count * unit;
}

/// `output_expires_after`: {"anchor": "created_at", "seconds": …}; both are needed.
std::optional<std::int64_t> read_output_expiry(Fields& fields) {
  constexpr const char* name = "output_expires_after";
  const auto* given = fields.object(name);
  if (!given) return std::nullopt;
  Fields expiry(*given, name);
  const auto anchor = expiry.string("anchor", 64);
  if (anchor != "created_at")
    expiry.fail(Errc::invalid_value,
                "'output_expires_after.anchor' is " +
                    (anchor ? "'" + excerpt(*anchor, 32) + "'" : std::string("missing")) +
                    "; the only anchor is 'created_at'",
                "anchor");
  const auto seconds = expiry.integer("seconds", 3600, max_window_seconds);
  if (!seconds)
    expiry.fail(Errc::invalid_value,
                "'output_expires_after.seconds' is missing; allowed is 3600 to " +
                    std::to_string(max_window_seconds),
                "seconds");
  if (expiry.problem()) fields.fail(*expiry.problem());
  return seconds;
}

/// Why a line's own fields (not those of its body) are refused.
std::optional<BatchLineError> line_problem(const json::object& line) {
  const auto bad = [](std::string_view name, std::string code, const std::string& what) {
    return BatchLineError{error(Errc::invalid_value, what, std::string(name)), std::move(code)};
  };
  for (const auto* name : {"custom_id", "method", "url", "body"}) {
    const auto* value = line.if_contains(name);
    if (!value || value->is_null())
      return bad(
          name, "missing_required_parameter",
          "'" + std::string(name) + "' is missing; a line has custom_id, method, url and body");
  }
  const auto* id = line.at("custom_id").if_string();
  if (!id || id->empty() || id->size() > 512)
    return bad("custom_id", "invalid_custom_id",
               "'custom_id' is " +
                   (id ? "a string of " + std::to_string(id->size()) + " bytes"
                       : describe(line.at("custom_id"))) +
                   "; allowed are strings of 1 to 512 bytes");
  const auto* method = line.at("method").if_string();
  if (!method || *method != "POST")
    return bad("method", "invalid_method",
               "'method' is " + describe(line.at("method")) + "; allowed is 'POST'");
  const auto* url = line.at("url").if_string();
  if (!url || !is_batch_endpoint(*url))
    return bad("url", "invalid_url",
               "'url' is " + describe(line.at("url")) +
                   "; allowed are /v1/completions and /v1/chat/completions");
  if (!line.at("body").is_object())
    return bad("body", "invalid_value",
               "'body' must be an object, not " + describe(line.at("body")));
  return std::nullopt;
}

}  // namespace

boost::system::result<BatchLine, BatchLineError> parse_batch_line(std::string_view line) {
  const auto object = parse_object(line, "the line");
  if (!object) return BatchLineError{object.error(), "invalid_json_line"};
  if (auto problem = line_problem(*object)) return std::move(*problem);
  return BatchLine{std::string(object->at("custom_id").as_string()),
                   std::string(object->at("url").as_string()), json::serialize(object->at("body"))};
}

std::string batch_error_code(const BatchLineError& reason) { return reason.line_code; }

Result<BatchCreate> parse_batch_create(std::string_view text, const ParseLimits& limits) {
  const auto object = parse_object(text, "the request body");
  if (!object) return object.error();
  Fields fields(*object);
  BatchCreate create;
  const auto required = [&](const char* name) {
    const auto value = fields.string(name, 256);
    if (!value || value->empty())
      fields.fail(Errc::invalid_value, "'" + std::string(name) + "' is missing", name);
    return value.value_or("");
  };
  create.input_file_id = required("input_file_id");
  create.endpoint = required("endpoint");
  if (!is_batch_endpoint(create.endpoint))
    fields.fail(Errc::invalid_value,
                "'endpoint' is '" + excerpt(create.endpoint, 64) +
                    "'; allowed are /v1/completions and /v1/chat/completions",
                "endpoint");
  create.completion_window = required("completion_window");
  create.window_seconds = window_seconds(create.completion_window);
  if (create.window_seconds == 0)
    fields.fail(Errc::invalid_value,
                "'completion_window' is '" + excerpt(create.completion_window, 32) +
                    "'; allowed are 24h, or <n>h and <n>m up to 30 days",
                "completion_window");
  create.metadata = read_metadata(fields);
  create.output_expires_after_seconds = read_output_expiry(fields);
  create.num_ignored = read_unknown(fields, limits).count;
  if (fields.problem()) return *fields.problem();
  return create;
}

}  // namespace tandem::api
