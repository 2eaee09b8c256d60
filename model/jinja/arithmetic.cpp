// What + - * / // % ** do, as in Python: see evaluator.hpp.
#include <cmath>

#include "model/jinja/evaluator.hpp"
#include "model/jinja/text_methods.hpp"

namespace tandem::model::jinja {
namespace {

std::string type_of(const Value& value) { return std::string(value.type_name()); }

std::string_view symbol_of(Operator operation) {
  switch (operation) {
    case Operator::add: return "+";
    case Operator::subtract: return "-";
    case Operator::multiply: return "*";
    case Operator::divide: return "/";
    case Operator::floor_divide: return "//";
    case Operator::modulo: return "%";
    default: return "**";
  }
}

/// Rounds towards minus infinity, as Python does.
std::int64_t floor_divided(std::int64_t a, std::int64_t b) {
  const std::int64_t quotient = a / b;
  return a % b != 0 && (a < 0) != (b < 0) ? quotient - 1 : quotient;
}

std::optional<std::int64_t> integer_power(std::int64_t base, std::int64_t exponent) {
  std::int64_t result = 1;
  for (std::int64_t i = 0; i < exponent; ++i) {
    if (__builtin_mul_overflow(result, base, &result)) return std::nullopt;
    if (result == 0 || result == 1) break;
    if (i > 64 && base == -1) return exponent % 2 == 0 ? 1 : -1;
  }
  return result;
}

/// Unset if the result does not fit 64 bits.
std::optional<std::int64_t> integers(Operator operation, std::int64_t a, std::int64_t b) {
  std::int64_t result = 0;
  switch (operation) {
    case Operator::add:
      return __builtin_add_overflow(a, b, &result) ? std::nullopt : std::optional(result);
    case Operator::subtract:
      return __builtin_sub_overflow(a, b, &result) ? std::nullopt : std::optional(result);
    case Operator::multiply:
      return __builtin_mul_overflow(a, b, &result) ? std::nullopt : std::optional(result);
    case Operator::power: return integer_power(a, b);
    default: break;
  }
  if (b == -1) return integers(Operator::multiply, operation == Operator::modulo ? 0 : a, -1);
  const std::int64_t quotient = floor_divided(a, b);
  return operation == Operator::modulo ? a - quotient * b : quotient;
}

double reals(Operator operation, double a, double b) {
  switch (operation) {
    case Operator::add: return a + b;
    case Operator::subtract: return a - b;
    case Operator::multiply: return a * b;
    case Operator::divide: return a / b;
    case Operator::floor_divide: return std::floor(a / b);
    case Operator::power: return std::pow(a, b);
    default: {
      const double rest = std::fmod(a, b);
      return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
    }
  }
}

/// What markup puts in place of &, <, >, ' and ".
TextPtr escaped(const Text& text) {
  TextBuilder builder;
  std::size_t done = 0;
  for (std::size_t at = 0; at < text.bytes.size(); ++at) {
    static constexpr std::string_view special = "&<>'\"";
    static constexpr std::string_view entities[] = {"&amp;", "&lt;", "&gt;", "&#39;", "&#34;"};
    const auto known = special.find(text.bytes[at]);
    if (known == special.npos) continue;
    builder.append(text, done, at);
    builder.append(entities[known], !text.literal.empty());
    done = at + 1;
  }
  builder.append(text, done, text.bytes.size());
  return std::make_shared<const Text>(builder.take());
}

}  // namespace

TextPtr escape_html(const Text& text) { return escaped(text); }

Value Evaluator::binary(Operator operation, const Value& a, const Value& b) {
  for (const auto* one : {&a, &b})
    if (one->is_undefined()) return fail_undefined(*one);
  if (operation == Operator::modulo && a.text()) return format_percent(*this, *a.text(), b);
  const auto whole_a = a.integer(), whole_b = b.integer();
  const auto real_a = a.number(), real_b = b.number();
  if (!real_a || !real_b) {
    if (operation == Operator::add) return add(a, b);
    if (operation == Operator::multiply && whole_b) return multiply(a, b);
    if (operation == Operator::multiply && whole_a) return multiply(b, a);
    return fail("'" + std::string(symbol_of(operation)) + "' of a " + type_of(a) + " and a " +
                type_of(b) + " means nothing");
  }
  const bool divides = operation == Operator::divide || operation == Operator::floor_divide ||
                       operation == Operator::modulo;
  if (divides && *real_b == 0) return fail("division by zero");
  const bool whole = whole_a && whole_b && operation != Operator::divide &&
                     !(operation == Operator::power && *whole_b < 0);
  if (!whole) return Value(reals(operation, *real_a, *real_b));
  const auto result = integers(operation, *whole_a, *whole_b);
  return result ? Value(*result) : fail("a number does not fit 64 bits");
}

Value Evaluator::add(const Value& a, const Value& b) {
  if (a.text() && b.text()) {
    // Python's markupsafe: what is not marked safe is escaped when it meets what is.
    const bool markup = a.text()->markup || b.text()->markup;
    const auto side = [&](const Value& value) {
      return markup && !value.text()->markup ? escaped(*value.text()) : value.text_pointer();
    };
    const auto left = side(a), right = side(b);
    if (!charge_text(left->bytes.size() + right->bytes.size())) return {};
    TextBuilder builder;
    builder.append(*left);
    builder.append(*right);
    auto sum = std::make_shared<Text>(builder.take());
    sum->markup = markup;
    return TextPtr(std::move(sum));
  }
  const auto* list_a = a.list();
  const auto* list_b = b.list();
  const bool joinable = list_a && list_b && list_a->kind == list_b->kind &&
                        (list_a->kind == List::Kind::list || list_a->kind == List::Kind::tuple);
  if (!joinable) return fail("cannot add a " + type_of(b) + " to a " + type_of(a));
  auto items = list_a->items;
  items.insert(items.end(), list_b->items.begin(), list_b->items.end());
  return list(std::move(items), list_a->kind);
}

/// `value` repeated.
Value Evaluator::multiply(const Value& value, const Value& times) {
  const auto count = static_cast<std::size_t>(std::max<std::int64_t>(*times.integer(), 0));
  const auto too_many = [&](std::size_t size) {
    return size > 0 && count > limits_.max_output_bytes / size;
  };
  if (const auto* text = value.text()) {
    const std::size_t size = text->bytes.size();
    if (!charge_text(too_many(size) ? limits_.max_output_bytes + 1 : size * count)) return {};
    TextBuilder builder;
    for (std::size_t i = 0; i < count && size > 0; ++i) builder.append(*text);
    return std::make_shared<const Text>(builder.take());
  }
  const auto* held = value.list();
  if (!held || (held->kind != List::Kind::list && held->kind != List::Kind::tuple))
    return fail("cannot multiply a " + type_of(value) + " by a number");
  if (!charge(too_many(held->items.size()) ? limits_.max_work + 1 : held->items.size() * count))
    return {};
  std::vector<Value> items;
  for (std::size_t i = 0; i < count && !held->items.empty(); ++i)
    items.insert(items.end(), held->items.begin(), held->items.end());
  return list(std::move(items), held->kind);
}

Value Evaluator::negative(const Value& value, bool positive) {
  if (failed()) return {};
  if (const auto* real = value.get<double>()) return Value(positive ? *real : -*real);
  const auto whole = value.integer();
  if (!whole) return fail("'-' and '+' need a number, not a " + type_of(value));
  std::int64_t result = *whole;
  if (!positive && __builtin_sub_overflow(std::int64_t{0}, *whole, &result))
    return fail("a number does not fit 64 bits");
  return Value(result);
}

}  // namespace tandem::model::jinja
