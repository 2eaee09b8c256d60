#include "model/jinja/text_methods.hpp"

#include <algorithm>
#include <functional>

#include "model/utf8.hpp"

namespace tandem::model::jinja {
namespace {

using A = Arguments;
using E = Evaluator;
using Method = Value (*)(E&, const TextPtr&, const A&);

constexpr std::size_t no_limit = SIZE_MAX;

std::size_t limit_of(std::int64_t count) {
  return count < 0 ? no_limit : static_cast<std::size_t>(count);
}

/// Where a separator is cut out: [begin, end).
using Cuts = std::vector<TextRange>;

Cuts cuts_at(std::string_view text, std::string_view separator, std::size_t limit,
             bool from_right) {
  Cuts cuts;
  if (from_right) {
    std::size_t end = text.size();
    while (cuts.size() < limit && end >= separator.size()) {
      const std::size_t at = text.substr(0, end).rfind(separator);
      if (at == text.npos) break;
      cuts.push_back({at, at + separator.size()});
      end = at;
    }
    std::reverse(cuts.begin(), cuts.end());
    return cuts;
  }
  for (std::size_t at = text.find(separator); at != text.npos && cuts.size() < limit;
       at = text.find(separator, at + separator.size()))
    cuts.push_back({at, at + separator.size()});
  return cuts;
}

/// Words between white space: Python's split() without a separator.
std::vector<TextRange> words(std::string_view text) {
  std::vector<TextRange> found;
  std::size_t begin = text.npos;
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Step step = utf8_step(text, at);
    if (is_space(step.code)) {
      if (begin != text.npos) found.push_back({begin, at});
      begin = text.npos;
    } else if (begin == text.npos) {
      begin = at;
    }
    at += std::max<std::size_t>(step.length, 1);
  }
  if (begin != text.npos) found.push_back({begin, text.size()});
  return found;
}

Value pieces(E& evaluator, const Text& text, const std::vector<TextRange>& ranges) {
  std::vector<Value> items;
  if (!evaluator.charge(4 * ranges.size() + 1)) return {};
  for (const auto& range : ranges) items.emplace_back(slice_bytes(text, range.begin, range.end));
  return evaluator.list(std::move(items));
}

Value split_words(E& evaluator, const Text& text, std::size_t limit, bool from_right) {
  auto found = words(text.bytes);
  if (limit < found.size()) {
    // What is beyond the limit stays one piece, without white space at its outer end.
    if (from_right) {
      const std::size_t rest = found.size() - limit;
      found.erase(found.begin() + 1, found.begin() + static_cast<std::ptrdiff_t>(rest));
      found.front() = {0, words(text.bytes)[rest - 1].end};
    } else {
      found.resize(limit + 1);
      found.back().end = text.bytes.size();
    }
    if (limit == 0) {
      const auto kept = stripped(text.bytes, !from_right, from_right);
      found = {kept};
    }
  }
  return pieces(evaluator, text, found);
}

template <bool from_right>
Value split(E& evaluator, const TextPtr& self, const A& given) {
  BoundArguments bound(evaluator, "split", given, {"sep", "maxsplit"});
  const auto limit = limit_of(bound.integer(1, -1));
  const auto separator = bound.text(0);
  if (evaluator.failed() || !evaluator.charge_text(self->bytes.size())) return {};
  if (!bound[0] || bound[0]->is_none()) return split_words(evaluator, *self, limit, from_right);
  if (separator->bytes.empty()) return evaluator.fail("split by an empty separator");
  std::vector<TextRange> ranges;
  std::size_t begin = 0;
  for (const auto& cut : cuts_at(self->bytes, separator->bytes, limit, from_right)) {
    ranges.push_back({begin, cut.begin});
    begin = cut.end;
  }
  ranges.push_back({begin, self->bytes.size()});
  return pieces(evaluator, *self, ranges);
}

template <bool from_right>
Value partition(E& evaluator, const TextPtr& self, const A& given) {
  BoundArguments bound(evaluator, "partition", given, {"sep"});
  const auto separator = bound.text(0);
  if (separator->bytes.empty()) return evaluator.fail("partition by an empty separator");
  const auto cuts = cuts_at(self->bytes, separator->bytes, 1, from_right);
  const std::size_t size = self->bytes.size();
  const TextRange cut = !cuts.empty() ? cuts[0]
                        : from_right  ? TextRange{0, 0}
                                      : TextRange{size, size};
  return evaluator.list({slice_bytes(*self, 0, cut.begin), slice_bytes(*self, cut.begin, cut.end),
                         slice_bytes(*self, cut.end, size)},
                        List::Kind::tuple);
}

template <bool left, bool right>
Value strip(E& evaluator, const TextPtr& self, const A& given) {
  BoundArguments bound(evaluator, "strip", given, {"chars"});
  const auto characters = bound.text(0);
  if (evaluator.failed() || !evaluator.charge_text(self->bytes.size())) return {};
  const bool plain = !bound[0] || bound[0]->is_none();
  const auto range = stripped(self->bytes, left, right, plain ? nullptr : &characters->bytes);
  return slice_bytes(*self, range.begin, range.end);
}

/// startswith and endswith, with one text or a tuple of them, and optional bounds.
template <bool at_end>
Value touches(E& evaluator, const TextPtr& self, const A& given) {
  BoundArguments bound(evaluator, at_end ? "endswith" : "startswith", given,
                       {"prefix", "start", "end"});
  if (!bound[0] || bound[1] || bound[2])
    return evaluator.fail("startswith and endswith take one argument here");
  const auto fits = [&](const Value& part) {
    if (!part.text()) evaluator.fail("startswith and endswith need a str or a tuple of them");
    return part.text() && (at_end ? self->bytes.ends_with(part.text()->bytes)
                                  : self->bytes.starts_with(part.text()->bytes));
  };
  const auto* all = bound[0]->list();
  if (!all || all->kind != List::Kind::tuple) return Value(fits(*bound[0]));
  return Value(std::any_of(all->items.begin(), all->items.end(), fits));
}

Value replace(E& evaluator, const TextPtr& self, const A& given) {
  BoundArguments bound(evaluator, "replace", given, {"old", "new", "count"});
  const auto old = bound.text(0), with = bound.text(1);
  const auto count = bound.integer(2, -1);
  if (!bound[0] || !bound[1]) return evaluator.fail("replace needs what to replace, and by what");
  if (evaluator.failed()) return {};
  return replace_text(evaluator, *self, *old, *with, count);
}

/// find, rfind, index, rindex: in characters.
template <bool from_right, bool must>
Value find(E& evaluator, const TextPtr& self, const A& given) {
  BoundArguments bound(evaluator, "find", given, {"sub"});
  const auto part = bound.text(0);
  if (evaluator.failed() || !evaluator.charge_text(self->bytes.size())) return {};
  const auto at = from_right ? self->bytes.rfind(part->bytes) : self->bytes.find(part->bytes);
  if (at != std::string::npos)
    return Value::size(count_characters(std::string_view(self->bytes).substr(0, at)));
  return must ? evaluator.fail("the text is not in the str") : Value(std::int64_t{-1});
}

Value count(E& evaluator, const TextPtr& self, const A& given) {
  BoundArguments bound(evaluator, "count", given, {"sub"});
  const auto part = bound.text(0);
  if (evaluator.failed() || !evaluator.charge_text(self->bytes.size())) return {};
  if (part->bytes.empty()) return Value::size(count_characters(self->bytes) + 1);
  return Value::size(cuts_at(self->bytes, part->bytes, no_limit, false).size());
}

Value join(E& evaluator, const TextPtr& self, const A& given) {
  BoundArguments bound(evaluator, "join", given, {"iterable"});
  if (!bound[0]) return evaluator.fail("join needs a list");
  const auto items = evaluator.items_of(*bound[0]);
  return evaluator.failed() ? Value() : Value(join_texts(evaluator, *self, items, true));
}

/// A method without arguments that makes another text.
template <std::string (*change)(std::string_view)>
Value changed(E& evaluator, const TextPtr& self, const A& given) {
  BoundArguments none(evaluator, "this method", given, {});
  if (evaluator.failed() || !evaluator.charge_text(2 * self->bytes.size())) return {};
  return derived(change(self->bytes), *self);
}

std::string title(std::string_view text) { return to_title(text, true); }
std::string capitalized(std::string_view text) { return to_title(text, false); }

/// Every character passes, and there is one.
template <bool (*passes)(char32_t)>
Value all_are(E& evaluator, const TextPtr& self, const A&) {
  const auto& bytes = self->bytes;
  if (!evaluator.charge_text(bytes.size())) return {};
  for (std::size_t at = 0; at < bytes.size();) {
    const Utf8Step step = utf8_step(bytes, at);
    if (!passes(step.code)) return Value(false);
    at += std::max<std::size_t>(step.length, 1);
  }
  return Value(!bytes.empty());
}

template <bool upper>
Value is_case(E& evaluator, const TextPtr& self, const A&) {
  return Value(evaluator.apply_test(upper ? "upper" : "lower", self, {}));
}

Value splitlines(E& evaluator, const TextPtr& self, const A& given) {
  BoundArguments bound(evaluator, "splitlines", given, {"keepends"});
  const bool keep = bound.truth(0, false);
  if (evaluator.failed() || !evaluator.charge_text(self->bytes.size())) return {};
  const std::string_view text = self->bytes;
  std::vector<TextRange> lines;
  std::size_t begin = 0;
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Step step = utf8_step(text, at);
    std::size_t end = at + std::max<std::size_t>(step.length, 1);
    const bool breaks = (step.code >= 0x0A && step.code <= 0x0D) ||
                        (step.code >= 0x1C && step.code <= 0x1E) || step.code == 0x85 ||
                        step.code == 0x2028 || step.code == 0x2029;
    if (breaks) {
      if (step.code == 0x0D && end < text.size() && text[end] == '\n') ++end;
      lines.push_back({begin, keep ? end : at});
      begin = end;
    }
    at = end;
  }
  if (begin < text.size()) lines.push_back({begin, text.size()});
  return pieces(evaluator, *self, lines);
}

template <bool suffix>
Value remove(E& evaluator, const TextPtr& self, const A& given) {
  BoundArguments bound(evaluator, "removeprefix", given, {"affix"});
  const auto affix = bound.text(0);
  const auto& bytes = self->bytes;
  const bool there = suffix ? bytes.ends_with(affix->bytes) : bytes.starts_with(affix->bytes);
  if (!there || affix->bytes.empty()) return self;
  return suffix ? slice_bytes(*self, 0, bytes.size() - affix->bytes.size())
                : slice_bytes(*self, affix->bytes.size(), bytes.size());
}

/// ljust, rjust, center: `where` is the share of the filling that goes before, in halves.
template <int where>
Value justify(E& evaluator, const TextPtr& self, const A& given) {
  BoundArguments bound(evaluator, "ljust", given, {"width", "fillchar"});
  const auto width = bound.integer(0, 0);
  const auto fill = bound.text(1, " ");
  const auto size = static_cast<std::int64_t>(count_characters(self->bytes));
  if (count_characters(fill->bytes) != 1) return evaluator.fail("fill with one character");
  if (width <= size) return self;
  const auto missing = static_cast<std::size_t>(width - size);
  if (!evaluator.charge_text(missing > (1U << 30) ? SIZE_MAX / 2 : missing * fill->bytes.size()))
    return {};
  std::size_t before = where == 0 ? 0 : where == 2 ? missing : missing / 2;
  if (where == 1 && missing % 2 == 1 && width % 2 == 1) ++before;
  TextBuilder builder;
  for (std::size_t i = 0; i < before; ++i) builder.append(*fill);
  builder.append(*self);
  for (std::size_t i = before; i < missing; ++i) builder.append(*fill);
  return std::make_shared<const Text>(builder.take());
}

bool is_ascii_digit(char32_t code) { return code >= U'0' && code <= U'9'; }

constexpr std::pair<std::string_view, Method> methods[] = {
    {"split", split<false>},
    {"rsplit", split<true>},
    {"strip", strip<true, true>},
    {"lstrip", strip<true, false>},
    {"rstrip", strip<false, true>},
    {"startswith", touches<false>},
    {"endswith", touches<true>},
    {"replace", replace},
    {"find", find<false, false>},
    {"rfind", find<true, false>},
    {"index", find<false, true>},
    {"rindex", find<true, true>},
    {"count", count},
    {"join", join},
    {"upper", changed<to_upper>},
    {"lower", changed<to_lower>},
    {"title", changed<title>},
    {"capitalize", changed<capitalized>},
    {"splitlines", splitlines},
    {"partition", partition<false>},
    {"rpartition", partition<true>},
    {"removeprefix", remove<false>},
    {"removesuffix", remove<true>},
    {"ljust", justify<0>},
    {"center", justify<1>},
    {"rjust", justify<2>},
    {"isspace", all_are<is_space>},
    {"isdigit", all_are<is_ascii_digit>},
    {"isdecimal", all_are<is_ascii_digit>},
    {"isnumeric", all_are<is_ascii_digit>},
    {"isalpha", all_are<is_alphabetic>},
    {"isalnum", all_are<is_alphanumeric>},
    {"isupper", is_case<true>},
    {"islower", is_case<false>},
};

/// Of Python's str, and not offered.
constexpr std::string_view others[] = {
    "casefold",    "encode",  "expandtabs", "format",   "format_map", "isascii", "isidentifier",
    "isprintable", "istitle", "maketrans",  "swapcase", "translate",  "zfill"};

}  // namespace

bool is_text_method(std::string_view name) {
  const auto named = [&](const auto& method) { return method.first == name; };
  return std::any_of(std::begin(methods), std::end(methods), named) ||
         std::find(std::begin(others), std::end(others), name) != std::end(others);
}

Value call_text_method(Evaluator& evaluator, const TextPtr& self, const std::string& name,
                       const Arguments& given) {
  for (const auto& [known, method] : methods)
    if (known == name) return method(evaluator, self, given);
  return evaluator.fail("the method '" + name + "' of str is not supported");
}

TextPtr replace_text(Evaluator& evaluator, const Text& text, const Text& old, const Text& with,
                     std::int64_t count) {
  std::vector<TextRange> cuts;
  const std::size_t limit = limit_of(count);
  if (old.bytes.empty()) {
    for (std::size_t at = 0; at <= text.bytes.size() && cuts.size() < limit; ++at)
      if (at == text.bytes.size() || (static_cast<unsigned char>(text.bytes[at]) & 0xC0U) != 0x80U)
        cuts.push_back({at, at});
  } else {
    cuts = cuts_at(text.bytes, old.bytes, limit, false);
  }
  const std::size_t longest = text.bytes.size() + cuts.size() * with.bytes.size();
  if (!evaluator.charge_text(longest) || !evaluator.charge(cuts.size())) return make_text({});
  TextBuilder builder;
  std::size_t done = 0;
  for (const auto& cut : cuts) {
    builder.append(text, done, cut.begin);
    builder.append(with);
    done = cut.end;
  }
  builder.append(text, done, text.bytes.size());
  return std::make_shared<const Text>(builder.take());
}

TextPtr join_texts(Evaluator& evaluator, const Text& separator, const std::vector<Value>& items,
                   bool only_texts) {
  TextBuilder builder;
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (only_texts && !items[i].text())
      evaluator.fail("join needs texts; item " + std::to_string(i) + " is a " +
                     std::string(items[i].type_name()));
    const auto text = evaluator.to_text(items[i]);
    const std::size_t more = text->bytes.size() + separator.bytes.size();
    if (!evaluator.fits(builder.size() + more) || !evaluator.charge_text(more))
      return make_text({});
    if (i > 0) builder.append(separator);
    builder.append(*text);
  }
  return std::make_shared<const Text>(builder.take());
}

}  // namespace tandem::model::jinja
