#include "model/answer/json_scanner.hpp"

#include <cstring>

namespace tandem::model {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_hex(char c) { return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }

}  // namespace

bool JsonScanner::push(char byte) {
  switch (state_) {
    case State::string:
    case State::escape:
    case State::unicode: return in_text(byte);
    case State::literal: return in_literal(byte);
    case State::minus:
    case State::zero:
    case State::integer:
    case State::point:
    case State::fraction:
    case State::exponent:
    case State::exponent_sign:
    case State::exponent_digits: return in_number(byte);
    case State::done: return false;
    default: return is_json_space(byte) || between(byte);
  }
}

/// What may stand where no token is being read.
bool JsonScanner::between(char byte) {
  switch (state_) {
    case State::begin: return byte == '{' && open(byte);
    case State::first_key:
      if (byte == '}') return close(byte);
      return byte == '"' && begin_string(true);
    case State::key: return byte == '"' && begin_string(true);
    case State::colon:
      if (byte != ':') return false;
      state_ = State::value;
      return true;
    case State::first_item:
      if (byte == ']') return close(byte);
      return begin_value(byte);
    case State::value: return begin_value(byte);
    default: break;
  }
  if (byte != ',') return close(byte);
  state_ = open_.back() == '{' ? State::key : State::value;
  return true;
}

bool JsonScanner::begin_value(char byte) {
  if (byte == '{' || byte == '[') return open(byte);
  if (byte == '"') return begin_string(false);
  if (byte == '-' || is_digit(byte)) {
    state_ = byte == '-' ? State::minus : byte == '0' ? State::zero : State::integer;
    return true;
  }
  for (const char* literal : {"true", "false", "null"}) {
    if (byte != *literal) continue;
    literal_left_ = literal + 1;
    state_ = State::literal;
    return true;
  }
  return false;
}

bool JsonScanner::open(char byte) {
  if (open_.size() == max_depth) return false;
  open_ += byte;
  state_ = byte == '{' ? State::first_key : State::first_item;
  return true;
}

bool JsonScanner::close(char byte) {
  if (byte != (open_.back() == '{' ? '}' : ']')) return false;
  open_.pop_back();
  state_ = open_.empty() ? State::done : State::after_value;
  return true;
}

bool JsonScanner::begin_string(bool is_key) {
  string_is_key_ = is_key;
  state_ = State::string;
  return true;
}

bool JsonScanner::in_text(char byte) {
  if (state_ == State::unicode) {
    if (--digits_left_ == 0) state_ = State::string;
    return is_hex(byte);
  }
  if (state_ == State::escape) {
    state_ = byte == 'u' ? State::unicode : State::string;
    digits_left_ = 4;
    return byte != '\0' && std::strchr("\"\\/bfnrtu", byte) != nullptr;
  }
  if (byte == '"') {
    state_ = string_is_key_ ? State::colon : State::after_value;
  } else if (byte == '\\') {
    state_ = State::escape;
  }
  return static_cast<unsigned char>(byte) >= 0x20;
}

bool JsonScanner::ends_number() const {
  return state_ == State::zero || state_ == State::integer || state_ == State::fraction ||
         state_ == State::exponent_digits;
}

bool JsonScanner::in_number(char byte) {
  const bool may_end = ends_number();
  if (is_digit(byte)) {
    switch (state_) {
      case State::minus: state_ = byte == '0' ? State::zero : State::integer; return true;
      case State::zero: return false;
      case State::point: state_ = State::fraction; return true;
      case State::exponent:
      case State::exponent_sign: state_ = State::exponent_digits; return true;
      default: return true;
    }
  }
  if (byte == '.' && (state_ == State::zero || state_ == State::integer)) {
    state_ = State::point;
    return true;
  }
  if ((byte == 'e' || byte == 'E') && may_end && state_ != State::exponent_digits) {
    state_ = State::exponent;
    return true;
  }
  if ((byte == '+' || byte == '-') && state_ == State::exponent) {
    state_ = State::exponent_sign;
    return true;
  }
  if (!may_end) return false;
  state_ = State::after_value;
  return push(byte);
}

bool JsonScanner::in_literal(char byte) {
  if (byte != *literal_left_) return false;
  if (*++literal_left_ == '\0') state_ = State::after_value;
  return true;
}

}  // namespace tandem::model
