// The statements of a template: see parser.hpp.
#include "model/jinja/parser.hpp"

#include <algorithm>

namespace tandem::model::jinja {
namespace {

constexpr std::size_t max_nesting = 100;

/// Tags of Jinja2 that a chat template has no use for.
constexpr std::string_view refused_tags[] = {"include", "import",     "from", "extends",
                                             "block",   "autoescape", "do",   "trans"};

}  // namespace

Parser::Depth::Depth(Parser& parser) : parser_(parser) {
  if (++parser_.depth_ > max_nesting)
    parser_.fail("nested deeper than " + std::to_string(max_nesting) + " levels");
}

void Parser::fail(std::string message, int line) {
  if (problem_) return;
  problem_ = Problem{line > 0 ? line : current().line, std::move(message)};
  at_ = tokens_.size() - 1;  // everything ends now
}

bool Parser::skip_symbol(std::string_view text) {
  if (!is_symbol(text)) return false;
  next();
  return true;
}

bool Parser::skip_word(std::string_view text) {
  if (!is_word(text)) return false;
  next();
  return true;
}

void Parser::expect_symbol(std::string_view text) {
  if (!skip_symbol(text))
    fail("expected '" + std::string(text) + "', found '" + current().text + "'");
}

void Parser::expect_word(std::string_view text) {
  if (!skip_word(text))
    fail("expected '" + std::string(text) + "', found '" + current().text + "'");
}

std::string Parser::expect_name(std::string_view what) {
  if (!is(Token::Kind::name)) {
    fail("expected the name of " + std::string(what) + ", found '" + current().text + "'");
    return {};
  }
  std::string name = current().text;
  next();
  return name;
}

void Parser::expect_block_end() {
  if (is(Token::Kind::block_end)) return next();
  fail("expected the end of the tag, found '" + current().text + "'");
}

Block Parser::parse_template() {
  if (problem_) return {};
  Block block = statements({});
  if (!failed() && !is(Token::Kind::end)) fail("the tag '" + current().text + "' closes nothing");
  return block;
}

/// Up to a tag that begins with one of `end_words`; the tag's name is the current token then.
Block Parser::statements(std::initializer_list<std::string_view> end_words) {
  Block block;
  const Depth depth(*this);
  while (!failed() && !is(Token::Kind::end)) {
    if (is(Token::Kind::data)) {
      auto& text = block.emplace_back(begin_statement(Statement::Kind::text));
      text.text = make_text(current().text);
      next();
    } else if (is(Token::Kind::variable_begin)) {
      auto print = begin_statement(Statement::Kind::print);
      next();
      print.expression = tuple(InlineIf::yes, false);
      if (!is(Token::Kind::variable_end)) fail("expected '}}', found '" + current().text + "'");
      next();
      block.push_back(std::move(print));
    } else {
      next();
      if (!is(Token::Kind::name)) {
        fail("a tag has no name");
      } else if (std::find(end_words.begin(), end_words.end(), current().text) != end_words.end()) {
        return block;
      } else {
        statement(block);
      }
    }
  }
  if (!failed() && end_words.size() > 0)
    fail("the template ends where '" + std::string(*end_words.begin()) + "' was expected");
  return block;
}

Statement Parser::begin_statement(Statement::Kind kind) {
  Statement statement;
  statement.kind = kind;
  statement.line = current().line;
  return statement;
}

void Parser::statement(Block& block) {
  const std::string tag = current().text;
  if (tag == "for") return for_statement(block);
  if (tag == "if") return if_statement(block);
  if (tag == "set") return set_statement(block);
  if (tag == "macro") return macro_statement(block);
  if (tag == "call") return call_statement(block);
  if (tag == "filter") return filter_statement(block);
  if (tag == "with") return with_statement(block);
  if (tag == "generation") {
    auto generation = begin_statement(Statement::Kind::scope);
    next();
    expect_block_end();
    generation.body = body_until("endgeneration");
    block.push_back(std::move(generation));
  } else if (tag == "break" || tag == "continue") {
    if (loops_ == 0) return fail("'" + tag + "' is not inside of a loop");
    block.push_back(
        begin_statement(tag == "break" ? Statement::Kind::leave_loop : Statement::Kind::next_item));
    next();
    expect_block_end();
  } else if (std::find(std::begin(refused_tags), std::end(refused_tags), tag) !=
             std::end(refused_tags)) {
    fail("the tag '" + tag + "' is not supported in chat templates");
  } else {
    fail("the tag '" + tag + "' is not known here");
  }
}

Block Parser::body_until(std::string_view end_word) {
  const bool lenient = std::exchange(lenient_, false);
  Block body = statements({end_word});
  lenient_ = lenient;
  next();
  expect_block_end();
  return body;
}

void Parser::for_statement(Block& block) {
  auto loop = begin_statement(Statement::Kind::loop);
  next();
  loop.target = target(false, "in");
  expect_word("in");
  loop.expression = tuple(InlineIf::no, false, "recursive");
  const bool lenient = std::exchange(lenient_, false);
  if (skip_word("if")) loop.condition = expression();
  loop.recursive = skip_word("recursive");
  expect_block_end();
  ++loops_;
  loop.body = statements({"endfor", "else"});
  --loops_;
  if (skip_word("else")) {
    expect_block_end();
    loop.otherwise = statements({"endfor"});
  }
  lenient_ = lenient;
  next();
  expect_block_end();
  block.push_back(std::move(loop));
}

void Parser::if_statement(Block& block) {
  auto choice = begin_statement(Statement::Kind::branches);
  const bool lenient = std::exchange(lenient_, true);
  for (bool more = true; more && !failed();) {
    auto& branch = choice.branches.emplace_back();
    const bool is_else = is_word("else");
    next();
    if (!is_else) branch.condition = tuple(InlineIf::no, false);
    expect_block_end();
    branch.body = is_else ? statements({"endif"}) : statements({"endif", "elif", "else"});
    more = !is_word("endif");
  }
  lenient_ = lenient;
  next();
  expect_block_end();
  block.push_back(std::move(choice));
}

void Parser::set_statement(Block& block) {
  auto set = begin_statement(Statement::Kind::set);
  next();
  set.target = target(true, "=");
  if (skip_symbol("=")) {
    set.expression = tuple(InlineIf::yes, false);
    expect_block_end();
  } else {
    set.kind = Statement::Kind::set_block;
    if (is_symbol("|")) set.expression = postfix_filters(nullptr);
    expect_block_end();
    set.body = body_until("endset");
  }
  block.push_back(std::move(set));
}

std::vector<Parameter> Parser::parameters() {
  std::vector<Parameter> all;
  expect_symbol("(");
  while (!failed() && !is_symbol(")")) {
    if (!all.empty()) expect_symbol(",");
    auto& parameter = all.emplace_back();
    parameter.name = expect_name("a parameter");
    if (skip_symbol("=")) {
      parameter.fallback = expression();
    } else if (all.size() > 1 && all[all.size() - 2].fallback) {
      fail("a parameter without a default follows one that has one");
    }
  }
  expect_symbol(")");
  return all;
}

void Parser::macro_statement(Block& block) {
  auto statement = begin_statement(Statement::Kind::macro);
  next();
  statement.macro = std::make_unique<MacroNode>();
  auto& macro = *statement.macro;
  macro.name = expect_name("the macro");
  macros_.push_back(&macro);
  const auto loops = std::exchange(loops_, 0);
  macro.parameters = parameters();
  expect_block_end();
  macro.body = std::make_shared<Block>(body_until("endmacro"));
  loops_ = loops;
  macros_.pop_back();
  block.push_back(std::move(statement));
}

void Parser::call_statement(Block& block) {
  auto statement = begin_statement(Statement::Kind::call);
  next();
  statement.macro = std::make_unique<MacroNode>();
  auto& caller = *statement.macro;
  caller.name = "caller";
  if (is_symbol("(")) caller.parameters = parameters();
  statement.expression = expression();
  if (!failed() && statement.expression->kind != Kind::call) fail("'call' needs a call");
  expect_block_end();
  macros_.push_back(&caller);
  const auto loops = std::exchange(loops_, 0);
  caller.body = std::make_shared<Block>(body_until("endcall"));
  loops_ = loops;
  macros_.pop_back();
  block.push_back(std::move(statement));
}

void Parser::filter_statement(Block& block) {
  auto statement = begin_statement(Statement::Kind::filter);
  next();
  auto first = node(Kind::filter);
  first->items.push_back(nullptr);
  first->name = dotted_name("a filter");
  check_known(true, first->name);
  if (is_symbol("(")) first->arguments = arguments();
  statement.expression = postfix_filters(done(std::move(first)));
  expect_block_end();
  statement.body = body_until("endfilter");
  block.push_back(std::move(statement));
}

void Parser::with_statement(Block& block) {
  auto with = begin_statement(Statement::Kind::with);
  next();
  while (!failed() && !is(Token::Kind::block_end)) {
    if (!with.assignments.empty()) expect_symbol(",");
    Target one = single_target(false);
    expect_symbol("=");
    with.assignments.emplace_back(std::move(one), expression());
  }
  expect_block_end();
  with.body = body_until("endwith");
  block.push_back(std::move(with));
}

Target Parser::single_target(bool namespaces) {
  const Depth depth(*this);
  Target one;
  if (skip_symbol("(")) {
    one = target(false, ")");
    expect_symbol(")");
    return one;
  }
  one.name = expect_name("a variable");
  static constexpr std::string_view constants[] = {"true", "false", "none",
                                                   "True", "False", "None"};
  if (std::find(std::begin(constants), std::end(constants), one.name) != std::end(constants))
    fail("cannot assign to '" + one.name + "'");
  if (namespaces && skip_symbol(".")) one.attribute = expect_name("an attribute");
  return one;
}

/// One target, or several with commas between them, up to `end_word`.
Target Parser::target(bool namespaces, std::string_view end_word) {
  Target first = single_target(namespaces);
  if (!is_symbol(",")) return first;
  Target all;
  all.targets.push_back(std::move(first));
  while (!failed() && skip_symbol(",")) {
    if (is_word(end_word) || is_symbol(end_word)) break;
    all.targets.push_back(single_target(false));
  }
  return all;
}

}  // namespace tandem::model::jinja
