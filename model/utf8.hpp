// UTF-8, one character at a time. Ill-formed bytes are replaced the way the Unicode standard
// recommends (chapter 3.9): one U+FFFD for each longest part that could have begun a character.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace tandem::model {

struct Utf8Step {
  enum class Kind : std::uint8_t {
    character,   ///< `length` bytes are the character `code`
    ill_formed,  ///< `length` bytes are no character, whatever follows
    incomplete,  ///< all the rest may be the beginning of a character
  };
  Kind kind = Kind::incomplete;
  char32_t code = 0;
  std::size_t length = 0;
};

/// What begins at `text[at]`; `at` must be inside the text.
Utf8Step utf8_step(std::string_view text, std::size_t at);

void append_utf8(std::string& out, char32_t code);

/// Appends `bytes` to `out`, ill-formed parts replaced, and returns how many bytes that took: all
/// of them if `at_end`, else all but a character that may still be completed.
std::size_t append_well_formed(std::string& out, std::string_view bytes, bool at_end);

bool is_well_formed(std::string_view text);

/// `text` with every ill-formed part replaced by U+FFFD.
std::string well_formed(std::string_view text);

}  // namespace tandem::model
