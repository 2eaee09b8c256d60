// Decompose fully, order the marks, compose again. Text below U+0300 is in NFC already and is
// copied; Hangul is computed, everything else looked up.
#include "model/nfc.hpp"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <utility>
#include <vector>

#include "model/utf8.hpp"

namespace tandem::model {
namespace {

// decompositions: (character, first part, second part or 0), ascending by character.
// combining_classes: (character, class), ascending; all others have class 0.
// not_composed: characters with two parts that the standard excludes from composition.
#include "model/nfc_tables.inc"

// Hangul syllables are arithmetic: (leading * 21 + vowel) * 28 + trailing.
constexpr char32_t syllable_base = 0xAC00;
constexpr char32_t leading_base = 0x1100;
constexpr char32_t vowel_base = 0x1161;
constexpr char32_t trailing_base = 0x11A7;
constexpr char32_t num_leading = 19;
constexpr char32_t num_vowels = 21;
constexpr char32_t num_trailing = 28;
constexpr char32_t num_syllables = num_leading * num_vowels * num_trailing;

/// The row of an ascending table whose first member is `code`; null if there is none.
template <std::size_t rows, std::size_t columns>
const char32_t* find_row(const char32_t (&table)[rows][columns], char32_t code) {
  const auto* found =
      std::lower_bound(std::begin(table), std::end(table), code,
                       [](const auto& row, char32_t wanted) { return row[0] < wanted; });
  return found != std::end(table) && (*found)[0] == code ? *found : nullptr;
}

struct Mark {
  char32_t code;
  char32_t combining;  ///< its class; 0 for a starter
};

void decompose(char32_t code, std::vector<Mark>& out) {
  if (code >= syllable_base && code < syllable_base + num_syllables) {
    const char32_t index = code - syllable_base;
    out.push_back({leading_base + index / (num_vowels * num_trailing), 0});
    out.push_back({vowel_base + index / num_trailing % num_vowels, 0});
    if (index % num_trailing != 0) out.push_back({trailing_base + index % num_trailing, 0});
    return;
  }
  const char32_t* parts = find_row(decompositions, code);
  if (parts == nullptr) {
    const char32_t* combining = find_row(combining_classes, code);
    out.push_back({code, combining == nullptr ? 0 : combining[1]});
    return;
  }
  decompose(parts[1], out);  // The table nests a few levels deep.
  if (parts[2] != 0) decompose(parts[2], out);
}

using Pair = std::pair<char32_t, char32_t>;

/// The decompositions turned around, ascending by the pair.
const std::vector<std::pair<Pair, char32_t>>& compositions() {
  static const auto table = [] {
    std::vector<std::pair<Pair, char32_t>> pairs;
    for (const auto& [code, first, second] : decompositions) {
      const bool excluded =
          std::binary_search(std::begin(not_composed), std::end(not_composed), code);
      if (second != 0 && !excluded) pairs.push_back({{first, second}, code});
    }
    std::sort(pairs.begin(), pairs.end());
    return pairs;
  }();
  return table;
}

/// The character that `first` and `second` compose to; 0 if none.
char32_t compose(char32_t first, char32_t second) {
  if (first >= leading_base && first < leading_base + num_leading && second >= vowel_base &&
      second < vowel_base + num_vowels) {
    return syllable_base +
           ((first - leading_base) * num_vowels + (second - vowel_base)) * num_trailing;
  }
  const bool open_syllable = first >= syllable_base && first < syllable_base + num_syllables &&
                             (first - syllable_base) % num_trailing == 0;
  if (open_syllable && second > trailing_base && second < trailing_base + num_trailing) {
    return first + (second - trailing_base);
  }
  const auto& table = compositions();
  const Pair wanted{first, second};
  const auto found = std::lower_bound(table.begin(), table.end(), std::pair(wanted, char32_t{0}));
  return found != table.end() && found->first == wanted ? found->second : 0;
}

void order_marks(std::vector<Mark>& marks) {
  for (std::size_t begin = 0; begin < marks.size();) {
    if (marks[begin].combining == 0) {
      ++begin;
      continue;
    }
    std::size_t end = begin;
    while (end < marks.size() && marks[end].combining != 0) ++end;
    std::stable_sort(marks.begin() + static_cast<std::ptrdiff_t>(begin),
                     marks.begin() + static_cast<std::ptrdiff_t>(end),
                     [](const Mark& a, const Mark& b) { return a.combining < b.combining; });
    begin = end;
  }
}

/// Composes in place: each character joins the last starter unless something between blocks it.
void compose_all(std::vector<Mark>& marks) {
  std::size_t kept = 0;
  std::size_t starter = marks.size();  // none yet
  for (const Mark mark : marks) {
    if (starter < kept) {
      const bool adjacent = starter + 1 == kept;
      const bool blocked = !adjacent && marks[kept - 1].combining >= mark.combining;
      const char32_t joined = blocked ? 0 : compose(marks[starter].code, mark.code);
      if (joined != 0) {
        marks[starter].code = joined;
        continue;
      }
    }
    if (mark.combining == 0) starter = kept;
    marks[kept++] = mark;
  }
  marks.resize(kept);
}

}  // namespace

std::string to_nfc(std::string_view text) {
  // Lead bytes below 0xCC are those of characters below U+0300.
  const bool plain = std::all_of(text.begin(), text.end(),
                                 [](char c) { return static_cast<unsigned char>(c) < 0xCC; });
  if (plain) return std::string(text);
  std::vector<Mark> marks;
  marks.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Step step = utf8_step(text, at);
    decompose(step.kind == Utf8Step::Kind::character ? step.code : 0xFFFD, marks);
    at += step.length;
  }
  order_marks(marks);
  compose_all(marks);
  std::string out;
  out.reserve(text.size());
  for (const Mark& mark : marks) append_utf8(out, mark.code);
  return out;
}

}  // namespace tandem::model
