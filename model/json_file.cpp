#include "model/json_file.hpp"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <cmath>
#include <fstream>

namespace tandem::model {

Result<std::string> read_file(const std::filesystem::path& path, std::uint64_t max_bytes) {
  const std::string name = path.string();
  std::error_code failure;
  if (!std::filesystem::is_regular_file(path, failure)) {
    return error(Errc::not_found, name + ": there is no such file", name);
  }
  const std::uint64_t size = std::filesystem::file_size(path, failure);
  if (failure) return error(Errc::invalid_value, name + ": " + failure.message(), name);
  if (size > max_bytes) {
    return error(Errc::too_large,
                 name + ": the file has " + std::to_string(size) + " bytes; at most " +
                     std::to_string(max_bytes) + " are allowed",
                 name);
  }
  std::string text(size, '\0');
  std::ifstream in(path, std::ios::binary);
  if (!in.read(text.data(), static_cast<std::streamsize>(size))) {
    return error(Errc::invalid_value, name + ": the file cannot be read", name);
  }
  return text;
}

Result<boost::json::object> parse_json_object(std::string_view text, const std::string& where,
                                              std::size_t max_depth) {
  boost::json::parse_options options;
  options.max_depth = max_depth;
  boost::json::error_code failure;
  boost::json::value value =
      boost::json::parse({text.data(), text.size()}, failure, boost::json::storage_ptr(), options);
  if (failure) {
    return error(Errc::invalid_value, where + ": not valid JSON: " + failure.message(), where);
  }
  if (!value.is_object()) {
    return error(Errc::invalid_value, where + ": must be a JSON object", where);
  }
  return std::move(value.get_object());
}

Result<boost::json::object> read_json_object(const std::filesystem::path& path,
                                             std::uint64_t max_bytes, std::size_t max_depth) {
  auto text = read_file(path, max_bytes);
  if (!text) return std::move(text).error();
  return parse_json_object(*text, path.string(), max_depth);
}

std::string describe(const boost::json::value& value) {
  if (value.is_object()) return "an object";
  if (value.is_array()) return "an array of " + std::to_string(value.get_array().size());
  constexpr std::size_t longest = 60;
  std::string text = boost::json::serialize(value);
  if (text.size() > longest) text = text.substr(0, longest) + "…";
  return text;
}

std::string in_quotes(std::string_view text) {
  std::string quoted = "\"";
  quoted += text.substr(0, 80);
  return quoted + "\"";
}

const boost::json::value* JsonFields::find(std::string_view key) const {
  const auto* value = object_->if_contains({key.data(), key.size()});
  return value == nullptr || value->is_null() ? nullptr : value;
}

void JsonFields::fail(std::string_view key, const std::string& problem, Errc code) {
  if (error_) return;
  error_ = Error{code, where_ + ": \"" + std::string(key) + "\" " + problem, std::string(key)};
}

const boost::json::value* JsonFields::required(std::string_view key, bool has_fallback,
                                               std::string_view allowed) {
  const auto* value = find(key);
  if (value == nullptr && !has_fallback) {
    fail(key, "is missing; it must be " + std::string(allowed));
  }
  return value;
}

std::int64_t JsonFields::integer(std::string_view key, std::int64_t min, std::int64_t max,
                                 std::optional<std::int64_t> fallback) {
  const std::string allowed =
      "a whole number from " + std::to_string(min) + " to " + std::to_string(max);
  const auto* value = required(key, fallback.has_value(), allowed);
  if (value == nullptr) return fallback.value_or(min);
  std::optional<std::int64_t> found;
  if (value->is_int64()) found = value->get_int64();
  if (!found || *found < min || *found > max) {
    fail(key, "is " + describe(*value) + "; it must be " + allowed);
    return min;
  }
  return *found;
}

double JsonFields::number(std::string_view key, double min, double max,
                          std::optional<double> fallback) {
  const auto text_of = [](double x) { return boost::json::serialize(boost::json::value(x)); };
  const std::string allowed = "a number from " + text_of(min) + " to " + text_of(max);
  const auto* value = required(key, fallback.has_value(), allowed);
  if (value == nullptr) return fallback.value_or(min);
  double found = std::nan("");
  if (value->is_double()) found = value->get_double();
  if (value->is_int64()) found = static_cast<double>(value->get_int64());
  if (value->is_uint64()) found = static_cast<double>(value->get_uint64());
  if (!(found >= min && found <= max)) {
    fail(key, "is " + describe(*value) + "; it must be " + allowed);
    return min;
  }
  return found;
}

bool JsonFields::boolean(std::string_view key, bool fallback) {
  const auto* value = find(key);
  if (value == nullptr) return fallback;
  if (!value->is_bool()) {
    fail(key, "is " + describe(*value) + "; it must be true or false");
    return fallback;
  }
  return value->get_bool();
}

std::string JsonFields::string(std::string_view key, std::optional<std::string> fallback) {
  const auto* value = required(key, fallback.has_value(), "a string");
  if (value == nullptr) return std::move(fallback).value_or("");
  if (!value->is_string()) {
    fail(key, "is " + describe(*value) + "; it must be a string");
    return {};
  }
  return std::string(value->get_string());
}

const boost::json::object* JsonFields::object(std::string_view key) {
  const auto* value = find(key);
  if (value == nullptr) return nullptr;
  if (!value->is_object()) fail(key, "is " + describe(*value) + "; it must be an object");
  return value->if_object();
}

const boost::json::array* JsonFields::array(std::string_view key) {
  const auto* value = find(key);
  if (value == nullptr) return nullptr;
  if (!value->is_array()) fail(key, "is " + describe(*value) + "; it must be an array");
  return value->if_array();
}

}  // namespace tandem::model
