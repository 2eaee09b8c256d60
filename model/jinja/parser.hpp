// Tokens to a syntax tree: the grammar of Jinja2's expressions and of the statements that chat
// templates use. Tags that reach for other templates are refused by name. Internal to model/jinja.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/jinja/ast.hpp"
#include "model/jinja/lexer.hpp"

namespace tandem::model::jinja {

/// One template, parsed once. The first problem is kept; what is parsed after it means nothing.
class Parser {
 public:
  explicit Parser(std::string_view source) { tokens_ = tokenize(source, problem_); }

  Block parse_template();
  [[nodiscard]] const std::optional<Problem>& problem() const { return problem_; }

 private:
  using Kind = Expression::Kind;
  enum class InlineIf : bool { no, yes };

  // Expressions: parser_expressions.cpp.
  ExpressionPtr expression(InlineIf inline_if = InlineIf::yes);
  ExpressionPtr condition();
  ExpressionPtr logical_or();
  ExpressionPtr logical_and();
  ExpressionPtr logical_not();
  ExpressionPtr comparison();
  ExpressionPtr sum();
  ExpressionPtr concat();
  ExpressionPtr product();
  ExpressionPtr power();
  ExpressionPtr unary(bool with_filters = true);
  ExpressionPtr primary();
  ExpressionPtr string_or_number();
  ExpressionPtr list();
  ExpressionPtr dict();
  /// `a` or `a, b`. Without elements it is only allowed inside of brackets.
  ExpressionPtr tuple(InlineIf inline_if, bool bracketed, std::string_view end_word = {});
  ExpressionPtr postfix(ExpressionPtr value);
  ExpressionPtr postfix_filters(ExpressionPtr value);
  ExpressionPtr member(ExpressionPtr value);
  ExpressionPtr subscript(ExpressionPtr value);
  ExpressionPtr call(ExpressionPtr callee);
  ExpressionPtr filter(ExpressionPtr value);
  ExpressionPtr test(ExpressionPtr value);
  ArgumentNodes arguments();
  ExpressionPtr node(Kind kind, std::vector<ExpressionPtr> items = {});
  /// Sets the depth of a complete node and checks its bound.
  ExpressionPtr done(ExpressionPtr expression);
  std::string dotted_name(std::string_view what);
  void check_known(bool is_filter, const std::string& name);

  // Statements: parser.cpp.
  Block statements(std::initializer_list<std::string_view> end_words);
  void statement(Block& block);
  Statement begin_statement(Statement::Kind kind);
  void for_statement(Block& block);
  void if_statement(Block& block);
  void set_statement(Block& block);
  void macro_statement(Block& block);
  void call_statement(Block& block);
  void filter_statement(Block& block);
  void with_statement(Block& block);
  std::vector<Parameter> parameters();
  /// The body up to `end_word`, which is taken, in a frame of its own.
  Block body_until(std::string_view end_word);
  Target target(bool namespaces, std::string_view end_word);
  Target single_target(bool namespaces);
  void expect_block_end();

  [[nodiscard]] const Token& current() const { return tokens_[at_]; }
  [[nodiscard]] const Token& ahead() const {
    return tokens_[std::min(at_ + 1, tokens_.size() - 1)];
  }
  void next() {
    if (at_ + 1 < tokens_.size()) ++at_;
  }
  [[nodiscard]] bool is(Token::Kind kind) const { return current().kind == kind; }
  [[nodiscard]] bool is_symbol(std::string_view text) const {
    return is(Token::Kind::symbol) && current().text == text;
  }
  [[nodiscard]] bool is_word(std::string_view text) const {
    return is(Token::Kind::name) && current().text == text;
  }
  bool skip_symbol(std::string_view text);
  bool skip_word(std::string_view text);
  void expect_symbol(std::string_view text);
  void expect_word(std::string_view text);
  std::string expect_name(std::string_view what);
  void fail(std::string message, int line = 0);
  [[nodiscard]] bool failed() const { return problem_.has_value(); }

  /// Counts how deep the grammar's rules are in each other, and fails beyond a bound.
  class Depth {
   public:
    explicit Depth(Parser& parser);
    ~Depth() { --parser_.depth_; }
    Depth(const Depth&) = delete;
    Depth& operator=(const Depth&) = delete;

   private:
    Parser& parser_;
  };

  std::vector<Token> tokens_;
  std::optional<Problem> problem_;
  std::size_t at_ = 0;
  std::size_t depth_ = 0;
  /// Inside of a condition, where Jinja2 lets unknown filters pass until they are reached.
  bool lenient_ = false;
  std::size_t loops_ = 0;           ///< for loops around, inside of the innermost macro
  std::vector<MacroNode*> macros_;  ///< whose bodies are being read
};

/// The filters and tests that there are: filters.cpp, tests.cpp.
bool is_known_filter(std::string_view name);
bool is_known_test(std::string_view name);

}  // namespace tandem::model::jinja
