// The functions that a template is given, the methods of its loop object, and the binding of
// arguments to parameters: see evaluator.hpp.
#include <algorithm>
#include <array>
#include <map>

#include "model/jinja/evaluator.hpp"

namespace tandem::model::jinja {
namespace {

constexpr std::int64_t max_range = 100'000;  // the sandbox of Jinja2 allows no longer ones

Value range_function(Evaluator& evaluator, const Arguments& given) {
  if (given.positional.empty() || given.positional.size() > 3 || !given.named.empty())
    return evaluator.fail("range takes one to three numbers");
  std::int64_t parts[3] = {0, 0, 1};
  for (std::size_t i = 0; i < given.positional.size(); ++i) {
    const auto number = given.positional[i].integer();
    if (!number) return evaluator.fail("range takes whole numbers");
    parts[given.positional.size() == 1 ? 1 : i] = *number;
  }
  const auto [begin, end, step] = parts;
  if (step == 0) return evaluator.fail("the step of a range is 0");
  std::vector<Value> items;
  for (std::int64_t at = begin; step > 0 ? at < end : at > end;) {
    items.emplace_back(at);
    if (static_cast<std::int64_t>(items.size()) > max_range)
      return evaluator.fail("a range has more than " + std::to_string(max_range) + " numbers");
    if (__builtin_add_overflow(at, step, &at)) break;
  }
  return evaluator.list(std::move(items), List::Kind::range);
}

/// The pairs that dict(…) and namespace(…) are given.
std::vector<std::pair<Value, Value>> pairs_of(Evaluator& evaluator, const Arguments& given) {
  std::vector<std::pair<Value, Value>> entries;
  if (given.positional.size() > 1) evaluator.fail("at most one value without a name is allowed");
  for (const auto& source : given.positional) {
    if (const auto* dict = source.dict()) {
      entries = dict->entries;
      continue;
    }
    for (const auto& one : evaluator.items_of(source)) {
      auto pair = evaluator.items_of(one);
      if (pair.size() == 2) {
        entries.emplace_back(std::move(pair[0]), std::move(pair[1]));
      } else {
        evaluator.fail("a dict is made of pairs");
      }
    }
  }
  for (const auto& [name, value] : given.named) entries.emplace_back(Value::text(name), value);
  return entries;
}

Value dict_function(Evaluator& evaluator, const Arguments& given) {
  auto entries = pairs_of(evaluator, given);
  return evaluator.failed() ? Value() : evaluator.dict(std::move(entries));
}

Value namespace_function(Evaluator& evaluator, const Arguments& given) {
  // By way of a dict, which checks what may be held.
  const auto held = dict_function(evaluator, given);
  if (evaluator.failed()) return {};
  auto space = std::make_shared<Namespace>();
  for (const auto& [key, value] : held.dict()->entries)
    if (key.text()) space->attributes.emplace_back(key.text()->bytes, value);
  return Value(std::move(space));
}

Value raise_exception_function(Evaluator& evaluator, const Arguments& given) {
  BoundArguments bound(evaluator, "raise_exception", given, {"message"});
  const auto* message = bound[0];
  return evaluator.fail(message ? evaluator.to_text(*message)->bytes : "raise_exception");
}

Value strftime_now_function(Evaluator& evaluator, const Arguments& given) {
  BoundArguments bound(evaluator, "strftime_now", given, {"format"});
  const auto format = bound.text(0);
  if (evaluator.failed()) return {};
  if (format->bytes.size() > 256) return evaluator.fail("the format of a date is too long");
  std::tm parts{};
  const auto now = evaluator.now();
  ::localtime_r(&now, &parts);
  std::array<char, 4096> buffer{};
  // A space in front, for an empty result is no failure.
  const std::size_t size =
      std::strftime(buffer.data(), buffer.size(), (" " + format->bytes).c_str(), &parts);
  if (size == 0) return evaluator.fail("the format of a date is too long");
  return Value::text(std::string(buffer.data() + 1, size - 1));
}

using Function = Value (*)(Evaluator&, const Arguments&);
constexpr std::pair<std::string_view, Function> functions[] = {
    {"range", range_function},
    {"dict", dict_function},
    {"namespace", namespace_function},
    {"raise_exception", raise_exception_function},
    {"strftime_now", strftime_now_function},
};

}  // namespace

const Value* find_function(std::string_view name) {
  static const auto table = [] {
    std::map<std::string, Value, std::less<>> values;
    for (const auto& [known, function] : functions) {
      auto callable = std::make_shared<Callable>();
      callable->name = known;
      values.emplace(known, std::shared_ptr<const Callable>(std::move(callable)));
    }
    return values;
  }();
  const auto found = table.find(name);
  return found == table.end() ? nullptr : &found->second;
}

Value call_function(Evaluator& evaluator, const std::string& name, const Arguments& given) {
  for (const auto& [known, function] : functions)
    if (known == name) return function(evaluator, given);
  return evaluator.fail("there is no function '" + name + "'");
}

Value loop_attribute(const Loop& loop, const std::string& name) {
  const std::size_t size = loop.items.size();
  if (name == "index") return Value::size(loop.index + 1);
  if (name == "index0") return Value::size(loop.index);
  if (name == "revindex") return Value::size(size - loop.index);
  if (name == "revindex0") return Value::size(size - loop.index - 1);
  if (name == "first") return Value(loop.index == 0);
  if (name == "last") return Value(loop.index + 1 == size);
  if (name == "length") return Value::size(size);
  if (name == "depth") return Value::size(loop.depth + 1);
  if (name == "depth0") return Value::size(loop.depth);
  if (name == "previtem" && loop.index > 0) return loop.items[loop.index - 1];
  if (name == "nextitem" && loop.index + 1 < size) return loop.items[loop.index + 1];
  return {};
}

Value call_loop_method(Evaluator& evaluator, Loop& loop, const std::string& name,
                       const Arguments& given) {
  if (name == "cycle") {
    if (given.positional.empty()) return evaluator.fail("cycle needs something to choose from");
    return given.positional[loop.index % given.positional.size()];
  }
  auto now = evaluator.list(given.positional, List::Kind::tuple);
  const bool same = loop.last_changed && equal(*loop.last_changed, now);
  loop.last_changed = std::move(now);
  return Value(!same);
}

BoundArguments::BoundArguments(Evaluator& evaluator, std::string_view function,
                               const Arguments& given,
                               std::initializer_list<std::string_view> parameters)
    : evaluator_(evaluator), function_(function), names_(parameters), values_(parameters.size()) {
  if (given.positional.size() > names_.size()) {
    evaluator.fail(function_ + " takes at most " + std::to_string(names_.size()) + " arguments");
    return;
  }
  for (std::size_t i = 0; i < given.positional.size(); ++i) values_[i] = &given.positional[i];
  for (const auto& [name, value] : given.named) {
    const auto found = std::find(names_.begin(), names_.end(), name);
    if (found == names_.end()) {
      evaluator.fail(function_ + " takes no argument '" + name + "'");
      return;
    }
    values_[static_cast<std::size_t>(found - names_.begin())] = &value;
  }
}

TextPtr BoundArguments::text(std::size_t index, std::string_view fallback) {
  const auto* value = values_[index];
  if (value && value->text()) return value->text_pointer();
  if (value && !value->is_none())
    evaluator_.fail("'" + std::string(names_[index]) + "' of " + function_ +
                    " must be a str, not a " + std::string(value->type_name()));
  return make_text(std::string(fallback));
}

std::int64_t BoundArguments::integer(std::size_t index, std::int64_t fallback) {
  const auto* value = values_[index];
  if (!value || value->is_none()) return fallback;
  const auto whole = value->integer();
  if (!whole)
    evaluator_.fail("'" + std::string(names_[index]) + "' of " + function_ +
                    " must be an int, not a " + std::string(value->type_name()));
  return whole.value_or(fallback);
}

}  // namespace tandem::model::jinja
