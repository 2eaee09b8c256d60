// Runs a syntax tree: one object per rendering. The first failure is kept; after it everything
// evaluates to nothing and every loop ends. Work, nesting and text are bounded, so that no template
// and no conversation can hold a thread for long. Internal to model/jinja.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.hpp"
#include "model/jinja/ast.hpp"
#include "model/jinja/callable.hpp"
#include "model/jinja/template.hpp"

namespace tandem::model::jinja {

/// The variables of one frame; what it lacks is looked for in the frame around it.
struct Scope : std::enable_shared_from_this<Scope> {
  std::shared_ptr<Scope> parent;
  bool kept = false;  ///< to the end of the rendering, for a macro that was defined here
  std::vector<std::pair<std::string, Value>> names;

  [[nodiscard]] const Value* find(std::string_view name) const;
  void set(std::string_view name, Value value);
};
using ScopePtr = std::shared_ptr<Scope>;

struct Failure {
  int line = 0;
  Errc code = Errc::invalid_value;
  std::string message;
};

class Evaluator {
 public:
  Evaluator(const Limits& limits, std::time_t now) : limits_(limits), now_(now) {}

  /// What `block` prints with `globals` as variables.
  Text run(const Block& block, std::vector<std::pair<std::string, Value>> globals);
  [[nodiscard]] const std::optional<Failure>& failure() const { return failure_; }

  // What filters, tests, functions and methods use.

  /// Keeps the first failure, which is where evaluation is now; gives undefined.
  Value fail(std::string message, Errc code = Errc::invalid_value);
  /// Fails with what an undefined value has to say.
  Value fail_undefined(const Value& value);
  [[nodiscard]] bool failed() const { return failure_.has_value(); }
  /// Takes `work` units of the bound; false if there are not so many left.
  bool charge(std::size_t work);
  /// A text of so many bytes is not too long.
  bool fits(std::size_t bytes);
  /// Both, for a text of so many bytes that is about to be made.
  bool charge_text(std::size_t bytes);
  [[nodiscard]] std::time_t now() const { return now_; }

  Value call(const Value& callee, const Arguments& arguments);
  Value apply_filter(const std::string& name, const Value& input, const Arguments& arguments);
  bool apply_test(const std::string& name, const Value& input, const Arguments& arguments);
  Value attribute(const Value& object, const std::string& name);
  Value item(const Value& object, const Value& key);
  /// What a loop over `value` would see; empty after a failure. Uses an iterator up.
  std::vector<Value> items_of(const Value& value);
  bool contains(const Value& container, const Value& item);
  /// str(value), counted.
  TextPtr to_text(const Value& value);
  Value list(std::vector<Value> items, List::Kind kind = List::Kind::list);
  Value dict(std::vector<std::pair<Value, Value>> entries);
  bool order(const Value& a, const Value& b, Operator relation);
  Value binary(Operator operation, const Value& a, const Value& b);

 private:
  enum class Flow : std::uint8_t { go_on, next_item, leave_loop };
  class Level;

  // Statements: evaluator.cpp.
  Flow execute(const Block& block);
  Flow execute(const Statement& statement);
  Flow branches(const Statement& statement);
  void loop(const Statement& statement, const Value& iterated, ScopePtr around, std::size_t depth);
  void set(const Statement& statement);
  void call_block(const Statement& statement);
  void with(const Statement& statement);
  void print(const Value& value);
  void assign(const Target& target, Value value);
  TextPtr capture(const Block& block);
  Value define_macro(const MacroNode& macro);
  Value call_macro(const Callable& macro, const Arguments& arguments);
  Value call_loop(Loop& loop, const Arguments& arguments);

  // Expressions: evaluator_expressions.cpp.
  Value evaluate(const Expression& expression);
  Value evaluate_node(const Expression& expression);
  Value evaluate_or_none(const ExpressionPtr& expression);
  Value variable(const Expression& expression);
  std::vector<Value> evaluate_all(const std::vector<ExpressionPtr>& items);
  Value dict_literal(const Expression& expression);
  Value slice(const Expression& expression);
  Value call_expression(const Expression& expression);
  Value filter(const Expression& expression, const Value* block_text);
  Arguments arguments(const ArgumentNodes& nodes);
  Value add(const Value& a, const Value& b);
  Value multiply(const Value& a, const Value& b);
  Value compare_chain(const Expression& expression);
  bool compare_one(Operator operation, const Value& a, const Value& b);
  Value concat(const Expression& expression);
  Value negative(const Value& value, bool positive);

  const Limits limits_;
  const std::time_t now_;
  std::size_t work_ = 0;
  std::size_t level_ = 0;
  int line_ = 1;
  std::optional<Failure> failure_;
  ScopePtr scope_;
  std::vector<ScopePtr> kept_;  ///< that macros were defined in
  TextBuilder* out_ = nullptr;
};

/// Counts evaluations inside each other: the native stack is bounded by their number.
class Evaluator::Level {
 public:
  explicit Level(Evaluator& evaluator) : evaluator_(evaluator) {
    if (++evaluator_.level_ > evaluator_.limits_.max_level)
      evaluator_.fail("nested deeper than " + std::to_string(evaluator_.limits_.max_level) +
                          " levels (is a macro calling itself?)",
                      Errc::too_large);
  }
  ~Level() { --evaluator_.level_; }
  Level(const Level&) = delete;
  Level& operator=(const Level&) = delete;

 private:
  Evaluator& evaluator_;
};

// The library: filters.cpp and others, tests.cpp, functions.cpp, methods.cpp.
using FilterFunction = Value (*)(Evaluator&, const Value& input, const Arguments&);
using TestFunction = bool (*)(Evaluator&, const Value& input, const Arguments&);
FilterFunction find_filter(std::string_view name);
TestFunction find_test(std::string_view name);

/// range, dict, namespace, raise_exception, strftime_now. Null if `name` is none of them.
const Value* find_function(std::string_view name);
Value call_function(Evaluator& evaluator, const std::string& name, const Arguments& arguments);

enum class MethodKind : std::uint8_t { none, reads, changes };
/// Whether Python's `value` has the method `name`, and whether it would change the value.
MethodKind method_kind(const Value& value, std::string_view name);
Value call_method(Evaluator& evaluator, const Value& self, const std::string& name,
                  const Arguments& arguments);
/// The loop's own attributes: index, first, previtem, …; undefined if there is none of that name.
Value loop_attribute(const Loop& loop, const std::string& name);
Value call_loop_method(Evaluator& evaluator, Loop& loop, const std::string& name,
                       const Arguments& arguments);
/// "%s: %d" % values
Value format_percent(Evaluator& evaluator, const Text& format, const Value& values);

/// A call's arguments by the names of its parameters; what is left over is a failure.
class BoundArguments {
 public:
  BoundArguments(Evaluator& evaluator, std::string_view function, const Arguments& arguments,
                 std::initializer_list<std::string_view> parameters);
  /// Null if parameter `index` was not given.
  [[nodiscard]] const Value* operator[](std::size_t index) const { return values_[index]; }
  /// The text of a parameter, or `fallback` if it was not given (or is none); fails on others.
  TextPtr text(std::size_t index, std::string_view fallback = {});
  std::int64_t integer(std::size_t index, std::int64_t fallback);
  [[nodiscard]] bool truth(std::size_t index, bool fallback) const {
    return values_[index] ? values_[index]->truth() : fallback;
  }

 private:
  Evaluator& evaluator_;
  std::string function_;
  std::vector<std::string_view> names_;
  std::vector<const Value*> values_;
};

}  // namespace tandem::model::jinja
