// Reading typed, range-checked fields out of a JSON object. The first problem is kept and
// everything after it reads as defaults, so that a parser is a list of fields and one look at
// `problem()` in the end.
#pragma once

#include <boost/json/value.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.hpp"

namespace tandem::api {

/// Parses a text of bounded depth and valid UTF-8 that is one JSON object. `what` names it in
/// errors.
Result<boost::json::object> parse_object(std::string_view text, std::string_view what);

/// "a string", "the number 3", … for messages.
std::string describe(const boost::json::value& value);

class Fields {
 public:
  explicit Fields(const boost::json::object& object, std::string prefix = {});

  /// The field if it is there and not null; marks it as known.
  const boost::json::value* find(std::string_view name);
  std::optional<std::string> string(std::string_view name, std::size_t max_bytes);
  std::optional<std::int64_t> integer(std::string_view name, std::int64_t min, std::int64_t max);
  std::optional<double> number(std::string_view name, double min, double max);
  std::optional<bool> boolean(std::string_view name);
  const boost::json::array* array(std::string_view name, std::size_t max_size);
  const boost::json::object* object(std::string_view name);
  /// Known, and without effect here.
  void ignore(std::string_view name) { find(name); }
  /// Known, and not offered: an error if it is there (not null).
  void unsupported(std::string_view name, std::string_view why);

  /// "a.b" for field b of object a.
  [[nodiscard]] std::string path(std::string_view name) const;
  void fail(Errc code, std::string message, std::string_view name);
  void fail(const Error& reason) {
    if (!problem_) problem_ = reason;
  }
  [[nodiscard]] const std::optional<Error>& problem() const { return problem_; }
  /// Names of fields that nobody asked for, at most `max`.
  [[nodiscard]] std::vector<std::string> unknown(std::size_t max) const;

 private:
  const boost::json::object& object_;
  std::string prefix_;
  std::optional<Error> problem_;
  std::vector<std::string_view> known_;
};

}  // namespace tandem::api
