// The methods of strings, lists and dicts, as Python has them: see evaluator.hpp. What would change
// a list or a dict is refused, as in the sandbox of Jinja2.
#include <algorithm>
#include <array>

#include "model/jinja/evaluator.hpp"
#include "model/jinja/text_methods.hpp"

namespace tandem::model::jinja {
namespace {

using A = Arguments;
using E = Evaluator;

constexpr std::string_view list_changes[] = {"append", "clear",  "extend",  "insert",
                                             "pop",    "remove", "reverse", "sort"};
constexpr std::string_view dict_changes[] = {"clear", "pop", "popitem", "setdefault", "update"};
constexpr std::string_view dict_reads[] = {"copy", "fromkeys", "get", "items", "keys", "values"};
constexpr std::string_view list_reads[] = {"count", "index", "copy"};

template <class Names>
bool has(const Names& names, std::string_view name) {
  return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

Value call_dict(E& evaluator, const Dict& dict, const std::string& name, const A& given) {
  if (name == "get") {
    BoundArguments bound(evaluator, "get", given, {"key", "default"});
    if (!bound[0]) return evaluator.fail("get needs a key");
    if (const auto* value = dict.find(*bound[0])) return *value;
    return bound[1] ? *bound[1] : Value(None());
  }
  if (name == "fromkeys") return evaluator.fail("the method 'fromkeys' is not supported");
  BoundArguments none(evaluator, name, given, {});
  if (name == "copy") return evaluator.dict(dict.entries);
  std::vector<Value> items;
  for (const auto& [key, value] : dict.entries) {
    if (name == "items") {
      items.push_back(evaluator.list({key, value}, List::Kind::tuple));
    } else {
      items.push_back(name == "keys" ? key : value);
    }
  }
  return evaluator.list(std::move(items), List::Kind::view);
}

Value call_list(E& evaluator, const List& list, const std::string& name, const A& given) {
  if (name == "copy") {
    BoundArguments none(evaluator, name, given, {});
    return evaluator.list(list.items, list.kind);
  }
  if (given.positional.size() != 1 || !given.named.empty())
    return evaluator.fail(name + " needs one value");
  const auto same = [&](const Value& one) { return equal(one, given.positional.front()); };
  if (!evaluator.charge(list.items.size())) return {};
  if (name == "count")
    return Value::size(
        static_cast<std::size_t>(std::count_if(list.items.begin(), list.items.end(), same)));
  const auto found = std::find_if(list.items.begin(), list.items.end(), same);
  if (found == list.items.end()) return evaluator.fail("the value is not in the list");
  return Value::size(static_cast<std::size_t>(found - list.items.begin()));
}

}  // namespace

MethodKind method_kind(const Value& value, std::string_view name) {
  const auto read_if = [](bool known) { return known ? MethodKind::reads : MethodKind::none; };
  if (value.text()) return read_if(is_text_method(name));
  if (value.dict())
    return has(dict_changes, name) ? MethodKind::changes : read_if(has(dict_reads, name));
  const auto* list = value.list();
  if (!list || list->kind == List::Kind::view || list->kind == List::Kind::iterator)
    return MethodKind::none;
  if (list->kind != List::Kind::list) return read_if(name == "count" || name == "index");
  return has(list_changes, name) ? MethodKind::changes : read_if(has(list_reads, name));
}

Value call_method(Evaluator& evaluator, const Value& self, const std::string& name,
                  const Arguments& given) {
  if (self.text()) return call_text_method(evaluator, self.text_pointer(), name, given);
  if (const auto* dict = self.dict()) return call_dict(evaluator, *dict, name, given);
  if (const auto* list = self.list()) return call_list(evaluator, *list, name, given);
  return evaluator.fail("a " + std::string(self.type_name()) + " has no method '" + name + "'");
}

}  // namespace tandem::model::jinja
