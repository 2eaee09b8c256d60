// What tokenizers need of Unicode: normalization forms, lower case, classes of characters. The data
// are ICU's. Internal to model/.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace tandem::model {

/// The normalization forms of UAX #15.
enum class NormalForm : std::uint8_t { nfc, nfd, nfkc, nfkd };

/// Appends `text`, which must be well-formed UTF-8, to `out` in `form`. O(n log n) whatever the
/// text: marks are sorted, where ICU's own routine inserts them one by one.
void append_normalized(NormalForm form, std::string_view text, std::string& out);
std::string normalized(NormalForm form, std::string_view text);

/// Appends `text` with every character in lower case by itself: a final sigma is a sigma.
void append_lower_case(std::string_view text, std::string& out);

/// Unicode's White_Space property.
bool is_white_space(char32_t code);
/// What regular expressions call \w: Alphabetic, marks, decimal digits, connectors, joiners.
bool is_word_character(char32_t code);

/// The character that ends at `end` > 0 of well-formed `text`, and where it begins.
struct CharacterAt {
  char32_t code = 0;
  std::size_t begin = 0;
};
CharacterAt character_before(std::string_view text, std::size_t end);

}  // namespace tandem::model
