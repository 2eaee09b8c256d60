// JSON checked as it arrives, byte by byte: whether what came so far can still become one JSON
// object. Nothing is kept of it but what is open. The grammar is RFC 8259's; that strings are
// well-formed UTF-8 is the caller's affair. Internal to model/answer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace tandem::model {

inline bool is_json_space(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }

class JsonScanner {
 public:
  /// Deepest nesting of objects and arrays.
  static constexpr std::size_t max_depth = 64;

  /// False: with this byte it is no JSON object, or one nested too deeply. Nothing may follow then,
  /// nor once done().
  bool push(char byte);

  /// The object is complete.
  [[nodiscard]] bool done() const { return state_ == State::done; }
  /// Objects and arrays that are open.
  [[nodiscard]] std::size_t depth() const { return open_.size(); }
  /// The next byte that is no white space begins a value.
  [[nodiscard]] bool expects_value() const {
    return state_ == State::value || state_ == State::first_item;
  }
  /// The next byte that is no white space is the colon behind a key.
  [[nodiscard]] bool expects_colon() const { return state_ == State::colon; }
  /// Inside of a string, its closing quote being yet to come.
  [[nodiscard]] bool in_string() const {
    return state_ == State::string || state_ == State::escape || state_ == State::unicode;
  }

 private:
  enum class State : std::uint8_t {
    begin,
    first_key,  ///< behind {
    key,        ///< behind , in an object
    colon,
    value,
    first_item,  ///< behind [
    after_value,
    string,
    escape,   ///< behind a backslash
    unicode,  ///< in the four digits of \u
    minus,
    zero,  ///< a number's only leading digit
    integer,
    point,
    fraction,
    exponent,
    exponent_sign,
    exponent_digits,
    literal,  ///< in true, false or null
    done,
  };

  bool begin_value(char byte);
  bool open(char byte);
  bool close(char byte);
  bool begin_string(bool is_key);
  bool in_text(char byte);
  bool in_number(char byte);
  bool in_literal(char byte);
  bool between(char byte);
  [[nodiscard]] bool ends_number() const;

  State state_ = State::begin;
  std::string open_;            ///< '{' and '[', outermost first
  bool string_is_key_ = false;  ///< of the string that is being read
  std::uint8_t digits_left_ = 0;
  const char* literal_left_ = nullptr;
};

}  // namespace tandem::model
