// See json_fields.hpp.
#include "api/json_fields.hpp"

#include <algorithm>
#include <boost/json.hpp>
#include <cmath>

namespace tandem::api {
namespace json = boost::json;

namespace {

constexpr std::size_t max_depth = 32;

std::string number_text(double value) {
  auto text = json::serialize(json::value(value));
  if (std::floor(value) == value && std::abs(value) < 1e15)
    text = std::to_string(static_cast<std::int64_t>(value));
  return text;
}

}  // namespace

Result<json::object> parse_object(std::string_view text, std::string_view what) {
  json::parse_options options;
  options.max_depth = max_depth;
  boost::system::error_code failed;
  // Boost.JSON refuses invalid UTF-8 and incomplete texts; its own messages name no input.
  auto value = json::parse(json::string_view(text.data(), text.size()), failed, {}, options);
  if (failed)
    return error(Errc::invalid_value,
                 std::string(what) + " is not valid JSON (" + failed.message() +
                     "); allowed is one JSON object of at most 32 levels, in UTF-8");
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
    case json::kind::string: return "a string";
    case json::kind::array: return "an array";
    case json::kind::object: return "an object";
  }
  return "something else";
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
  const auto* value = object_.if_contains(json::string_view(name.data(), name.size()));
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

std::vector<std::string> Fields::unknown(std::size_t max) const {
  std::vector<std::string> names;
  for (const auto& entry : object_) {
    const std::string_view key(entry.key().data(), entry.key().size());
    if (std::find(known_.begin(), known_.end(), key) != known_.end()) continue;
    if (names.size() < max) names.emplace_back(key.substr(0, 64));
  }
  return names;
}

}  // namespace tandem::api
