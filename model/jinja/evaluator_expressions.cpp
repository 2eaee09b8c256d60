// The expressions of a template: see evaluator.hpp.
#include <algorithm>
#include <cmath>

#include "model/jinja/evaluator.hpp"
#include "model/utf8.hpp"

namespace tandem::model::jinja {
namespace {

std::string type_of(const Value& value) { return std::string(value.type_name()); }

/// Python's slice of `size` elements: first, how many, step.
struct SliceRange {
  std::int64_t begin = 0, count = 0, step = 1;
};
SliceRange slice_range(std::int64_t size, std::optional<std::int64_t> begin,
                       std::optional<std::int64_t> end, std::int64_t step) {
  const std::int64_t low = step > 0 ? 0 : -1;
  const std::int64_t high = step > 0 ? size : size - 1;
  const auto place = [&](std::optional<std::int64_t> at, std::int64_t fallback) {
    if (!at) return fallback;
    const std::int64_t from_start = *at < 0 ? std::max(*at, -size - 1) + size : *at;
    return std::clamp(from_start, low, high);
  };
  const std::int64_t first = place(begin, step > 0 ? low : high);
  const std::int64_t last = place(end, step > 0 ? high : low);
  const std::int64_t span = step > 0 ? last - first : first - last;
  const std::int64_t width = step > 0 ? step : -step;
  return {first, span <= 0 ? 0 : (span - 1) / width + 1, step};
}

TextPtr slice_text(const Text& text, const SliceRange& range, std::int64_t size) {
  const bool single_bytes = static_cast<std::size_t>(size) == text.bytes.size();
  if (range.step == 1) {
    const auto begin = static_cast<std::size_t>(range.begin);
    const auto end = begin + static_cast<std::size_t>(range.count);
    if (single_bytes) return slice_bytes(text, begin, end);
    return slice_bytes(text, byte_of_character(text.bytes, begin),
                       byte_of_character(text.bytes, end));
  }
  std::vector<std::size_t> starts;
  for (std::size_t at = 0; at < text.bytes.size(); ++at)
    if ((static_cast<unsigned char>(text.bytes[at]) & 0xC0U) != 0x80U) starts.push_back(at);
  starts.push_back(text.bytes.size());
  TextBuilder builder;
  for (std::int64_t i = 0; i < range.count; ++i) {
    const auto at = static_cast<std::size_t>(range.begin + i * range.step);
    builder.append(text, starts[at], starts[at + 1]);
  }
  return std::make_shared<const Text>(builder.take());
}

}  // namespace

Value Evaluator::evaluate(const Expression& expression) {
  const Level level(*this);
  line_ = expression.line;
  if (failed() || !charge(1)) return {};
  return evaluate_node(expression);
}

Value Evaluator::evaluate_or_none(const ExpressionPtr& expression) {
  return expression ? evaluate(*expression) : Value(None());
}

std::vector<Value> Evaluator::evaluate_all(const std::vector<ExpressionPtr>& items) {
  std::vector<Value> values;
  values.reserve(items.size());
  for (const auto& item : items) values.push_back(evaluate(*item));
  return values;
}

Value Evaluator::evaluate_node(const Expression& expression) {
  using Kind = Expression::Kind;
  const auto& items = expression.items;
  switch (expression.kind) {
    case Kind::constant: return expression.constant;
    case Kind::variable: return variable(expression);
    case Kind::list: return list(evaluate_all(items));
    case Kind::tuple: return list(evaluate_all(items), List::Kind::tuple);
    case Kind::dict: return dict_literal(expression);
    case Kind::attribute: return attribute(evaluate(*items[0]), expression.name);
    case Kind::subscript: {
      const auto object = evaluate(*items[0]);
      return item(object, evaluate(*items[1]));
    }
    case Kind::slice: return slice(expression);
    case Kind::call: return call_expression(expression);
    case Kind::filter: return filter(expression, nullptr);
    case Kind::test: {
      const auto input = evaluate(*items[0]);
      const auto given = arguments(expression.arguments);
      return failed() ? Value() : Value(apply_test(expression.name, input, given));
    }
    case Kind::negative: return negative(evaluate(*items[0]), false);
    case Kind::positive: return negative(evaluate(*items[0]), true);
    case Kind::logical_not: return Value(!evaluate(*items[0]).truth());
    case Kind::logical_and: {
      auto left = evaluate(*items[0]);
      return left.truth() ? evaluate(*items[1]) : left;
    }
    case Kind::logical_or: {
      auto left = evaluate(*items[0]);
      return left.truth() ? left : evaluate(*items[1]);
    }
    case Kind::binary: {
      const auto left = evaluate(*items[0]);
      const auto right = evaluate(*items[1]);
      return failed() ? Value() : binary(expression.operators[0], left, right);
    }
    case Kind::compare: return compare_chain(expression);
    case Kind::concat: return concat(expression);
    case Kind::condition:
      if (evaluate(*items[1]).truth()) return evaluate(*items[0]);
      if (items[2]) return evaluate(*items[2]);
      return Value::undefined("the inline if-expression has no 'else' and its condition is false");
  }
  return {};
}

Value Evaluator::variable(const Expression& expression) {
  if (const auto* value = scope_->find(expression.name)) return *value;
  if (const auto* function = find_function(expression.name)) return *function;
  return Value::undefined("'" + expression.name + "' is undefined");
}

Value Evaluator::dict_literal(const Expression& expression) {
  std::vector<std::pair<Value, Value>> entries;
  for (std::size_t i = 0; i + 1 < expression.items.size(); i += 2) {
    auto key = evaluate(*expression.items[i]);
    entries.emplace_back(std::move(key), evaluate(*expression.items[i + 1]));
  }
  return failed() ? Value() : dict(std::move(entries));
}

Value Evaluator::attribute(const Value& object, const std::string& name) {
  if (object.is_undefined()) return fail_undefined(object);
  if (const auto* space = object.space()) {
    for (const auto& [known, value] : space->attributes)
      if (known == name) return value;
    return Value::undefined("the namespace has no attribute '" + name + "'");
  }
  if (const auto* loop = object.loop())
    if (auto value = loop_attribute(*loop, name); !value.is_undefined()) return value;
  const auto kind = method_kind(object, name);
  if (kind == MethodKind::changes)
    return Value::undefined("'" + name + "' would change a " + type_of(object) +
                            ", which templates may not");
  if (kind == MethodKind::reads || (object.loop() && (name == "cycle" || name == "changed"))) {
    auto method = std::make_shared<Callable>();
    method->kind = Callable::Kind::method;
    method->name = name;
    method->self = object;
    return std::shared_ptr<const Callable>(std::move(method));
  }
  if (const auto* dict = object.dict())
    if (const auto* value = dict->find(name)) return *value;
  return Value::undefined("'" + type_of(object) + " object' has no attribute '" + name + "'");
}

Value Evaluator::item(const Value& object, const Value& key) {
  if (failed()) return {};
  if (object.is_undefined()) return fail_undefined(object);
  if (const auto* dict = object.dict())
    if (const auto* value = dict->find(key)) return *value;
  if (const auto index = key.integer(); index && !object.dict()) {
    const auto* held = object.list();
    const auto* text = object.text();
    const bool has_items =
        held && held->kind != List::Kind::view && held->kind != List::Kind::iterator;
    const std::size_t size = text        ? count_characters(text->bytes)
                             : has_items ? held->items.size()
                                         : 0;
    const auto at = *index < 0 ? *index + static_cast<std::int64_t>(size) : *index;
    if (at >= 0 && at < static_cast<std::int64_t>(size)) {
      if (!text) return held->items[static_cast<std::size_t>(at)];
      if (!charge(size / 16)) return {};
      return slice_text(*text, {at, 1, 1}, static_cast<std::int64_t>(size));
    }
  }
  if (const auto* name = key.text(); name && !object.dict()) return attribute(object, name->bytes);
  if (const auto* name = key.text(); name && method_kind(object, name->bytes) != MethodKind::none)
    return attribute(object, name->bytes);
  TextBuilder written;
  if (!write_repr(key, written)) written.append("key");
  return Value::undefined("'" + type_of(object) + " object' has no element " +
                          written.take().bytes);
}

Value Evaluator::slice(const Expression& expression) {
  const auto object = evaluate(*expression.items[0]);
  std::optional<std::int64_t> parts[3];
  for (std::size_t i = 0; i < 3; ++i) {
    const auto part = evaluate_or_none(expression.items[i + 1]);
    if (failed()) return {};
    parts[i] = part.integer();
    if (!parts[i] && !part.is_none()) return fail("a slice is given a " + type_of(part));
  }
  const std::int64_t step = parts[2].value_or(1);
  if (object.is_undefined()) return fail_undefined(object);
  if (step == 0) return fail("the step of a slice is 0");
  if (step < -(1LL << 40) || step > (1LL << 40)) return fail("the step of a slice is too large");
  if (const auto* text = object.text()) {
    if (!charge_text(2 * text->bytes.size())) return {};
    const auto size = static_cast<std::int64_t>(count_characters(text->bytes));
    return slice_text(*text, slice_range(size, parts[0], parts[1], step), size);
  }
  const auto* held = object.list();
  if (!held || held->kind == List::Kind::view || held->kind == List::Kind::iterator)
    return fail("a " + type_of(object) + " cannot be sliced");
  const auto range =
      slice_range(static_cast<std::int64_t>(held->items.size()), parts[0], parts[1], step);
  std::vector<Value> items;
  for (std::int64_t i = 0; i < range.count; ++i)
    items.push_back(held->items[static_cast<std::size_t>(range.begin + i * range.step)]);
  return list(std::move(items), held->kind);
}

Arguments Evaluator::arguments(const ArgumentNodes& nodes) {
  Arguments given;
  given.positional = evaluate_all(nodes.positional);
  for (const auto& [name, expression] : nodes.named)
    given.named.emplace_back(name, evaluate(*expression));
  if (nodes.star)
    for (auto& value : items_of(evaluate(*nodes.star)))
      given.positional.push_back(std::move(value));
  if (nodes.double_star) {
    const auto more = evaluate(*nodes.double_star);
    if (!more.dict()) {
      fail("'**' needs a dict, not a " + type_of(more));
      return {};
    }
    for (const auto& [key, value] : more.dict()->entries)
      given.named.emplace_back(key.text() ? key.text()->bytes : std::string(), value);
  }
  return given;
}

Value Evaluator::call_expression(const Expression& expression) {
  const auto callee = evaluate(*expression.items.front());
  const auto given = arguments(expression.arguments);
  line_ = expression.line;
  return failed() ? Value() : call(callee, given);
}

/// The filters of a block begin at the innermost one, which has no input of its own.
Value Evaluator::filter(const Expression& expression, const Value* block_text) {
  const Level level(*this);
  const auto& inner = expression.items.front();
  Value input;
  if (!inner) {
    input = block_text ? *block_text : Value();
  } else if (block_text && inner->kind == Expression::Kind::filter) {
    input = filter(*inner, block_text);
  } else {
    input = evaluate(*inner);
  }
  const auto given = arguments(expression.arguments);
  line_ = expression.line;
  return failed() ? Value() : apply_filter(expression.name, input, given);
}

Value Evaluator::apply_filter(const std::string& name, const Value& input, const Arguments& given) {
  const auto function = find_filter(name);
  if (!function) return fail("there is no filter '" + name + "'");
  return failed() || !charge(1) ? Value() : function(*this, input, given);
}

bool Evaluator::apply_test(const std::string& name, const Value& input, const Arguments& given) {
  const auto function = find_test(name);
  if (!function) fail("there is no test '" + name + "'");
  return !failed() && charge(1) && function(*this, input, given);
}

std::vector<Value> Evaluator::items_of(const Value& value) {
  std::vector<Value> items;
  if (failed() || value.is_undefined()) return items;
  if (const auto* held = value.list()) {
    if (held->kind == List::Kind::iterator && std::exchange(held->consumed, true)) return items;
    if (charge(held->items.size())) items = held->items;
  } else if (const auto* dict = value.dict()) {
    if (!charge(dict->entries.size())) return items;
    for (const auto& entry : dict->entries) items.push_back(entry.first);
  } else if (const auto* text = value.text()) {
    if (!charge(4 * text->bytes.size())) return items;
    for (std::size_t at = 0; at < text->bytes.size();) {
      const auto length = std::max<std::size_t>(utf8_step(text->bytes, at).length, 1);
      items.emplace_back(slice_bytes(*text, at, at + length));
      at += length;
    }
  } else {
    fail("a " + type_of(value) + " cannot be looped over");
  }
  return items;
}

bool Evaluator::contains(const Value& container, const Value& wanted) {
  if (const auto* text = container.text()) {
    if (const auto* part = wanted.text()) {
      charge(text->bytes.size() / 16);
      return text->bytes.find(part->bytes) != std::string::npos;
    }
    fail("'in' of a str needs a str, not a " + type_of(wanted));
    return false;
  }
  if (const auto* dict = container.dict()) return dict->find(wanted) != nullptr;
  const auto items = items_of(container);
  return std::any_of(items.begin(), items.end(),
                     [&](const Value& one) { return equal(one, wanted); });
}

bool Evaluator::order(const Value& a, const Value& b, Operator relation) {
  if (a.is_undefined() || b.is_undefined()) {
    fail_undefined(a.is_undefined() ? a : b);
    return false;
  }
  const auto result = compare(a, b);
  if (!result) {
    if (!a.number() || !b.number())
      fail("a " + type_of(a) + " and a " + type_of(b) + " have no order");
    return false;
  }
  switch (relation) {
    case Operator::less: return *result < 0;
    case Operator::less_equal: return *result <= 0;
    case Operator::greater: return *result > 0;
    default: return *result >= 0;
  }
}

bool Evaluator::compare_one(Operator operation, const Value& a, const Value& b) {
  if (failed()) return false;
  switch (operation) {
    case Operator::equal: return equal(a, b);
    case Operator::not_equal: return !equal(a, b);
    case Operator::in: return contains(b, a);
    case Operator::not_in: return !contains(b, a);
    default: return order(a, b, operation);
  }
}

Value Evaluator::compare_chain(const Expression& expression) {
  auto left = evaluate(*expression.items[0]);
  for (std::size_t i = 0; i < expression.operators.size(); ++i) {
    auto right = evaluate(*expression.items[i + 1]);
    if (!compare_one(expression.operators[i], left, right)) return Value(false);
    left = std::move(right);
  }
  return Value(true);
}

Value Evaluator::concat(const Expression& expression) {
  TextBuilder builder;
  for (const auto& item : expression.items) {
    const auto text = to_text(evaluate(*item));
    if (!fits(builder.size() + text->bytes.size()) || !charge_text(text->bytes.size())) return {};
    builder.append(*text);
  }
  return std::make_shared<const Text>(builder.take());
}

}  // namespace tandem::model::jinja
