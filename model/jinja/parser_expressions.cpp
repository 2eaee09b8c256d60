// The expressions of a template: see parser.hpp. One function per rule, loosest binding first.
#include <charconv>

#include "model/jinja/parser.hpp"

namespace tandem::model::jinja {
namespace {

constexpr std::size_t max_expression_depth = 256;

std::size_t depth_of(const ExpressionPtr& expression) { return expression ? expression->depth : 0; }

}  // namespace

ExpressionPtr Parser::node(Kind kind, std::vector<ExpressionPtr> items) {
  auto made = std::make_unique<Expression>();
  made->kind = kind;
  made->line = current().line;
  made->items = std::move(items);
  return made;
}

ExpressionPtr Parser::done(ExpressionPtr expression) {
  std::size_t below = 0;
  for (const auto& item : expression->items) below = std::max(below, depth_of(item));
  const auto& arguments = expression->arguments;
  for (const auto& item : arguments.positional) below = std::max(below, depth_of(item));
  for (const auto& item : arguments.named) below = std::max(below, depth_of(item.second));
  below = std::max({below, depth_of(arguments.star), depth_of(arguments.double_star)});
  expression->depth = below + 1;
  if (expression->depth > max_expression_depth)
    fail("an expression is nested deeper than " + std::to_string(max_expression_depth) + " levels",
         expression->line);
  return expression;
}

ExpressionPtr Parser::expression(InlineIf inline_if) {
  return inline_if == InlineIf::yes ? condition() : logical_or();
}

ExpressionPtr Parser::condition() {
  const Depth depth(*this);
  auto value = logical_or();
  while (!failed() && is_word("if")) {
    auto choice = node(Kind::condition);
    next();
    auto test = logical_or();
    ExpressionPtr otherwise;
    if (skip_word("else")) otherwise = condition();
    choice->items.push_back(std::move(value));
    choice->items.push_back(std::move(test));
    choice->items.push_back(std::move(otherwise));
    value = done(std::move(choice));
  }
  return value;
}

ExpressionPtr Parser::logical_or() {
  auto left = logical_and();
  while (!failed() && is_word("or")) {
    auto both = node(Kind::logical_or);
    next();
    both->items.push_back(std::move(left));
    both->items.push_back(logical_and());
    left = done(std::move(both));
  }
  return left;
}

ExpressionPtr Parser::logical_and() {
  auto left = logical_not();
  while (!failed() && is_word("and")) {
    auto both = node(Kind::logical_and);
    next();
    both->items.push_back(std::move(left));
    both->items.push_back(logical_not());
    left = done(std::move(both));
  }
  return left;
}

ExpressionPtr Parser::logical_not() {
  if (!is_word("not")) return comparison();
  const Depth depth(*this);
  auto negated = node(Kind::logical_not);
  next();
  negated->items.push_back(logical_not());
  return done(std::move(negated));
}

ExpressionPtr Parser::comparison() {
  auto first = sum();
  auto chain = node(Kind::compare);
  static constexpr std::pair<std::string_view, Operator> symbols[] = {
      {"==", Operator::equal},      {"!=", Operator::not_equal}, {"<", Operator::less},
      {"<=", Operator::less_equal}, {">", Operator::greater},    {">=", Operator::greater_equal}};
  while (!failed()) {
    std::optional<Operator> found;
    for (const auto& [symbol, meaning] : symbols)
      if (is_symbol(symbol)) found = meaning;
    if (is_word("in")) found = Operator::in;
    if (is_word("not") && ahead().kind == Token::Kind::name && ahead().text == "in") {
      next();
      found = Operator::not_in;
    }
    if (!found) break;
    next();
    chain->operators.push_back(*found);
    chain->items.push_back(sum());
  }
  if (chain->operators.empty()) return first;
  chain->items.insert(chain->items.begin(), std::move(first));
  return done(std::move(chain));
}

namespace {
std::optional<Operator> sum_operator(const std::string& symbol) {
  if (symbol == "+") return Operator::add;
  if (symbol == "-") return Operator::subtract;
  return std::nullopt;
}
std::optional<Operator> product_operator(const std::string& symbol) {
  if (symbol == "*") return Operator::multiply;
  if (symbol == "/") return Operator::divide;
  if (symbol == "//") return Operator::floor_divide;
  if (symbol == "%") return Operator::modulo;
  return std::nullopt;
}
}  // namespace

ExpressionPtr Parser::sum() {
  auto left = concat();
  while (!failed() && is(Token::Kind::symbol)) {
    const auto found = sum_operator(current().text);
    if (!found) break;
    auto both = node(Kind::binary);
    next();
    both->operators.push_back(*found);
    both->items.push_back(std::move(left));
    both->items.push_back(concat());
    left = done(std::move(both));
  }
  return left;
}

ExpressionPtr Parser::concat() {
  auto first = product();
  if (!is_symbol("~")) return first;
  auto all = node(Kind::concat);
  all->items.push_back(std::move(first));
  while (!failed() && skip_symbol("~")) all->items.push_back(product());
  return done(std::move(all));
}

ExpressionPtr Parser::product() {
  auto left = power();
  while (!failed() && is(Token::Kind::symbol)) {
    const auto found = product_operator(current().text);
    if (!found) break;
    auto both = node(Kind::binary);
    next();
    both->operators.push_back(*found);
    both->items.push_back(std::move(left));
    both->items.push_back(power());
    left = done(std::move(both));
  }
  return left;
}

ExpressionPtr Parser::power() {
  auto left = unary();
  while (!failed() && is_symbol("**")) {
    auto both = node(Kind::binary);
    next();
    both->operators.push_back(Operator::power);
    both->items.push_back(std::move(left));
    both->items.push_back(unary());
    left = done(std::move(both));
  }
  return left;
}

ExpressionPtr Parser::unary(bool with_filters) {
  const Depth depth(*this);
  ExpressionPtr value;
  if (is_symbol("-") || is_symbol("+")) {
    value = node(is_symbol("-") ? Kind::negative : Kind::positive);
    next();
    value->items.push_back(unary(false));
    value = done(std::move(value));
  } else {
    value = primary();
  }
  value = postfix(std::move(value));
  return with_filters ? postfix_filters(std::move(value)) : std::move(value);
}

ExpressionPtr Parser::primary() {
  auto value = node(Kind::constant);
  if (is(Token::Kind::name)) {
    const std::string name = current().text;
    next();
    if (name == "true" || name == "True") {
      value->constant = Value(true);
    } else if (name == "false" || name == "False") {
      value->constant = Value(false);
    } else if (name == "none" || name == "None") {
      value->constant = None();
    } else {
      value->kind = Kind::variable;
      value->name = name;
      for (auto* macro : macros_) {
        macro->uses_varargs = macro->uses_varargs || name == "varargs";
        macro->uses_kwargs = macro->uses_kwargs || name == "kwargs";
        macro->uses_caller = macro->uses_caller || name == "caller";
      }
    }
    return value;
  }
  if (is_symbol("[")) return list();
  if (is_symbol("{")) return dict();
  if (skip_symbol("(")) {
    auto inner = tuple(InlineIf::yes, true);
    expect_symbol(")");
    return inner;
  }
  return string_or_number();
}

ExpressionPtr Parser::string_or_number() {
  auto value = node(Kind::constant);
  const std::string text = current().text;
  if (is(Token::Kind::string)) {
    std::string whole;
    for (; is(Token::Kind::string); next()) whole += current().text;
    value->constant = Value::text(std::move(whole));
  } else if (is(Token::Kind::integer)) {
    std::int64_t number = 0;
    const auto* end = text.data() + text.size();
    if (std::from_chars(text.data(), end, number).ec != std::errc())
      fail("the number " + text + " is too large");
    value->constant = Value(number);
    next();
  } else if (is(Token::Kind::real)) {
    double number = 0;
    const auto* end = text.data() + text.size();
    if (std::from_chars(text.data(), end, number).ec != std::errc())
      fail("the number " + text + " is out of range");
    value->constant = Value(number);
    next();
  } else {
    fail(text.empty() ? "an expression was expected" : "unexpected '" + text + "'");
  }
  return value;
}

ExpressionPtr Parser::list() {
  auto value = node(Kind::list);
  expect_symbol("[");
  while (!failed() && !is_symbol("]")) {
    if (!value->items.empty()) expect_symbol(",");
    if (is_symbol("]")) break;
    value->items.push_back(expression());
  }
  expect_symbol("]");
  return done(std::move(value));
}

ExpressionPtr Parser::dict() {
  auto value = node(Kind::dict);
  expect_symbol("{");
  while (!failed() && !is_symbol("}")) {
    if (!value->items.empty()) expect_symbol(",");
    if (is_symbol("}")) break;
    value->items.push_back(expression());
    expect_symbol(":");
    value->items.push_back(expression());
  }
  expect_symbol("}");
  return done(std::move(value));
}

ExpressionPtr Parser::tuple(InlineIf inline_if, bool bracketed, std::string_view end_word) {
  auto value = node(Kind::tuple);
  bool is_tuple = false;
  while (!failed()) {
    if (is(Token::Kind::variable_end) || is(Token::Kind::block_end) || is_symbol(")") ||
        (!end_word.empty() && is_word(end_word)))
      break;
    value->items.push_back(expression(inline_if));
    if (!skip_symbol(",")) break;
    is_tuple = true;
  }
  if (!is_tuple && value->items.size() == 1) return std::move(value->items.front());
  if (value->items.empty() && !bracketed) fail("an expression was expected");
  return done(std::move(value));
}

ExpressionPtr Parser::postfix(ExpressionPtr value) {
  while (!failed()) {
    if (is_symbol(".")) {
      value = member(std::move(value));
    } else if (is_symbol("[")) {
      value = subscript(std::move(value));
    } else if (is_symbol("(")) {
      value = call(std::move(value));
    } else {
      break;
    }
  }
  return value;
}

ExpressionPtr Parser::postfix_filters(ExpressionPtr value) {
  while (!failed()) {
    if (is_symbol("|")) {
      value = filter(std::move(value));
    } else if (value && is_word("is")) {
      value = test(std::move(value));
    } else if (value && is_symbol("(")) {
      value = call(std::move(value));
    } else {
      break;
    }
  }
  return value;
}

/// value.name or value.0
ExpressionPtr Parser::member(ExpressionPtr value) {
  next();
  auto access = node(Kind::attribute);
  access->items.push_back(std::move(value));
  if (is(Token::Kind::integer)) {
    access->kind = Kind::subscript;
    access->items.push_back(string_or_number());
  } else {
    access->name = expect_name("an attribute");
  }
  return done(std::move(access));
}

/// value[index], value[begin:end:step] with parts left out, or value[a, b].
ExpressionPtr Parser::subscript(ExpressionPtr value) {
  const Depth depth(*this);
  expect_symbol("[");
  auto access = node(Kind::subscript);
  access->items.push_back(std::move(value));
  std::vector<ExpressionPtr> parts(1);
  bool is_slice = false;
  while (!failed() && !is_symbol("]") && !is_symbol(",")) {
    if (skip_symbol(":")) {
      is_slice = true;
      parts.emplace_back();
    } else if (parts.back()) {
      fail("expected ':' or ']', found '" + current().text + "'");
    } else {
      parts.back() = expression();
    }
  }
  if (is_slice) {
    if (parts.size() > 3) fail("a slice has at most three parts");
    parts.resize(3);
    access->kind = Kind::slice;
  } else if (!parts.front()) {
    fail("an index was expected");
  } else if (is_symbol(",")) {
    auto index = node(Kind::tuple, {});
    index->items.push_back(std::move(parts.front()));
    while (!failed() && skip_symbol(",")) index->items.push_back(expression());
    parts.front() = done(std::move(index));
  }
  expect_symbol("]");
  for (auto& part : parts) access->items.push_back(std::move(part));
  return done(std::move(access));
}

ArgumentNodes Parser::arguments() {
  const Depth depth(*this);
  ArgumentNodes all;
  expect_symbol("(");
  for (bool first = true; !failed() && !is_symbol(")"); first = false) {
    if (!first) {
      expect_symbol(",");
      if (is_symbol(")")) break;
    }
    if (skip_symbol("**")) {
      if (all.double_star) fail("'**' may stand once in a call");
      all.double_star = expression();
    } else if (skip_symbol("*")) {
      if (all.star || all.double_star) fail("'*' may stand once in a call, before '**'");
      all.star = expression();
    } else if (is(Token::Kind::name) && ahead().kind == Token::Kind::symbol &&
               ahead().text == "=") {
      std::string name = current().text;
      next();
      next();
      if (all.double_star) fail("an argument follows '**'");
      all.named.emplace_back(std::move(name), expression());
    } else {
      if (all.star || all.double_star || !all.named.empty())
        fail("an argument without a name follows one that has one");
      all.positional.push_back(expression());
    }
  }
  expect_symbol(")");
  return all;
}

ExpressionPtr Parser::call(ExpressionPtr callee) {
  auto made = node(Kind::call);
  made->arguments = arguments();
  made->items.push_back(std::move(callee));
  return done(std::move(made));
}

std::string Parser::dotted_name(std::string_view what) {
  std::string name = expect_name(what);
  while (!failed() && skip_symbol(".")) name += "." + expect_name(what);
  return name;
}

void Parser::check_known(bool is_filter, const std::string& name) {
  if (failed() || lenient_) return;
  if (!(is_filter ? is_known_filter(name) : is_known_test(name)))
    fail("there is no " + std::string(is_filter ? "filter" : "test") + " '" + name + "'");
}

ExpressionPtr Parser::filter(ExpressionPtr value) {
  auto made = node(Kind::filter);
  expect_symbol("|");
  made->items.push_back(std::move(value));
  made->name = dotted_name("a filter");
  check_known(true, made->name);
  if (is_symbol("(")) made->arguments = arguments();
  return done(std::move(made));
}

ExpressionPtr Parser::test(ExpressionPtr value) {
  auto made = node(Kind::test);
  expect_word("is");
  const bool negated = skip_word("not");
  made->items.push_back(std::move(value));
  made->name = dotted_name("a test");
  check_known(false, made->name);
  const bool operand = is(Token::Kind::name) || is(Token::Kind::string) ||
                       is(Token::Kind::integer) || is(Token::Kind::real) || is_symbol("[") ||
                       is_symbol("{");
  if (is_symbol("(")) {
    made->arguments = arguments();
  } else if (is_word("is")) {
    fail("tests cannot be chained with 'is'");
  } else if (operand && !is_word("else") && !is_word("or") && !is_word("and")) {
    made->arguments.positional.push_back(postfix(primary()));
  }
  made = done(std::move(made));
  if (!negated) return made;
  auto inverse = node(Kind::logical_not);
  inverse->items.push_back(std::move(made));
  return done(std::move(inverse));
}

}  // namespace tandem::model::jinja
