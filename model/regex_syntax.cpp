// Patterns are written for Oniguruma in Ruby's syntax. What both engines read alike is passed on;
// what they read differently is rewritten or refused.
#include <algorithm>
#include <array>
#include <cstdint>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "model/regex.hpp"

namespace tandem::model {
namespace {

// PCRE2's \s has U+180E, its \w lacks marks, and neither is so in Oniguruma.
constexpr std::string_view word_set = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc})";
constexpr std::string_view hex_set = "0-9a-fA-F";

bool is_hex(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/// True if \p{`name`} compiles.
bool is_property(const std::string& name) {
  const std::string pattern = "\\p{" + name + "}";
  int failure = 0;
  PCRE2_SIZE place = 0;
  auto* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                             PCRE2_UTF | PCRE2_UCP, &failure, &place, nullptr);
  pcre2_code_free(code);
  return code != nullptr;
}

class Translator {
 public:
  explicit Translator(std::string_view pattern) : pattern_(pattern) {}

  /// False: `problem()` says what is not supported.
  bool run() {
    while (at_ < pattern_.size() && problem_.empty()) step();
    return problem_.empty();
  }
  [[nodiscard]] const std::string& problem() const { return problem_; }
  [[nodiscard]] std::string take() { return std::move(out_); }

 private:
  [[nodiscard]] char peek(std::size_t ahead) const {
    return at_ + ahead < pattern_.size() ? pattern_[at_ + ahead] : '\0';
  }
  void refuse(const std::string& what) {
    if (problem_.empty()) problem_ = what;
  }
  void pass(std::size_t count) {
    out_ += pattern_.substr(at_, count);
    at_ += count;
  }

  void step() {
    switch (pattern_[at_]) {
      case '\\': escape(); break;
      case '[': open_class(); break;
      case ']':
        in_class_ = false;
        pass(1);
        break;
      case '&':
        if (in_class_ && peek(1) == '&') refuse("intersects character classes (&&)");
        pass(1);
        break;
      case '(':
        if (!in_class_) group();
        pass(1);
        break;
      case '{':
        if (!in_class_) repetition();
        pass(1);
        break;
      default: pass(1);
    }
  }

  void open_class() {
    if (in_class_) {
      if (peek(1) != ':') {
        refuse("nests character classes ([ inside [])");
        return;
      }
      const std::size_t end = pattern_.find(":]", at_);
      if (end == std::string_view::npos) {
        refuse("has an open [:");
        return;
      }
      pass(end + 2 - at_);
      return;
    }
    in_class_ = true;
    pass(1);
    if (peek(0) == '^') pass(1);
    if (peek(0) == ']') pass(1);  // a literal one
  }

  /// Only groups whose meaning is the same on both sides.
  void group() {
    if (peek(1) == '*') return refuse("uses (*");
    if (peek(1) != '?') return;
    std::size_t i = 2;
    if (std::string_view(":=!>").find(peek(2)) != std::string_view::npos && peek(2) != '\0') return;
    if (peek(2) == '<' && (peek(3) == '=' || peek(3) == '!')) return;
    while (peek(i) == 'i' || peek(i) == 'x' || peek(i) == '-') ++i;
    if (i > 2 && (peek(i) == ':' || peek(i) == ')')) return;
    refuse("uses the group " + std::string(pattern_.substr(at_, 4)));
  }

  void repetition() {
    if (peek(1) == ',') return refuse("uses {,");
    const std::size_t end = pattern_.find('}', at_);
    if (end == std::string_view::npos) return;
    const auto inside = pattern_.substr(at_ + 1, end - at_ - 1);
    const bool counts = !inside.empty() && inside.find_first_not_of("0123456789,") == inside.npos;
    if (counts && end + 1 < pattern_.size() && pattern_[end + 1] == '+') {
      refuse("repeats a repetition ({…}+)");  // Possessive in PCRE2 only.
    }
  }

  /// `set` inside or outside of a class, or all that it does not hold.
  void put_set(std::string_view set, bool negated) {
    at_ += 2;
    if (in_class_ && negated) return refuse("negates a set inside a character class");
    if (!in_class_) out_ += negated ? "[^" : "[";
    out_ += set;
    if (!in_class_) out_ += ']';
  }
  void put(std::string_view text) {
    at_ += 2;
    out_ += text;
  }

  void escape() {
    const char kind = peek(1);
    switch (kind) {
      case '\0': return refuse("ends in a backslash");
      case 's': return put("\\p{White_Space}");
      case 'S': return put("\\P{White_Space}");
      case 'd': return put("\\p{Nd}");
      case 'D': return put("\\P{Nd}");
      case 'w': return put_set(word_set, false);
      case 'W': return put_set(word_set, true);
      case 'h': return put_set(hex_set, false);
      case 'H': return put_set(hex_set, true);
      case 'v': return put("\\x0B");
      case 'p':
      case 'P': return property();
      case 'x': return hexadecimal();
      case 'u': return code_point();
      default: break;
    }
    const bool letter = (kind >= 'a' && kind <= 'z') || (kind >= 'A' && kind <= 'Z');
    const std::string_view known = "nrtfaeAzZ";
    if (letter && known.find(kind) == std::string_view::npos) {
      return refuse(std::string("uses \\") + kind);
    }
    pass(2);
  }

  void property() {
    if (peek(2) != '{') return refuse("uses \\p without braces");
    const std::size_t end = pattern_.find('}', at_);
    if (end == std::string_view::npos) return refuse("has an open \\p{");
    const std::string name(pattern_.substr(at_ + 3, end - at_ - 3));
    const bool plain = name.find_first_of("^:=&") == std::string::npos;
    out_ += pattern_.substr(at_, 3);
    // A script means the characters of that script, not all that are used with it.
    if (plain && name.size() > 2 && is_property("sc:" + name)) out_ += "sc:";
    out_ += name + "}";
    at_ = end + 1;
  }

  void hexadecimal() {
    if (peek(2) == '{') {
      const std::size_t end = pattern_.find('}', at_);
      if (end == std::string_view::npos) return refuse("has an open \\x{");
      return pass(end + 1 - at_);
    }
    if (!is_hex(peek(2)) || !is_hex(peek(3)) || peek(2) >= '8') {
      return refuse("uses \\x for something else than two digits of an ASCII character");
    }
    pass(4);
  }

  void code_point() {
    const auto digits = pattern_.substr(std::min(at_ + 2, pattern_.size()), 4);
    if (digits.size() != 4 || !std::all_of(digits.begin(), digits.end(), is_hex)) {
      return refuse("uses \\u without four digits");
    }
    out_ += "\\x{" + std::string(digits) + "}";
    at_ += 6;
  }

  std::string_view pattern_;
  std::size_t at_ = 0;
  bool in_class_ = false;
  std::string out_;
  std::string problem_;
};

}  // namespace

Result<std::string> pcre_pattern(std::string_view pattern, const std::string& where) {
  Translator translator(pattern);
  if (translator.run()) return translator.take();
  return error(Errc::unsupported,
               where + ": the pattern " + std::string(pattern.substr(0, 200)) + " " +
                   translator.problem() + ", which is not supported",
               where);
}

}  // namespace tandem::model
