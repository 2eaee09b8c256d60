// Reading the JSON files of a model folder: bounded in size and depth, with errors that name the
// file, the key, what it held and what is allowed. Internal to model/.
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.hpp"

namespace tandem::model {

/// The bytes of a regular file. Fails with `not_found`, or with `too_large` above `max_bytes`.
Result<std::string> read_file(const std::filesystem::path& path, std::uint64_t max_bytes);

/// Parses `text` as one JSON object, nested at most `max_depth` deep. `where` names it in errors.
Result<boost::json::object> parse_json_object(std::string_view text, const std::string& where,
                                              std::size_t max_depth = 32);

Result<boost::json::object> read_json_object(const std::filesystem::path& path,
                                             std::uint64_t max_bytes, std::size_t max_depth = 32);

/// A short form of `value` for an error message.
std::string describe(const boost::json::value& value);

/// The beginning of `text` in double quotes, for an error message.
std::string in_quotes(std::string_view text);

/// Typed reads of one object's keys. The first failure is kept and makes the rest meaningless, so
/// that a caller reads all keys and looks at `error()` once. A key that holds null counts as
/// absent.
class JsonFields {
 public:
  /// `where` is the file (and the path inside it) for messages. The object must outlive this.
  JsonFields(const boost::json::object& object, std::string where)
      : object_(&object), where_(std::move(where)) {}

  /// The value of `key`; null if it is absent or null.
  [[nodiscard]] const boost::json::value* find(std::string_view key) const;
  /// The key is there, be it null.
  [[nodiscard]] bool present(std::string_view key) const {
    return object_->if_contains({key.data(), key.size()}) != nullptr;
  }
  [[nodiscard]] bool has(std::string_view key) const { return find(key) != nullptr; }

  /// A whole number in [min, max]; without `fallback` the key is required.
  std::int64_t integer(std::string_view key, std::int64_t min, std::int64_t max,
                       std::optional<std::int64_t> fallback = std::nullopt);
  /// A finite number in [min, max].
  double number(std::string_view key, double min, double max,
                std::optional<double> fallback = std::nullopt);
  bool boolean(std::string_view key, bool fallback);
  std::string string(std::string_view key, std::optional<std::string> fallback = std::nullopt);
  /// An object or null if absent.
  const boost::json::object* object(std::string_view key);
  const boost::json::array* array(std::string_view key);

  /// Records a failure about `key`, unless there is one already.
  void fail(std::string_view key, const std::string& problem, Errc code = Errc::invalid_value);
  /// Takes over the failure of an object inside this one.
  void adopt(const Error& inner) {
    if (!error_) error_ = inner;
  }
  [[nodiscard]] const std::optional<Error>& error() const { return error_; }
  [[nodiscard]] const std::string& where() const { return where_; }

 private:
  const boost::json::value* required(std::string_view key, bool has_fallback,
                                     std::string_view allowed);

  const boost::json::object* object_;
  std::string where_;
  std::optional<Error> error_;
};

}  // namespace tandem::model
