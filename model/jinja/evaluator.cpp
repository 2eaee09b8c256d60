// The statements of a template, and calls of its macros: see evaluator.hpp.
#include "model/jinja/evaluator.hpp"

#include <algorithm>

namespace tandem::model::jinja {

const Value* Scope::find(std::string_view name) const {
  for (const auto* scope = this; scope; scope = scope->parent.get())
    for (const auto& [known, value] : scope->names)
      if (known == name) return &value;
  return nullptr;
}

void Scope::set(std::string_view name, Value value) {
  for (auto& [known, old] : names)
    if (known == name) return static_cast<void>(old = std::move(value));
  names.emplace_back(name, std::move(value));
}

Text Evaluator::run(const Block& block, std::vector<std::pair<std::string, Value>> globals) {
  auto given = std::make_shared<Scope>();
  given->names = std::move(globals);
  scope_ = std::make_shared<Scope>();
  scope_->parent = std::move(given);
  TextBuilder out;
  out_ = &out;
  execute(block);
  scope_.reset();
  kept_.clear();
  return out.take();
}

Value Evaluator::fail(std::string message, Errc code) {
  if (!failure_) failure_ = Failure{line_, code, std::move(message)};
  return {};
}

Value Evaluator::fail_undefined(const Value& value) {
  const auto* undefined = value.get<Undefined>();
  return fail(undefined && undefined->hint ? *undefined->hint : "an undefined value is used");
}

bool Evaluator::charge(std::size_t work) {
  if (failed()) return false;
  work_ += std::min(work, limits_.max_work + 1);
  if (work_ <= limits_.max_work) return true;
  fail("took more than " + std::to_string(limits_.max_work) + " steps", Errc::too_large);
  return false;
}

bool Evaluator::fits(std::size_t bytes) {
  if (bytes <= limits_.max_output_bytes) return !failed();
  fail("made a text of more than " + std::to_string(limits_.max_output_bytes) + " bytes",
       Errc::too_large);
  return false;
}

bool Evaluator::charge_text(std::size_t bytes) { return fits(bytes) && charge(bytes / 16 + 1); }

TextPtr Evaluator::to_text(const Value& value) {
  if (value.text()) return value.text_pointer();
  TextBuilder builder;
  if (!write_str(value, builder))
    fail("a " + std::string(value.type_name()) + " cannot be written as text");
  charge_text(builder.size());
  return std::make_shared<const Text>(builder.take());
}

Value Evaluator::list(std::vector<Value> items, List::Kind kind) {
  if (!charge(items.size() + 1)) return {};
  auto made = make_list(std::move(items), kind);
  if (!made)
    return fail("a list is nested deeper than " + std::to_string(max_value_depth) +
                " levels, or holds a namespace or a loop");
  return *std::move(made);
}

Value Evaluator::dict(std::vector<std::pair<Value, Value>> entries) {
  if (!charge(2 * entries.size() + 1)) return {};
  auto made = make_dict(std::move(entries));
  if (!made)
    return fail("a dict is nested deeper than " + std::to_string(max_value_depth) +
                " levels, has a key that cannot be one, or holds a namespace or a loop");
  return *std::move(made);
}

Evaluator::Flow Evaluator::execute(const Block& block) {
  const Level level(*this);
  for (const auto& statement : block) {
    if (failed()) return Flow::leave_loop;
    const Flow flow = execute(statement);
    if (flow != Flow::go_on) return flow;
  }
  return Flow::go_on;
}

Evaluator::Flow Evaluator::execute(const Statement& statement) {
  using Kind = Statement::Kind;
  line_ = statement.line;
  if (!charge(1)) return Flow::leave_loop;
  switch (statement.kind) {
    case Kind::text: print(statement.text); break;
    case Kind::print: print(evaluate(*statement.expression)); break;
    case Kind::loop: loop(statement, evaluate(*statement.expression), scope_, 0); break;
    case Kind::branches: return branches(statement);
    case Kind::set:
    case Kind::set_block: set(statement); break;
    case Kind::macro: scope_->set(statement.macro->name, define_macro(*statement.macro)); break;
    case Kind::call: call_block(statement); break;
    case Kind::filter: {
      const Value text(capture(statement.body));
      print(filter(*statement.expression, &text));
      break;
    }
    case Kind::with: with(statement); break;
    case Kind::scope: print(capture(statement.body)); break;
    case Kind::leave_loop: return Flow::leave_loop;
    case Kind::next_item: return Flow::next_item;
  }
  return Flow::go_on;
}

Evaluator::Flow Evaluator::branches(const Statement& statement) {
  for (const auto& branch : statement.branches)
    if (!branch.condition || evaluate(*branch.condition).truth()) return execute(branch.body);
  return Flow::go_on;
}

void Evaluator::print(const Value& value) {
  if (failed()) return;
  const auto text = to_text(value);
  const std::size_t bytes = text->bytes.size();
  if (fits(out_->size() + bytes) && charge_text(bytes)) out_->append(*text);
}

/// What `block` prints, in a scope of its own.
TextPtr Evaluator::capture(const Block& block) {
  auto* const out = out_;
  const auto around = scope_;
  TextBuilder inner;
  out_ = &inner;
  scope_ = std::make_shared<Scope>();
  scope_->parent = around;
  execute(block);
  scope_ = around;
  out_ = out;
  return std::make_shared<const Text>(inner.take());
}

void Evaluator::set(const Statement& statement) {
  if (statement.kind == Statement::Kind::set)
    return assign(statement.target, evaluate(*statement.expression));
  Value text(capture(statement.body));
  if (statement.expression) text = filter(*statement.expression, &text);
  assign(statement.target, std::move(text));
}

void Evaluator::with(const Statement& statement) {
  const auto around = scope_;
  auto inner = std::make_shared<Scope>();
  inner->parent = around;
  for (const auto& [target, expression] : statement.assignments) {
    auto value = evaluate(*expression);  // sees the frame around
    scope_ = inner;
    assign(target, std::move(value));
    scope_ = around;
  }
  scope_ = inner;
  execute(statement.body);
  scope_ = around;
}

void Evaluator::assign(const Target& target, Value value) {
  if (failed()) return;
  if (!target.targets.empty()) {
    auto items = items_of(value);
    if (failed()) return;
    if (items.size() != target.targets.size())
      return static_cast<void>(fail("cannot unpack " + std::to_string(items.size()) +
                                    " values into " + std::to_string(target.targets.size())));
    for (std::size_t i = 0; i < items.size(); ++i) assign(target.targets[i], std::move(items[i]));
    return;
  }
  if (target.attribute.empty()) return scope_->set(target.name, std::move(value));
  const auto* held = scope_->find(target.name);
  auto* space = held ? held->space() : nullptr;
  if (!space)
    return static_cast<void>(fail("'" + target.name +
                                  "' is no namespace; only attributes of one "
                                  "can be set"));
  if (value.space() || value.loop())
    return static_cast<void>(fail("a namespace holds values, not namespaces or loops"));
  for (auto& [known, old] : space->attributes)
    if (known == target.attribute) return static_cast<void>(old = std::move(value));
  space->attributes.emplace_back(target.attribute, std::move(value));
}

/// `around` is the frame outside; a recursive call comes back here one level deeper.
void Evaluator::loop(const Statement& statement, const Value& iterated, ScopePtr around,
                     std::size_t depth) {
  auto items = items_of(iterated);
  const auto before = scope_;
  const auto enter = [&](const Value& item) {
    scope_ = std::make_shared<Scope>();
    scope_->parent = around;
    assign(statement.target, item);
  };
  if (statement.condition) {
    std::vector<Value> chosen;
    for (auto& item : items) {
      if (!charge(1)) break;
      enter(item);
      if (evaluate(*statement.condition).truth()) chosen.push_back(std::move(item));
    }
    items = std::move(chosen);
  }
  auto state = std::make_shared<Loop>();
  state->items = std::move(items);
  state->depth = depth;
  state->recursive = statement.recursive ? &statement : nullptr;
  state->scope = around;
  for (; state->index < state->items.size(); ++state->index) {
    if (!charge(1)) break;
    enter(state->items[state->index]);
    scope_->set("loop", Value(state));
    if (execute(statement.body) == Flow::leave_loop) break;
  }
  scope_ = around;
  if (state->items.empty() && !failed()) {
    scope_ = std::make_shared<Scope>();
    scope_->parent = around;
    execute(statement.otherwise);
  }
  scope_ = before;
}

Value Evaluator::call_loop(Loop& called, const Arguments& given) {
  if (!called.recursive) return fail("this loop is not recursive and cannot be called");
  if (given.positional.size() != 1 || !given.named.empty())
    return fail("a recursive loop is called with one argument: what to loop over");
  const Level level(*this);
  if (failed()) return {};
  auto* const out = out_;
  TextBuilder inner;
  out_ = &inner;
  loop(*called.recursive, given.positional.front(), called.scope, called.depth + 1);
  out_ = out;
  return std::make_shared<const Text>(inner.take());
}

Value Evaluator::define_macro(const MacroNode& macro) {
  if (!std::exchange(scope_->kept, true)) kept_.push_back(scope_);
  auto callable = std::make_shared<Callable>();
  callable->kind = Callable::Kind::macro;
  callable->name = macro.name;
  callable->macro = &macro;
  callable->scope = scope_.get();
  return std::shared_ptr<const Callable>(std::move(callable));
}

void Evaluator::call_block(const Statement& statement) {
  const auto& call_node = *statement.expression;
  const auto callee = evaluate(*call_node.items.front());
  auto given = arguments(call_node.arguments);
  given.named.emplace_back("caller", define_macro(*statement.macro));
  if (!failed()) print(call(callee, given));
}

Value Evaluator::call_macro(const Callable& macro, const Arguments& given) {
  const auto& node = *macro.macro;
  const auto& parameters = node.parameters;
  const auto around = scope_;
  scope_ = std::make_shared<Scope>();
  scope_->parent = macro.scope->shared_from_this();
  const auto leave = [&](Value value) {
    scope_ = around;
    return value;
  };
  auto rest = given.named;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const auto& parameter = parameters[i];
    const auto named = std::find_if(rest.begin(), rest.end(),
                                    [&](const auto& one) { return one.first == parameter.name; });
    if (i < given.positional.size()) {
      scope_->set(parameter.name, given.positional[i]);
    } else if (named != rest.end()) {
      scope_->set(parameter.name, named->second);
      rest.erase(named);
    } else if (parameter.fallback) {
      scope_->set(parameter.name, evaluate(*parameter.fallback));
    } else {
      scope_->set(parameter.name,
                  Value::undefined("parameter '" + parameter.name + "' was not provided"));
    }
  }
  if (node.uses_caller) {
    const auto caller = std::find_if(rest.begin(), rest.end(),
                                     [](const auto& one) { return one.first == "caller"; });
    scope_->set("caller",
                caller == rest.end() ? Value::undefined("No caller defined") : caller->second);
    if (caller != rest.end()) rest.erase(caller);
  }
  if (node.uses_kwargs) {
    std::vector<std::pair<Value, Value>> entries;
    for (auto& [name, value] : rest) entries.emplace_back(Value::text(name), std::move(value));
    scope_->set("kwargs", dict(std::move(entries)));
  } else if (!rest.empty()) {
    return leave(fail("macro '" + node.name + "' takes no argument '" + rest.front().first + "'"));
  }
  const std::size_t used = std::min(parameters.size(), given.positional.size());
  std::vector<Value> more(given.positional.begin() + static_cast<std::ptrdiff_t>(used),
                          given.positional.end());
  if (node.uses_varargs) {
    scope_->set("varargs", list(std::move(more), List::Kind::tuple));
  } else if (!more.empty()) {
    return leave(fail("macro '" + node.name + "' takes at most " +
                      std::to_string(parameters.size()) + " arguments"));
  }
  if (failed()) return leave({});
  auto* const out = out_;
  TextBuilder inner;
  out_ = &inner;
  execute(*node.body);
  out_ = out;
  return leave(std::make_shared<const Text>(inner.take()));
}

Value Evaluator::call(const Value& callee, const Arguments& given) {
  const Level level(*this);
  if (failed() || !charge(1)) return {};
  if (auto* called = callee.loop()) return call_loop(*called, given);
  if (callee.is_undefined()) return fail_undefined(callee);
  const auto* callable = callee.callable();
  if (!callable) return fail("a " + std::string(callee.type_name()) + " cannot be called");
  switch (callable->kind) {
    case Callable::Kind::macro: return call_macro(*callable, given);
    case Callable::Kind::function: return call_function(*this, callable->name, given);
    case Callable::Kind::method:
      if (auto* looping = callable->self.loop())
        return call_loop_method(*this, *looping, callable->name, given);
      return call_method(*this, callable->self, callable->name, given);
  }
  return {};
}

}  // namespace tandem::model::jinja
