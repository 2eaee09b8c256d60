// The strings of a template: UTF-8 that knows which of its bytes came from outside. What users and
// models wrote stays marked through every operation, so that the tokenizer can tell a template's
// special tokens from forged ones. Lengths and positions that templates see are in characters.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/tokenizer.hpp"

namespace tandem::model::jinja {

struct Text {
  std::string bytes;
  std::vector<TextRange> literal;  ///< bytes from outside: in order, apart, not empty
  bool markup = false;             ///< went through the filter `safe`; see add()
};
using TextPtr = std::shared_ptr<const Text>;

TextPtr make_text(std::string bytes, bool from_outside = false);

/// Puts texts together and keeps the marks.
class TextBuilder {
 public:
  void append(std::string_view bytes, bool from_outside = false);
  void append(const Text& text) { append(text, 0, text.bytes.size()); }
  /// The bytes [begin, end) of `text`.
  void append(const Text& text, std::size_t begin, std::size_t end);
  [[nodiscard]] std::size_t size() const { return text_.bytes.size(); }
  [[nodiscard]] bool ends_with(char c) const {
    return !text_.bytes.empty() && text_.bytes.back() == c;
  }
  Text take() { return std::exchange(text_, Text()); }

 private:
  void mark(std::size_t begin, std::size_t end);
  Text text_;
};

TextPtr slice_bytes(const Text& text, std::size_t begin, std::size_t end);
/// `bytes`, made from `source` in a way that does not keep positions: all of it is marked if any of
/// the source is.
TextPtr derived(std::string bytes, const Text& source);

/// Characters of `bytes`, which is UTF-8.
std::size_t count_characters(std::string_view bytes);
/// Where character `index` begins; the size of `bytes` if there are not so many.
std::size_t byte_of_character(std::string_view bytes, std::size_t index);

/// Python's str.isspace() of one character.
bool is_space(char32_t code);
/// Python's str.isprintable() of one character.
bool is_printable(char32_t code);

/// The range that Python's strip() leaves: without white space, or without the characters of
/// `characters`.
TextRange stripped(std::string_view bytes, bool left, bool right,
                   const std::string* characters = nullptr);

/// Upper or lower case, character by character (simple mappings of Unicode).
std::string to_upper(std::string_view bytes);
std::string to_lower(std::string_view bytes);
/// The first character in upper case, the others in lower case; with `each_word` so for every word,
/// as Python's title() does.
std::string to_title(std::string_view bytes, bool each_word);
bool is_cased_letter(char32_t code);
/// Python's str.isalpha() and str.isalnum() of one character.
bool is_alphabetic(char32_t code);
bool is_alphanumeric(char32_t code);

}  // namespace tandem::model::jinja
