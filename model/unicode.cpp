// Only stretches around characters that a form may change go through the algorithm; all other text
// is copied.
#include "model/unicode.hpp"

#include <algorithm>
#include <unicode/normalizer2.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>
#include <vector>

#include "core/check.hpp"
#include "model/utf8.hpp"

namespace tandem::model {
namespace {

struct FormData {
  const icu::Normalizer2* data = nullptr;
  bool composes = false;
  /// By character: it stays as it is and nothing before it can change with it.
  std::vector<bool> inert;
};

constexpr char32_t num_code_points = 0x110000;

FormData load_form(NormalForm form) {
  UErrorCode status = U_ZERO_ERROR;
  const bool compatible = form == NormalForm::nfkc || form == NormalForm::nfkd;
  FormData result;
  result.data = compatible ? icu::Normalizer2::getNFKCInstance(status)
                           : icu::Normalizer2::getNFCInstance(status);
  TANDEM_CHECK(U_SUCCESS(status), "ICU has its normalization data");
  UProperty property = UCHAR_NFC_QUICK_CHECK;
  switch (form) {
    case NormalForm::nfc: property = UCHAR_NFC_QUICK_CHECK; break;
    case NormalForm::nfd: property = UCHAR_NFD_QUICK_CHECK; break;
    case NormalForm::nfkc: property = UCHAR_NFKC_QUICK_CHECK; break;
    case NormalForm::nfkd: property = UCHAR_NFKD_QUICK_CHECK; break;
  }
  result.composes = form == NormalForm::nfc || form == NormalForm::nfkc;
  result.inert.resize(num_code_points);
  for (char32_t code = 0; code < num_code_points; ++code) {
    const auto point = static_cast<UChar32>(code);
    result.inert[code] = u_getIntPropertyValue(point, property) == UNORM_YES &&
                         result.data->getCombiningClass(point) == 0;
  }
  return result;
}

const FormData& form_data(NormalForm form) {
  switch (form) {
    case NormalForm::nfd: {
      static const FormData data = load_form(NormalForm::nfd);
      return data;
    }
    case NormalForm::nfkc: {
      static const FormData data = load_form(NormalForm::nfkc);
      return data;
    }
    case NormalForm::nfkd: {
      static const FormData data = load_form(NormalForm::nfkd);
      return data;
    }
    case NormalForm::nfc: break;
  }
  static const FormData data = load_form(NormalForm::nfc);
  return data;
}

struct Mark {
  UChar32 code;
  std::uint8_t combining;  ///< its class; 0 for a starter
};

void decompose(const FormData& form, char32_t code, std::vector<Mark>& out) {
  icu::UnicodeString parts;
  const auto add = [&](UChar32 one) { out.push_back({one, form.data->getCombiningClass(one)}); };
  if (!form.data->getDecomposition(static_cast<UChar32>(code), parts)) {
    add(static_cast<UChar32>(code));
    return;
  }
  for (std::int32_t i = 0; i < parts.length(); i = parts.moveIndex32(i, 1)) add(parts.char32At(i));
}

void order_marks(std::vector<Mark>& marks) {
  for (auto begin = marks.begin(); begin != marks.end();) {
    const auto is_starter = [](const Mark& mark) { return mark.combining == 0; };
    begin = std::find_if_not(begin, marks.end(), is_starter);
    const auto end = std::find_if(begin, marks.end(), is_starter);
    std::stable_sort(begin, end,
                     [](const Mark& a, const Mark& b) { return a.combining < b.combining; });
    begin = end;
  }
}

/// Composes in place: each character joins the last starter unless something between blocks it.
void compose_all(const FormData& form, std::vector<Mark>& marks) {
  std::size_t kept = 0;
  std::size_t starter = marks.size();  // none yet
  for (const Mark mark : marks) {
    if (starter < kept) {
      const bool adjacent = starter + 1 == kept;
      const bool blocked = !adjacent && marks[kept - 1].combining >= mark.combining;
      const UChar32 joined =
          blocked ? U_SENTINEL : form.data->composePair(marks[starter].code, mark.code);
      if (joined >= 0) {
        marks[starter].code = joined;
        continue;
      }
    }
    if (mark.combining == 0) starter = kept;
    marks[kept++] = mark;
  }
  marks.resize(kept);
}

/// Appends [begin, end) of `text` after decomposing, ordering and composing.
void append_changed(const FormData& form, std::string_view text, std::string& out) {
  std::vector<Mark> marks;
  marks.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Step step = utf8_step(text, at);
    decompose(form, step.code, marks);
    at += step.length;
  }
  order_marks(marks);
  if (form.composes) compose_all(form, marks);
  for (const Mark& mark : marks) append_utf8(out, static_cast<char32_t>(mark.code));
}

}  // namespace

void append_normalized(NormalForm form, std::string_view text, std::string& out) {
  const FormData& data = form_data(form);
  std::size_t copied = 0;
  std::size_t previous = 0;  // where the inert character before `at` begins
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Step step = utf8_step(text, at);
    if (data.inert[step.code]) {
      previous = at;
      at += step.length;
      continue;
    }
    // What follows up to the next inert character may join the one before.
    const std::size_t begin = std::max(previous, copied);
    std::size_t end = at + step.length;
    while (end < text.size()) {
      const Utf8Step next = utf8_step(text, end);
      if (data.inert[next.code]) break;
      end += next.length;
    }
    out.append(text.substr(copied, begin - copied));
    append_changed(data, text.substr(begin, end - begin), out);
    copied = previous = at = end;
  }
  out.append(text.substr(copied));
}

std::string normalized(NormalForm form, std::string_view text) {
  std::string out;
  out.reserve(text.size());
  append_normalized(form, text, out);
  return out;
}

void append_lower_case(std::string_view text, std::string& out) {
  constexpr char32_t dotted_capital_i = 0x130;
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Step step = utf8_step(text, at);
    if (step.code == dotted_capital_i) {
      out += "i\u0307";  // the one character whose lower case is two
    } else {
      append_utf8(out, static_cast<char32_t>(u_tolower(static_cast<UChar32>(step.code))));
    }
    at += step.length;
  }
}

bool is_white_space(char32_t code) { return u_isUWhiteSpace(static_cast<UChar32>(code)) != 0; }

bool is_word_character(char32_t code) {
  const auto point = static_cast<UChar32>(code);
  constexpr std::uint32_t categories = U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK;
  return u_isUAlphabetic(point) != 0 || (U_GET_GC_MASK(point) & categories) != 0 ||
         u_hasBinaryProperty(point, UCHAR_JOIN_CONTROL) != 0;
}

CharacterAt character_before(std::string_view text, std::size_t end) {
  std::size_t begin = end - 1;
  while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xC0U) == 0x80U) --begin;
  return {utf8_step(text, begin).code, begin};
}

}  // namespace tandem::model
