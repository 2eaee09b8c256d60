// What a template can call: its macros, the functions that it is given, and methods bound to a
// value. Also the loop object. Internal to model/jinja.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/jinja/ast.hpp"
#include "model/jinja/value.hpp"

namespace tandem::model::jinja {

struct Scope;

struct Callable {
  enum class Kind : std::uint8_t { function, method, macro };
  Kind kind = Kind::function;
  std::string name;
  Value self;                        ///< of a method
  const MacroNode* macro = nullptr;  ///< lives as long as the template
  Scope* scope = nullptr;            ///< where the macro was defined; kept by the evaluator
};

/// The `loop` of a for loop: all items, and which one it is at.
struct Loop {
  std::vector<Value> items;
  std::size_t index = 0;
  std::size_t depth = 0;
  const Statement* recursive = nullptr;  ///< the loop itself, if it may be called
  std::shared_ptr<Scope> scope;          ///< outside of the loop
  std::optional<Value> last_changed;     ///< the argument of changed()
};

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;

  [[nodiscard]] const Value* find(std::string_view name) const {
    for (const auto& [known, value] : named)
      if (known == name) return &value;
    return nullptr;
  }
};

}  // namespace tandem::model::jinja
