// Case and printability of characters, from ICU: see text.hpp.
#include <unicode/locid.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>

#include "model/jinja/text.hpp"
#include "model/utf8.hpp"

namespace tandem::model::jinja {
namespace {

icu::UnicodeString from_utf8(std::string_view bytes) {
  return icu::UnicodeString::fromUTF8(
      icu::StringPiece(bytes.data(), static_cast<std::int32_t>(bytes.size())));
}

std::string to_utf8(const icu::UnicodeString& text) {
  std::string bytes;
  text.toUTF8String(bytes);
  return bytes;
}

}  // namespace

std::string to_upper(std::string_view bytes) {
  return to_utf8(from_utf8(bytes).toUpper(icu::Locale::getRoot()));
}

std::string to_lower(std::string_view bytes) {
  return to_utf8(from_utf8(bytes).toLower(icu::Locale::getRoot()));
}

std::string to_title(std::string_view bytes, bool each_word) {
  std::string out;
  bool at_begin = true;
  for (std::size_t at = 0; at < bytes.size();) {
    const Utf8Step step = utf8_step(bytes, at);
    const std::size_t length = step.length == 0 ? 1 : step.length;
    const auto character = bytes.substr(at, length);
    const bool cased = is_cased_letter(step.code);
    if (at_begin && cased) {
      const auto title = static_cast<char32_t>(u_totitle(static_cast<UChar32>(step.code)));
      if (title == step.code && step.length > 1) {
        out += to_upper(character);
      } else {
        append_utf8(out, title);
      }
    } else {
      out += to_lower(character);
    }
    at_begin = each_word && !cased;
    at += length;
  }
  return out;
}

bool is_cased_letter(char32_t code) {
  return u_hasBinaryProperty(static_cast<UChar32>(code), UCHAR_CASED) != 0;
}

bool is_alphabetic(char32_t code) {
  return (U_GET_GC_MASK(static_cast<UChar32>(code)) & U_GC_L_MASK) != 0;
}

bool is_alphanumeric(char32_t code) {
  const auto character = static_cast<UChar32>(code);
  return is_alphabetic(code) || (U_GET_GC_MASK(character) & U_GC_ND_MASK) != 0 ||
         u_getIntPropertyValue(character, UCHAR_NUMERIC_TYPE) != U_NT_NONE;
}

bool is_printable(char32_t code) {
  if (code == U' ') return true;
  constexpr std::uint32_t hidden = U_GC_C_MASK | U_GC_Z_MASK;
  return (U_GET_GC_MASK(static_cast<UChar32>(code)) & hidden) == 0;
}

}  // namespace tandem::model::jinja
