// The filters behind `|` that look at one value: see evaluator.hpp. Those that go over lists are in
// list_filters.cpp.
#include <algorithm>
#include <charconv>
#include <cmath>

#include "model/jinja/evaluator.hpp"
#include "model/jinja/list_filters.hpp"
#include "model/jinja/parser.hpp"
#include "model/jinja/text_methods.hpp"
#include "model/utf8.hpp"

namespace tandem::model::jinja {
namespace {

using A = Arguments;
using E = Evaluator;

Value default_filter(E& evaluator, const Value& input, const A& given) {
  BoundArguments bound(evaluator, "default", given, {"default_value", "boolean"});
  const bool missing = input.is_undefined() || (bound.truth(1, false) && !input.truth());
  if (!missing) return input;
  return bound[0] ? *bound[0] : Value::text({});
}

Value tojson_filter(E& evaluator, const Value& input, const A& given) {
  BoundArguments bound(evaluator, "tojson", given,
                       {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style{.ascii = bound.truth(0, false), .sort_keys = bound.truth(3, false)};
  if (const auto* indent = bound[1]; indent && !indent->is_none()) {
    const auto width = bound.integer(1, 0);
    if (width < 0 || width > 32) return evaluator.fail("tojson: indent may be 0 to 32");
    style.indent = static_cast<std::size_t>(width);
    style.item_separator = ",";
  }
  if (const auto* separators = bound[2]; separators && !separators->is_none()) {
    const auto pair = evaluator.items_of(*separators);
    if (pair.size() != 2 || !pair[0].text() || !pair[1].text())
      return evaluator.fail("tojson: separators are two texts");
    style.item_separator = pair[0].text()->bytes;
    style.key_separator = pair[1].text()->bytes;
  }
  if (evaluator.failed()) return {};
  TextBuilder builder;
  if (!write_json(input, style, builder))
    return input.is_undefined() ? evaluator.fail_undefined(input)
                                : evaluator.fail("tojson: this value is not JSON");
  if (!evaluator.charge_text(builder.size())) return {};
  return std::make_shared<const Text>(builder.take());
}

/// A filter that is a method of str, on whatever it is given.
template <const char* const& method>
Value by_method(E& evaluator, const Value& input, const A& given) {
  const auto text = evaluator.to_text(input);
  return evaluator.failed() ? Value() : call_text_method(evaluator, text, method, given);
}
constexpr const char* upper_method = "upper";
constexpr const char* lower_method = "lower";
constexpr const char* capitalize_method = "capitalize";

Value trim_filter(E& evaluator, const Value& input, const A& given) {
  BoundArguments bound(evaluator, "trim", given, {"chars"});
  const auto text = evaluator.to_text(input);
  A passed;
  if (bound[0]) passed.positional.push_back(*bound[0]);
  return evaluator.failed() ? Value() : call_text_method(evaluator, text, "strip", passed);
}

/// Words begin after blanks, hyphens and opening brackets.
Value title_filter(E& evaluator, const Value& input, const A& given) {
  BoundArguments none(evaluator, "title", given, {});
  const auto text = evaluator.to_text(input);
  if (evaluator.failed() || !evaluator.charge_text(2 * text->bytes.size())) return {};
  std::string out;
  std::size_t begin = 0;
  const auto& bytes = text->bytes;
  const auto word = [&](std::size_t end) {
    if (begin >= end) return;
    const auto length = std::min(utf8_step(bytes, begin).length, end - begin);
    out += to_upper(bytes.substr(begin, length)) +
           to_lower(bytes.substr(begin + length, end - begin - length));
    begin = end;
  };
  for (std::size_t at = 0; at < bytes.size();) {
    const Utf8Step step = utf8_step(bytes, at);
    const std::size_t length = std::max<std::size_t>(step.length, 1);
    const bool separates =
        is_space(step.code) || std::string_view("-({[<").find(bytes[at]) != std::string::npos;
    if (separates) {
      word(at);
      out += bytes.substr(at, length);
      begin = at + length;
    }
    at += length;
  }
  word(bytes.size());
  return derived(std::move(out), *text);
}

Value replace_filter(E& evaluator, const Value& input, const A& given) {
  BoundArguments bound(evaluator, "replace", given, {"old", "new", "count"});
  if (!bound[0] || !bound[1]) return evaluator.fail("replace needs what to replace, and by what");
  const auto text = evaluator.to_text(input);
  const auto old = evaluator.to_text(*bound[0]), with = evaluator.to_text(*bound[1]);
  const auto count = bound.integer(2, -1);
  return evaluator.failed() ? Value() : Value(replace_text(evaluator, *text, *old, *with, count));
}

Value string_filter(E& evaluator, const Value& input, const A& given) {
  BoundArguments none(evaluator, "string", given, {});
  return evaluator.to_text(input);
}

Value safe_filter(E& evaluator, const Value& input, const A& given) {
  BoundArguments none(evaluator, "safe", given, {});
  Text text = *evaluator.to_text(input);
  text.markup = true;
  return std::make_shared<const Text>(std::move(text));
}

Value escape_filter(E& evaluator, const Value& input, const A& given) {
  BoundArguments none(evaluator, "escape", given, {});
  const auto text = evaluator.to_text(input);
  if (text->markup || !evaluator.charge_text(6 * text->bytes.size())) return text;
  Text escaped = *escape_html(*text);
  escaped.markup = true;
  return std::make_shared<const Text>(std::move(escaped));
}

/// The whole number at the beginning of a trimmed text, if that is all there is.
template <class Number>
std::optional<Number> parsed(const Text& text) {
  const auto range = stripped(text.bytes, true, true);
  std::string digits = text.bytes.substr(range.begin, range.end - range.begin);
  if (digits.starts_with('+')) digits.erase(0, 1);
  if (digits.starts_with('+') || digits.starts_with("--")) return std::nullopt;
  Number number{};
  const auto* const end = digits.data() + digits.size();
  const auto result = std::from_chars(digits.data(), end, number);
  if (result.ec != std::errc() || result.ptr != end || digits.empty()) return std::nullopt;
  return number;
}

std::optional<std::int64_t> truncated(double number) {
  if (!std::isfinite(number) || std::abs(number) >= 9.2e18) return std::nullopt;
  return static_cast<std::int64_t>(number);
}

Value int_filter(E& evaluator, const Value& input, const A& given) {
  BoundArguments bound(evaluator, "int", given, {"default", "base"});
  if (bound.integer(1, 10) != 10) return evaluator.fail("int: only base 10 is supported");
  const Value fallback = bound[0] ? *bound[0] : Value(std::int64_t{0});
  if (input.is_undefined()) return evaluator.fail_undefined(input);
  if (const auto whole = input.integer()) return Value(*whole);
  std::optional<std::int64_t> whole;
  if (const auto* real = input.get<double>()) whole = truncated(*real);
  if (const auto* text = input.text()) {
    whole = parsed<std::int64_t>(*text);
    if (!whole)
      if (const auto real = parsed<double>(*text)) whole = truncated(*real);
  }
  return whole ? Value(*whole) : fallback;
}

Value float_filter(E& evaluator, const Value& input, const A& given) {
  BoundArguments bound(evaluator, "float", given, {"default"});
  if (input.is_undefined()) return evaluator.fail_undefined(input);
  if (const auto number = input.number()) return Value(*number);
  if (const auto* text = input.text())
    if (const auto number = parsed<double>(*text)) return Value(*number);
  return bound[0] ? *bound[0] : Value(0.0);
}

Value abs_filter(E& evaluator, const Value& input, const A& given) {
  BoundArguments none(evaluator, "abs", given, {});
  if (const auto* real = input.get<double>()) return Value(std::abs(*real));
  const auto whole = input.integer();
  if (!whole || *whole == INT64_MIN) return evaluator.fail("abs needs a number of 64 bits");
  return Value(*whole < 0 ? -*whole : *whole);
}

Value round_filter(E& evaluator, const Value& input, const A& given) {
  BoundArguments bound(evaluator, "round", given, {"precision", "method"});
  const auto precision = bound.integer(0, 0);
  const auto method = bound.text(1, "common");
  const auto number = input.number();
  if (!number) return evaluator.fail("round needs a number");
  if (precision < 0 || precision > 15) return evaluator.fail("round: precision may be 0 to 15");
  if (method->bytes == "common" && input.integer()) return Value(*input.integer());
  const double scale = std::pow(10.0, static_cast<double>(precision));
  if (method->bytes == "ceil") return Value(std::ceil(*number * scale) / scale);
  if (method->bytes == "floor") return Value(std::floor(*number * scale) / scale);
  if (method->bytes != "common") return evaluator.fail("round: common, ceil or floor");
  // As Python's round(): the nearest decimal number, found by writing it out.
  char buffer[400];
  const int size =
      std::snprintf(buffer, sizeof buffer, "%.*f", static_cast<int>(precision), *number);
  double rounded = 0;
  std::from_chars(buffer, buffer + std::max(size, 0), rounded);
  return Value(rounded);
}

Value indent_filter(E& evaluator, const Value& input, const A& given) {
  BoundArguments bound(evaluator, "indent", given, {"width", "first", "blank"});
  const auto text = evaluator.to_text(input);
  TextPtr margin;
  if (bound[0] && bound[0]->text()) {
    margin = bound[0]->text_pointer();
  } else {
    const auto width = bound.integer(0, 4);
    if (width < 0 || width > 1024) return evaluator.fail("indent: width may be 0 to 1024");
    margin = make_text(std::string(static_cast<std::size_t>(width), ' '));
  }
  const bool first = bound.truth(1, false), blank = bound.truth(2, false);
  if (evaluator.failed()) return {};
  TextBuilder builder;
  for (std::size_t begin = 0; begin <= text->bytes.size();) {
    const std::size_t end = std::min(text->bytes.find('\n', begin), text->bytes.size());
    if (begin == 0 ? first : blank || end > begin) builder.append(*margin);
    builder.append(*text, begin, std::min(end + 1, text->bytes.size()));
    if (!evaluator.charge_text(margin->bytes.size() + end - begin) ||
        !evaluator.fits(builder.size()))
      return {};
    begin = end + 1;
  }
  return std::make_shared<const Text>(builder.take());
}

Value format_filter(E& evaluator, const Value& input, const A& given) {
  const auto text = evaluator.to_text(input);
  if (!given.named.empty()) return evaluator.fail("format: names are not supported");
  const auto values = evaluator.list(given.positional, List::Kind::tuple);
  return evaluator.failed() ? Value() : format_percent(evaluator, *text, values);
}

Value wordcount_filter(E& evaluator, const Value& input, const A& given) {
  BoundArguments none(evaluator, "wordcount", given, {});
  const auto text = evaluator.to_text(input);
  const auto words = call_text_method(evaluator, text, "split", {});
  return evaluator.failed() ? Value() : Value::size(words.list()->items.size());
}

constexpr std::pair<std::string_view, FilterFunction> filters[] = {
    {"abs", abs_filter},
    {"capitalize", by_method<capitalize_method>},
    {"d", default_filter},
    {"default", default_filter},
    {"e", escape_filter},
    {"escape", escape_filter},
    {"float", float_filter},
    {"format", format_filter},
    {"indent", indent_filter},
    {"int", int_filter},
    {"lower", by_method<lower_method>},
    {"replace", replace_filter},
    {"round", round_filter},
    {"safe", safe_filter},
    {"string", string_filter},
    {"title", title_filter},
    {"tojson", tojson_filter},
    {"trim", trim_filter},
    {"upper", by_method<upper_method>},
    {"wordcount", wordcount_filter},
};

}  // namespace

FilterFunction find_filter(std::string_view name) {
  for (const auto& [known, filter] : filters)
    if (known == name) return filter;
  return find_list_filter(name);
}

bool is_known_filter(std::string_view name) { return find_filter(name) != nullptr; }

}  // namespace tandem::model::jinja
