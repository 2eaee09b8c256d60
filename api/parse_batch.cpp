// Batches on the wire: the call that creates one, and the lines of its input file (api.md §1.2).
#include <boost/json.hpp>
#include <charconv>

#include "api/json_fields.hpp"
#include "api/parse.hpp"

namespace tandem::api {
namespace json = boost::json;
namespace {

/// "24h", "90m" in seconds; 0 if it is no such text.
std::int64_t window_seconds(std::string_view text) {
  std::int64_t count = 0;
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), count);
  if (failed != std::errc() || end + 1 != text.data() + text.size() || count < 1) return 0;
  const std::int64_t unit = *end == 'h' ? 3600 : *end == 'm' ? 60 : 0;
  return count <= 24 * 30 * 60 ? count * unit : 0;
}

void read_metadata(Fields& fields, std::map<std::string, std::string>& metadata) {
  const auto* object = fields.object("metadata");
  if (!object) return;
  const auto fail = [&](const std::string& what) {
    fields.fail(
        Errc::invalid_value,
        "'metadata' " + what +
            "; allowed are 16 pairs, keys of at most 64 and values of at most 512 characters",
        "metadata");
  };
  if (object->size() > 16) return fail("has " + std::to_string(object->size()) + " pairs");
  for (const auto& entry : *object) {
    if (entry.key().size() > 64)
      return fail("has a key of " + std::to_string(entry.key().size()) + " bytes");
    if (!entry.value().is_string()) return fail("has a value that is " + describe(entry.value()));
    if (entry.value().as_string().size() > 512)
      return fail("has a value of " + std::to_string(entry.value().as_string().size()) + " bytes");
    metadata.emplace(std::string(entry.key()), std::string(entry.value().as_string()));
  }
}

}  // namespace

Result<BatchLine> parse_batch_line(std::string_view line) {
  const auto object = parse_object(line, "the line");
  if (!object) return object.error();
  Fields fields(*object);
  const auto custom_id = fields.string("custom_id", 512);
  const auto method = fields.string("method", 16);
  const auto url = fields.string("url", 256);
  const auto* body = fields.object("body");
  if (!fields.problem()) {
    if (!custom_id || custom_id->empty())
      fields.fail(Errc::invalid_value, "'custom_id' is missing; every line needs its own",
                  "custom_id");
    if (!method || *method != "POST")
      fields.fail(Errc::invalid_value, "'method' must be POST", "method");
    if (!url) fields.fail(Errc::invalid_value, "'url' is missing", "url");
    if (!body) fields.fail(Errc::invalid_value, "'body' is missing", "body");
  }
  if (fields.problem()) return *fields.problem();
  return BatchLine{*custom_id, *url, json::serialize(*body)};
}

Result<BatchCreate> parse_batch_create(std::string_view text) {
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
  create.completion_window = required("completion_window");
  create.window_seconds = window_seconds(create.completion_window);
  if (create.window_seconds == 0)
    fields.fail(Errc::invalid_value,
                "'completion_window' is '" + create.completion_window.substr(0, 32) +
                    "'; allowed are 24h, or <n>h and <n>m up to 30 days",
                "completion_window");
  read_metadata(fields, create.metadata);
  fields.unsupported("output_expires_after", "output files stay until they are deleted");
  if (fields.problem()) return *fields.problem();
  return create;
}

}  // namespace tandem::api
