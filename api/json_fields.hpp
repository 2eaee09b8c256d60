// Reading typed, range-checked fields out of a JSON object. The first problem is kept and
// everything after it reads as defaults, so that a parser is a list of fields and one look at
// `problem()` in the end.
#pragma once

#include <boost/json/value.hpp>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.hpp"

namespace tandem::api {

/// Parses a text of bounded depth and valid UTF-8 that is one JSON object. `what` names it in
/// errors.
Result<boost::json::object> parse_object(std::string_view text, std::string_view what);

/// "the string 'abc'", "the number 3", "an array", … for messages; never longer than 64 bytes.
std::string describe(const boost::json::value& value);
/// The beginning of a valid UTF-8 text, cut between characters, for messages.
std::string excerpt(std::string_view text, std::size_t max_bytes);
/// Characters of a valid UTF-8 text.
std::size_t count_characters(std::string_view text);
/// `metadata`: at most 16 pairs, keys of at most 64 and values of at most 512 characters.
class Fields;
std::map<std::string, std::string> read_metadata(Fields& fields);

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
  /// The same, but {}, [], "" and false ask for nothing and pass.
  void unsupported_unless_empty(std::string_view name, std::string_view why);

  /// An error about the first field that nobody asked for, unless it asks for nothing.
  void refuse_unknown();

  /// "a.b" for field b of object a.
  [[nodiscard]] std::string path(std::string_view name) const;
  void fail(Errc code, std::string message, std::string_view name);
  void fail(const Error& reason) {
    if (!problem_) problem_ = reason;
  }
  [[nodiscard]] const std::optional<Error>& problem() const { return problem_; }
  /// Names of fields that nobody asked for, at most `max` of them, cut to 64 bytes.
  [[nodiscard]] std::vector<std::string> unknown(std::size_t max) const;
  [[nodiscard]] std::size_t num_unknown() const;

 private:
  [[nodiscard]] bool is_known(std::string_view name) const;

  const boost::json::object& object_;
  std::string prefix_;
  std::optional<Error> problem_;
  std::vector<std::string_view> known_;
};

}  // namespace tandem::api
