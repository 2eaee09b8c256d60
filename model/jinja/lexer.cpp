#include "model/jinja/lexer.hpp"

#include <algorithm>
#include <array>

#include "model/jinja/text.hpp"
#include "model/utf8.hpp"

namespace tandem::model::jinja {
namespace {

bool is_name_begin(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_name_part(char c) { return is_name_begin(c) || is_digit(c); }
bool is_blank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

int hex_value(char c) {
  if (is_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

/// Line ends as "\n", and none at the very end.
std::string normalized(std::string_view source) {
  std::string text;
  text.reserve(source.size());
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      text += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      text += source[i];
    }
  }
  if (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

class Lexer {
 public:
  Lexer(std::string_view source, std::optional<Problem>& problem)
      : source_(normalized(source)), problem_(problem) {}

  std::vector<Token> run() {
    while (at_ < source_.size() && !problem_) outside();
    if (problem_) tokens_.clear();
    push(Token::Kind::end, {});
    return std::move(tokens_);
  }

 private:
  void fail(std::string message) {
    if (!problem_) problem_ = Problem{line_, std::move(message)};
  }
  void push(Token::Kind kind, std::string text) {
    tokens_.push_back({kind, line_, std::move(text)});
  }
  [[nodiscard]] bool sees(std::string_view what) const {
    return std::string_view(source_).substr(at_, what.size()) == what;
  }
  [[nodiscard]] char peek(std::size_t ahead = 0) const {
    return at_ + ahead < source_.size() ? source_[at_ + ahead] : '\0';
  }
  void advance(std::size_t count) {
    for (std::size_t i = 0; i < count && at_ < source_.size(); ++i, ++at_)
      if (source_[at_] == '\n') ++line_;
  }
  void skip_space() {
    while (at_ < source_.size() && is_blank(source_[at_])) advance(1);
  }

  void outside();
  void emit_data(std::size_t end, char sign, bool lstrip);
  void comment(std::size_t opening);
  bool raw();
  void inside(Token::Kind end, char closing);
  bool closes(char closing, bool is_block);
  void end_tag(std::size_t length, bool strip);
  void name_or_number();
  void number();
  void string();
  void escape(std::string& text);
  void symbol(std::string& brackets);

  const std::string source_;
  std::optional<Problem>& problem_;
  std::vector<Token> tokens_;
  std::size_t at_ = 0;
  int line_ = 1;
  bool line_starting_ = true;  ///< what was cut last ended with a line end
};

/// Text up to the next tag, then the tag.
void Lexer::outside() {
  std::size_t tag = at_;
  for (; tag < source_.size(); ++tag) {
    if (source_[tag] != '{' || tag + 1 >= source_.size()) continue;
    const char next = source_[tag + 1];
    if (next == '%' || next == '{' || next == '#') break;
  }
  if (tag + 1 >= source_.size()) {
    push(Token::Kind::data, source_.substr(at_));
    return advance(source_.size());
  }
  const char kind = source_[tag + 1];
  const char after = tag + 2 < source_.size() ? source_[tag + 2] : '\0';
  const char sign = after == '-' || after == '+' ? after : '\0';
  emit_data(tag, sign, kind != '{');
  line_starting_ = false;
  if (kind == '%' && raw()) return;
  const std::size_t length = sign ? 3 : 2;
  if (kind == '#') return comment(length);
  const bool is_block = kind == '%';
  push(is_block ? Token::Kind::block_begin : Token::Kind::variable_begin, {});
  advance(length);
  inside(is_block ? Token::Kind::block_end : Token::Kind::variable_end, is_block ? '%' : '}');
}

/// The text before the tag at `end`, without what the tag's sign or lstrip_blocks takes of it.
void Lexer::emit_data(std::size_t end, char sign, bool lstrip) {
  const std::string_view text = std::string_view(source_).substr(at_, end - at_);
  std::size_t kept = text.size();
  if (sign == '-') {
    kept = stripped(text, false, true).end;
  } else if (sign != '+' && lstrip) {
    const std::size_t line = text.rfind('\n') + 1;  // 0 if there is none
    if (line > 0 || line_starting_) {
      const auto range = stripped(text.substr(line), false, true);
      if (range.end == 0) kept = line;
    }
  }
  if (kept > 0) push(Token::Kind::data, std::string(text.substr(0, kept)));
  advance(end - at_);
}

void Lexer::comment(std::size_t opening) {
  advance(opening);
  const std::size_t end = source_.find("#}", at_);
  if (end == std::string::npos) return fail("a comment is not closed");
  const bool strip = end > at_ && source_[end - 1] == '-';
  const bool keep = end > at_ && source_[end - 1] == '+';
  advance(end - at_);
  if (keep) return advance(2);
  end_tag(2, strip);
}

/// After a tag: "-" takes all white space, else one line end goes.
void Lexer::end_tag(std::size_t length, bool strip) {
  advance(length);
  if (strip) {
    while (at_ < source_.size()) {
      const Utf8Step step = utf8_step(source_, at_);
      if (!is_space(step.code)) break;
      line_starting_ = source_[at_] == '\n';
      advance(step.length);
    }
  } else if (peek() == '\n') {
    line_starting_ = true;
    advance(1);
  }
}

/// {% raw %} … {% endraw %}: text as it stands.
bool Lexer::raw() {
  const std::string_view text(source_);
  const auto match = [&](std::size_t at, std::string_view word, char& begin_sign, char& end_sign) {
    at += 2;
    begin_sign = at < text.size() && (text[at] == '-' || text[at] == '+') ? text[at++] : '\0';
    while (at < text.size() && is_blank(text[at])) ++at;
    if (text.substr(at, word.size()) != word) return std::string_view::npos;
    at += word.size();
    while (at < text.size() && is_blank(text[at])) ++at;
    end_sign = at < text.size() && (text[at] == '-' || text[at] == '+') ? text[at++] : '\0';
    return text.substr(at, 2) == "%}" ? at + 2 : std::string_view::npos;
  };
  char sign = '\0', end_sign = '\0';
  const std::size_t begin = match(at_, "raw", sign, end_sign);
  if (begin == std::string_view::npos || end_sign == '+') return false;
  advance(begin - at_);
  if (end_sign == '-') skip_space();
  for (std::size_t at = source_.find("{%", at_); at != std::string::npos;
       at = source_.find("{%", at + 1)) {
    const std::size_t end = match(at, "endraw", sign, end_sign);
    if (end == std::string_view::npos) continue;
    emit_data(at, sign, true);
    advance(end - at_);
    if (end_sign != '+') end_tag(0, end_sign == '-');
    return true;
  }
  fail("'raw' is not closed");
  return true;
}

/// The tag ends here: "%}", with a sign or without.
bool Lexer::closes(char closing, bool is_block) {
  const char plain[3] = {closing, '}', '\0'};
  const char minus[4] = {'-', closing, '}', '\0'};
  const char plus[4] = {'+', closing, '}', '\0'};
  const auto kind = is_block ? Token::Kind::block_end : Token::Kind::variable_end;
  if (sees(minus)) {
    push(kind, {});
    end_tag(3, true);
  } else if (is_block && sees(plus)) {
    push(kind, {});
    advance(3);
  } else if (sees(plain)) {
    push(kind, {});
    if (is_block) {
      end_tag(2, false);
    } else {
      advance(2);
    }
  } else {
    return false;
  }
  return true;
}

void Lexer::inside(Token::Kind end, char closing) {
  const bool is_block = end == Token::Kind::block_end;
  std::string brackets;
  while (!problem_) {
    if (brackets.empty() && closes(closing, is_block)) return;
    if (at_ >= source_.size()) return fail("a tag is not closed");
    const char c = peek();
    if (is_blank(c)) {
      advance(1);
    } else if (is_name_part(c)) {
      name_or_number();
    } else if (c == '"' || c == '\'') {
      string();
    } else {
      symbol(brackets);
    }
  }
}

void Lexer::name_or_number() {
  if (is_digit(peek())) return number();
  const std::size_t begin = at_;
  while (at_ < source_.size() && is_name_part(source_[at_])) advance(1);
  push(Token::Kind::name, source_.substr(begin, at_ - begin));
}

void Lexer::number() {
  const std::size_t begin = at_;
  const auto digits = [&] {
    while (is_digit(peek()) || (peek() == '_' && is_digit(peek(1)))) advance(1);
  };
  digits();
  bool real = false;
  if (peek() == '.' && is_digit(peek(1))) {
    real = true;
    advance(1);
    digits();
  }
  if ((peek() == 'e' || peek() == 'E') &&
      (is_digit(peek(1)) || ((peek(1) == '+' || peek(1) == '-') && is_digit(peek(2))))) {
    real = true;
    advance(2);
    digits();
  }
  std::string text = source_.substr(begin, at_ - begin);
  std::erase(text, '_');
  push(real ? Token::Kind::real : Token::Kind::integer, std::move(text));
}

/// Escapes are those of Python.
void Lexer::string() {
  const char quote = peek();
  const int line = line_;
  advance(1);
  std::string text;
  while (at_ < source_.size() && peek() != quote) {
    if (peek() == '\\') {
      escape(text);
    } else {
      text += peek();
      advance(1);
    }
  }
  if (at_ >= source_.size()) return fail("a string is not closed");
  advance(1);
  tokens_.push_back({Token::Kind::string, line, std::move(text)});
}

void Lexer::escape(std::string& text) {
  static constexpr std::string_view letters = "\\'\"abfnrtv\n";
  static constexpr std::string_view meanings("\\'\"\a\b\f\n\r\t\v\0", 11);
  advance(1);
  const char c = peek();
  const auto known = letters.find(c);
  if (at_ < source_.size() && known != std::string_view::npos) {
    if (c != '\n') text += meanings[known];
    return advance(1);
  }
  char32_t code = 0;
  if (c >= '0' && c <= '7') {
    for (int i = 0; i < 3 && peek() >= '0' && peek() <= '7'; ++i, advance(1))
      code = code * 8 + static_cast<char32_t>(peek() - '0');
    return append_utf8(text, code);
  }
  const int digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
  if (digits == 0) {
    text += '\\';
    return;
  }
  advance(1);
  for (int i = 0; i < digits; ++i, advance(1)) {
    const int value = hex_value(peek());
    if (value < 0) return fail("an escape in a string lacks digits");
    code = code * 16 + static_cast<char32_t>(value);
    if (code > 0x10FFFF) return fail("an escape in a string is no character");
  }
  if (code >= 0xD800 && code < 0xE000) return fail("an escape in a string is half a character");
  append_utf8(text, code);
}

void Lexer::symbol(std::string& brackets) {
  static constexpr std::array<std::string_view, 27> symbols{
      "**", "//", "==", "!=", "<=", ">=", "+", "-", "*", "/", "%", "~", "<", ">",
      "=",  ".",  ",",  ":",  ";",  "|",  "(", ")", "[", "]", "{", "}", "!"};
  const auto found =
      std::find_if(symbols.begin(), symbols.end(), [&](std::string_view one) { return sees(one); });
  if (found == symbols.end() || *found == "!")
    return fail("an unexpected character '" + source_.substr(at_, 1) + "'");
  const char c = found->front();
  if (c == '(' || c == '[' || c == '{') brackets += c;
  if (c == ')' || c == ']' || c == '}') {
    const char open = c == ')' ? '(' : c == ']' ? '[' : '{';
    if (brackets.empty() || brackets.back() != open)
      return fail("'" + std::string(1, c) + "' closes nothing");
    brackets.pop_back();
  }
  push(Token::Kind::symbol, std::string(*found));
  advance(found->size());
}

}  // namespace

std::vector<Token> tokenize(std::string_view source, std::optional<Problem>& problem) {
  return Lexer(source, problem).run();
}

}  // namespace tandem::model::jinja
