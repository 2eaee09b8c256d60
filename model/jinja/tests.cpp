// The tests behind `is`: see evaluator.hpp.
#include <algorithm>
#include <cmath>

#include "model/jinja/evaluator.hpp"
#include "model/jinja/parser.hpp"
#include "model/utf8.hpp"

namespace tandem::model::jinja {
namespace {

/// The one operand of `a is name operand`.
const Value* operand(Evaluator& evaluator, const Arguments& given) {
  if (given.positional.size() == 1 && given.named.empty()) return &given.positional.front();
  evaluator.fail("this test needs one operand");
  return nullptr;
}

template <Operator relation>
bool compared(Evaluator& evaluator, const Value& input, const Arguments& given) {
  const auto* other = operand(evaluator, given);
  if (!other) return false;
  if constexpr (relation == Operator::equal) return equal(input, *other);
  if constexpr (relation == Operator::not_equal) return !equal(input, *other);
  if constexpr (relation == Operator::in) return evaluator.contains(*other, input);
  return evaluator.order(input, *other, relation);
}

bool is_iterable(const Value& value) {
  return value.is_undefined() || value.text() || value.list() || value.dict() || value.loop();
}

bool is_sequence(const Value& value) {
  const auto* list = value.list();
  return value.is_undefined() || value.text() || value.dict() ||
         (list && list->kind != List::Kind::view && list->kind != List::Kind::iterator);
}

/// All letters are of one case, and there is one.
bool has_case(Evaluator& evaluator, const Value& value, bool upper) {
  const auto text = evaluator.to_text(value);
  const auto& bytes = text->bytes;
  bool any = false;
  for (std::size_t at = 0; at < bytes.size();) {
    const Utf8Step step = utf8_step(bytes, at);
    any = any || is_cased_letter(step.code);
    at += std::max<std::size_t>(step.length, 1);
  }
  return any && (upper ? to_upper(bytes) : to_lower(bytes)) == bytes;
}

std::optional<std::int64_t> remainder(Evaluator& evaluator, const Value& value,
                                      std::int64_t divisor) {
  const auto whole = value.integer();
  if (whole && divisor != 0) return divisor == -1 ? 0 : *whole % divisor;
  evaluator.fail("this test needs whole numbers, and none is divided by 0");
  return std::nullopt;
}

bool divisible(Evaluator& evaluator, const Value& input, const Arguments& given) {
  const auto* by = operand(evaluator, given);
  return by && remainder(evaluator, input, by->integer().value_or(0)) == 0;
}

constexpr auto equals = compared<Operator::equal>;
constexpr auto differs = compared<Operator::not_equal>;
constexpr auto less = compared<Operator::less>;
constexpr auto less_equal = compared<Operator::less_equal>;
constexpr auto greater = compared<Operator::greater>;
constexpr auto greater_equal = compared<Operator::greater_equal>;

using E = Evaluator;
using V = Value;
using A = Arguments;

/// A test without operand.
template <bool (*test)(Evaluator&, const Value&)>
bool plain(Evaluator& evaluator, const Value& input, const Arguments& given) {
  if (given.positional.empty() && given.named.empty()) return test(evaluator, input);
  evaluator.fail("this test takes no operand");
  return false;
}

const std::pair<std::string_view, TestFunction> tests[] = {
    {"defined", plain<[](E&, const V& v) { return !v.is_undefined(); }>},
    {"undefined", plain<[](E&, const V& v) { return v.is_undefined(); }>},
    {"none", plain<[](E&, const V& v) { return v.is_none(); }>},
    {"boolean", plain<[](E&, const V& v) { return v.boolean() != nullptr; }>},
    {"true", plain<[](E&, const V& v) { return v.boolean() && *v.boolean(); }>},
    {"false", plain<[](E&, const V& v) { return v.boolean() && !*v.boolean(); }>},
    {"integer", plain<[](E&, const V& v) { return v.get<std::int64_t>() != nullptr; }>},
    {"float", plain<[](E&, const V& v) { return v.is_real(); }>},
    {"number", plain<[](E&, const V& v) { return v.number().has_value(); }>},
    {"string", plain<[](E&, const V& v) { return v.text() != nullptr; }>},
    {"mapping", plain<[](E&, const V& v) { return v.dict() != nullptr; }>},
    {"iterable", plain<[](E&, const V& v) { return is_iterable(v); }>},
    {"sequence", plain<[](E&, const V& v) { return is_sequence(v); }>},
    {"callable", plain<[](E&, const V& v) { return v.callable() || v.loop(); }>},
    {"escaped", plain<[](E&, const V& v) { return v.text() && v.text()->markup; }>},
    {"lower", plain<[](E& e, const V& v) { return has_case(e, v, false); }>},
    {"upper", plain<[](E& e, const V& v) { return has_case(e, v, true); }>},
    {"odd", plain<[](E& e, const V& v) { return remainder(e, v, 2).value_or(0) != 0; }>},
    {"even", plain<[](E& e, const V& v) { return remainder(e, v, 2) == 0; }>},
    {"divisibleby", divisible},
    {"sameas",
     [](E& e, const V& v, const A& a) {
       const auto* other = operand(e, a);
       if (!other || v.type_name() != other->type_name()) return false;
       if (v.list() || v.dict()) return v.list() == other->list() && v.dict() == other->dict();
       return equal(v, *other);
     }},
    {"in", compared<Operator::in>},
    {"filter", [](E& e, const V& v, const A&) { return is_known_filter(e.to_text(v)->bytes); }},
    {"test", [](E& e, const V& v, const A&) { return is_known_test(e.to_text(v)->bytes); }},
    {"eq", equals},
    {"equalto", equals},
    {"==", equals},
    {"ne", differs},
    {"!=", differs},
    {"lt", less},
    {"lessthan", less},
    {"<", less},
    {"le", less_equal},
    {"<=", less_equal},
    {"gt", greater},
    {"greaterthan", greater},
    {">", greater},
    {"ge", greater_equal},
    {">=", greater_equal},
};

}  // namespace

TestFunction find_test(std::string_view name) {
  for (const auto& [known, test] : tests)
    if (known == name) return test;
  return nullptr;
}

bool is_known_test(std::string_view name) { return find_test(name) != nullptr; }

}  // namespace tandem::model::jinja
