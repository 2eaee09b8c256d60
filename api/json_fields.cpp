// See json_fields.hpp.
#include "api/json_fields.hpp"

#include <algorithm>
#include <boost/json.hpp>
#include <charconv>
#include <cmath>

namespace tandem::api {
namespace json = boost::json;

namespace {

constexpr std::size_t max_depth = 32;
constexpr std::size_t max_excerpt = 40;

/// The shortest text that reads back as `value`: "0.01", "-2", "1e+300".
std::string number_text(double value) {
  char text[32];
  const auto end = std::to_chars(text, text + sizeof text, value).ptr;
  return {text, end};
}

std::string_view view(const json::string& text) { return {text.data(), text.size()}; }
std::string_view view(json::string_view text) { return {text.data(), text.size()}; }

/// {}, [], "" and false: there, and asking for nothing.
bool is_empty(const json::value& value) {
  if (const auto* object = value.if_object()) return object->empty();
  if (const auto* array = value.if_array()) return array->empty();
  if (const auto* text = value.if_string()) return text->empty();
  return value.is_bool() && !value.as_bool();
}

}  // namespace

Result<json::object> parse_object(std::string_view text, std::string_view what) {
  json::parse_options options;
  options.max_depth = max_depth;
  boost::system::error_code failed;
  // Boost.JSON refuses invalid UTF-8 and incomplete texts; its own messages name no input.
  json::stream_parser parser({}, options);
  const auto read = parser.write(text.data(), text.size(), failed);
  if (!failed) parser.finish(failed);
  if (failed)
    return error(Errc::invalid_value,
                 std::string(what) + " is not valid JSON (" + failed.message() + " at byte " +
                     std::to_string(read) + " of " + std::to_string(text.size()) +
                     "); allowed is one JSON object of at most 32 levels, in UTF-8");
  auto value = parser.release();
  if (!value.is_object())
    return error(Errc::invalid_value,
                 std::string(what) + " must be a JSON object, not " + describe(value));
  return std::move(value.as_object());
}

std::string describe(const json::value& value) {
  switch (value.kind()) {
    case json::kind::null: return "null";
    case json::kind::bool_: return value.as_bool() ? "true" : "false";
    case json::kind::int64: return "the number " + std::to_string(value.as_int64());
    case json::kind::uint64: return "the number " + std::to_string(value.as_uint64());
    case json::kind::double_: return "the number " + number_text(value.as_double());
    case json::kind::string:
      return "the string '" + excerpt(view(value.as_string()), max_excerpt) + "'";
    case json::kind::array: return "an array";
    case json::kind::object: return "an object";
  }
  return "something else";
}

std::string excerpt(std::string_view text, std::size_t max_bytes) {
  if (text.size() <= max_bytes) return std::string(text);
  const auto continues = [&](std::size_t at) {
    return (static_cast<unsigned char>(text[at]) & 0xC0U) == 0x80U;
  };
  while (max_bytes > 0 && continues(max_bytes)) --max_bytes;
  return std::string(text.substr(0, max_bytes)) + "…";
}

std::size_t count_characters(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U;
  }));
}

Fields::Fields(const json::object& object, std::string prefix)
    : object_(object), prefix_(std::move(prefix)) {}

std::string Fields::path(std::string_view name) const {
  return prefix_.empty() ? std::string(name) : prefix_ + "." + std::string(name);
}

void Fields::fail(Errc code, std::string message, std::string_view name) {
  if (!problem_) problem_ = error(code, std::move(message), path(name));
}

const json::value* Fields::find(std::string_view name) {
  known_.push_back(name);
  const auto* value = object_.if_contains(name);
  return value && !value->is_null() ? value : nullptr;
}

std::optional<std::string> Fields::string(std::string_view name, std::size_t max_bytes) {
  const auto* value = find(name);
  if (!value) return std::nullopt;
  if (!value->is_string()) {
    fail(Errc::invalid_value, "'" + path(name) + "' must be a string, not " + describe(*value),
         name);
    return std::nullopt;
  }
  const auto& text = value->as_string();
  if (text.size() > max_bytes) {
    fail(Errc::invalid_value,
         "'" + path(name) + "' has " + std::to_string(text.size()) +
             " bytes; allowed are at most " + std::to_string(max_bytes),
         name);
    return std::nullopt;
  }
  return std::string(text);
}

std::optional<double> Fields::number(std::string_view name, double min, double max) {
  const auto* value = find(name);
  if (!value) return std::nullopt;
  double number = 0;
  if (value->is_int64())
    number = static_cast<double>(value->as_int64());
  else if (value->is_uint64())
    number = static_cast<double>(value->as_uint64());
  else if (value->is_double())
    number = value->as_double();
  else
    number = std::nan("");
  if (!(number >= min && number <= max)) {
    fail(Errc::invalid_value,
         "'" + path(name) + "' must be a number from " + number_text(min) + " to " +
             number_text(max) + ", not " + describe(*value),
         name);
    return std::nullopt;
  }
  return number;
}

std::optional<std::int64_t> Fields::integer(std::string_view name, std::int64_t min,
                                            std::int64_t max) {
  const auto* value = find(name);
  if (!value) return std::nullopt;
  std::optional<std::int64_t> number;
  if (value->is_int64()) number = value->as_int64();
  // Clients of dynamic languages send 3.0 for 3.
  if (value->is_double() && std::floor(value->as_double()) == value->as_double() &&
      std::abs(value->as_double()) < 9e15)
    number = static_cast<std::int64_t>(value->as_double());
  if (number && *number >= min && *number <= max) return number;
  fail(Errc::invalid_value,
       "'" + path(name) + "' must be an integer from " + std::to_string(min) + " to " +
           std::to_string(max) + ", not " + describe(*value),
       name);
  return std::nullopt;
}

std::optional<bool> Fields::boolean(std::string_view name) {
  const auto* value = find(name);
  if (!value) return std::nullopt;
  if (value->is_bool()) return value->as_bool();
  fail(Errc::invalid_value, "'" + path(name) + "' must be true or false, not " + describe(*value),
       name);
  return std::nullopt;
}

const json::array* Fields::array(std::string_view name, std::size_t max_size) {
  const auto* value = find(name);
  if (!value) return nullptr;
  if (!value->is_array()) {
    fail(Errc::invalid_value, "'" + path(name) + "' must be an array, not " + describe(*value),
         name);
    return nullptr;
  }
  if (value->as_array().size() > max_size) {
    fail(Errc::invalid_value,
         "'" + path(name) + "' has " + std::to_string(value->as_array().size()) +
             " entries; allowed are at most " + std::to_string(max_size),
         name);
    return nullptr;
  }
  return &value->as_array();
}

const json::object* Fields::object(std::string_view name) {
  const auto* value = find(name);
  if (!value) return nullptr;
  if (value->is_object()) return &value->as_object();
  fail(Errc::invalid_value, "'" + path(name) + "' must be an object, not " + describe(*value),
       name);
  return nullptr;
}

void Fields::unsupported(std::string_view name, std::string_view why) {
  if (find(name))
    fail(Errc::unsupported, "'" + path(name) + "' is not supported: " + std::string(why), name);
}

void Fields::unsupported_unless_empty(std::string_view name, std::string_view why) {
  const auto* value = find(name);
  if (value && !is_empty(*value)) unsupported(name, why);
}

void Fields::refuse_unknown() {
  for (const auto& entry : object_) {
    const auto name = view(entry.key());
    if (is_known(name) || entry.value().is_null() || is_empty(entry.value())) continue;
    const auto shown = excerpt(name, 64);
    return fail(Errc::unsupported, "'" + path(shown) + "' is not a field that is known here",
                shown);
  }
}

bool Fields::is_known(std::string_view name) const {
  return std::find(known_.begin(), known_.end(), name) != known_.end();
}

std::vector<std::string> Fields::unknown(std::size_t max) const {
  std::vector<std::string> names;
  for (const auto& entry : object_) {
    if (names.size() == max) break;
    if (!is_known(view(entry.key()))) names.push_back(excerpt(view(entry.key()), 64));
  }
  return names;
}

std::size_t Fields::num_unknown() const {
  return static_cast<std::size_t>(
      std::count_if(object_.begin(), object_.end(),
                    [this](const auto& entry) { return !is_known(view(entry.key())); }));
}

std::map<std::string, std::string> read_metadata(Fields& fields) {
  const auto* object = fields.object("metadata");
  if (!object) return {};
  const auto fail = [&](const std::string& what) {
    fields.fail(Errc::invalid_value,
                "'metadata' " + what +
                    "; allowed are 16 pairs of strings, keys of at most 64 and values of at most "
                    "512 characters",
                "metadata");
    return std::map<std::string, std::string>();
  };
  if (object->size() > 16) return fail("has " + std::to_string(object->size()) + " pairs");
  std::map<std::string, std::string> metadata;
  for (const auto& entry : *object) {
    const auto key = view(entry.key());
    if (count_characters(key) > 64)
      return fail("has a key of " + std::to_string(count_characters(key)) + " characters");
    const auto* value = entry.value().if_string();
    if (!value) return fail("has a value that is " + describe(entry.value()));
    if (count_characters(view(*value)) > 512)
      return fail("has a value of " + std::to_string(count_characters(view(*value))) +
                  " characters");
    metadata.emplace(key, view(*value));
  }
  return metadata;
}

}  // namespace tandem::api
