// The syntax tree of a template. Internal to model/jinja.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "model/jinja/value.hpp"

namespace tandem::model::jinja {

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

enum class Operator : std::uint8_t {
  add,
  subtract,
  multiply,
  divide,
  floor_divide,
  modulo,
  power,
  equal,
  not_equal,
  less,
  less_equal,
  greater,
  greater_equal,
  in,
  not_in
};

struct ArgumentNodes {
  std::vector<ExpressionPtr> positional;
  std::vector<std::pair<std::string, ExpressionPtr>> named;
  ExpressionPtr star, double_star;  ///< null if there are none
};

struct Expression {
  enum class Kind : std::uint8_t {
    constant,
    variable,   ///< name
    list,       ///< items
    tuple,      ///< items
    dict,       ///< items: key, value, key, value, …
    attribute,  ///< items[0].name
    subscript,  ///< items[0][items[1]]
    slice,      ///< items[0][items[1]:items[2]:items[3]]; those left out are null
    call,       ///< items[0](arguments)
    filter,     ///< items[0] | name(arguments); items[0] is null for a block's filter
    test,       ///< items[0] is name(arguments)
    negative,
    positive,
    logical_not,
    logical_and,
    logical_or,
    binary,     ///< items[0] operators[0] items[1]
    compare,    ///< items[0] operators[0] items[1] operators[1] items[2] …
    concat,     ///< items, joined as texts
    condition,  ///< items[0] if items[1] else items[2]; items[2] may be null
  };
  Kind kind = Kind::constant;
  int line = 0;
  std::size_t depth = 1;  ///< of the tree below
  std::string name;
  Value constant;
  std::vector<ExpressionPtr> items;
  std::vector<Operator> operators;
  ArgumentNodes arguments;
};

/// What is assigned to: a name, an attribute of a namespace, or several targets at once.
struct Target {
  std::string name;
  std::string attribute;        ///< of the namespace `name`; empty: the variable itself
  std::vector<Target> targets;  ///< not empty: unpack into these
};

struct Statement;
using Block = std::vector<Statement>;

struct Parameter {
  std::string name;
  ExpressionPtr fallback;  ///< null: undefined
};

struct MacroNode {
  std::string name;
  std::vector<Parameter> parameters;
  std::shared_ptr<Block> body;
  bool uses_varargs = false, uses_kwargs = false, uses_caller = false;
};

struct Branch {
  ExpressionPtr condition;  ///< null: else
  Block body;
};

struct Statement {
  enum class Kind : std::uint8_t {
    text,       ///< text
    print,      ///< expression
    loop,       ///< for target in expression if condition: body, else: otherwise
    branches,   ///< branches
    set,        ///< target = expression
    set_block,  ///< target = filters of what body prints
    macro,      ///< macro
    call,       ///< expression is the call; macro is the caller's body
    filter,     ///< filters of what body prints
    with,       ///< assignments, then body in a scope of its own
    scope,      ///< body in a scope of its own
    leave_loop,
    next_item,
  };
  Kind kind = Kind::text;
  int line = 0;
  TextPtr text;
  ExpressionPtr expression, condition;
  Target target;
  bool recursive = false;
  Block body, otherwise;
  std::vector<Branch> branches;
  std::vector<std::pair<Target, ExpressionPtr>> assignments;
  std::unique_ptr<MacroNode> macro;
};

}  // namespace tandem::model::jinja
