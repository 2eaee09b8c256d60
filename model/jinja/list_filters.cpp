#include "model/jinja/list_filters.hpp"

#include <algorithm>

#include "model/jinja/text_methods.hpp"
#include "model/utf8.hpp"

namespace tandem::model::jinja {
namespace {

using A = Arguments;
using E = Evaluator;

/// "a.b.0" of an item, as the argument `attribute` of many filters names it.
Value path_of(E& evaluator, const Value& item, const Value& path) {
  if (const auto index = path.integer()) return evaluator.item(item, Value(*index));
  if (!path.text()) return evaluator.fail("'attribute' must be a str or an int");
  Value value = item;
  const std::string& names = path.text()->bytes;
  for (std::size_t begin = 0; begin <= names.size();) {
    const std::size_t end = std::min(names.find('.', begin), names.size());
    const std::string name = names.substr(begin, end - begin);
    const bool number =
        !name.empty() && name.size() < 10 &&
        std::all_of(name.begin(), name.end(), [](char c) { return c >= '0' && c <= '9'; });
    value =
        evaluator.item(value, number ? Value(std::int64_t{std::stoll(name)}) : Value::text(name));
    begin = end + 1;
  }
  return value;
}

/// What things are sorted and compared by: upper and lower case are the same unless asked for.
Value sort_key(const Value& value, bool case_sensitive) {
  if (case_sensitive || !value.text()) return value;
  return Value::text(to_lower(value.text()->bytes));
}

/// The order of `keys`, as indices; false if two of them have none.
bool sorted_order(E& evaluator, const std::vector<Value>& keys, bool reverse,
                  std::vector<std::size_t>& order) {
  if (!evaluator.charge(8 * keys.size())) return false;
  order.resize(keys.size());
  for (std::size_t i = 0; i < keys.size(); ++i) order[i] = i;
  // Keys without an order fail; the sort must see a strict weak order even then.
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    if (evaluator.failed()) return false;
    return reverse ? evaluator.order(keys[b], keys[a], Operator::less)
                   : evaluator.order(keys[a], keys[b], Operator::less);
  });
  return !evaluator.failed();
}

Value length_filter(E& evaluator, const Value& input, const A& given) {
  BoundArguments none(evaluator, "length", given, {});
  if (input.is_undefined()) return Value(std::int64_t{0});
  if (const auto* text = input.text()) {
    evaluator.charge(text->bytes.size() / 16);
    return Value::size(count_characters(text->bytes));
  }
  if (const auto* dict = input.dict()) return Value::size(dict->entries.size());
  const auto* list = input.list();
  if (!list || list->kind == List::Kind::iterator)
    return evaluator.fail("a " + std::string(input.type_name()) + " has no length");
  return Value::size(list->items.size());
}

Value list_filter(E& evaluator, const Value& input, const A& given) {
  BoundArguments none(evaluator, "list", given, {});
  auto items = evaluator.items_of(input);
  return evaluator.failed() ? Value() : evaluator.list(std::move(items));
}

Value items_filter(E& evaluator, const Value& input, const A& given) {
  BoundArguments none(evaluator, "items", given, {});
  std::vector<Value> pairs;
  if (const auto* dict = input.dict()) {
    for (const auto& [key, value] : dict->entries)
      pairs.push_back(evaluator.list({key, value}, List::Kind::tuple));
  } else if (!input.is_undefined()) {
    return evaluator.fail("items needs a dict, not a " + std::string(input.type_name()));
  }
  return evaluator.list(std::move(pairs), List::Kind::iterator);
}

Value dictsort_filter(E& evaluator, const Value& input, const A& given) {
  BoundArguments bound(evaluator, "dictsort", given, {"case_sensitive", "by", "reverse"});
  const auto by = bound.text(1, "key");
  const auto* dict = input.dict();
  if (!dict)
    return evaluator.fail("dictsort needs a dict, not a " + std::string(input.type_name()));
  if (by->bytes != "key" && by->bytes != "value")
    return evaluator.fail("dictsort: by must be 'key' or 'value'");
  std::vector<Value> keys;
  for (const auto& [key, value] : dict->entries)
    keys.push_back(sort_key(by->bytes == "key" ? key : value, bound.truth(0, false)));
  std::vector<std::size_t> order;
  if (!sorted_order(evaluator, keys, bound.truth(2, false), order)) return {};
  std::vector<Value> pairs;
  for (const auto i : order)
    pairs.push_back(
        evaluator.list({dict->entries[i].first, dict->entries[i].second}, List::Kind::tuple));
  return evaluator.list(std::move(pairs));
}

Value sort_filter(E& evaluator, const Value& input, const A& given) {
  BoundArguments bound(evaluator, "sort", given, {"reverse", "case_sensitive", "attribute"});
  const auto items = evaluator.items_of(input);
  std::vector<Value> keys;
  for (const auto& item : items) {
    std::vector<Value> parts;
    if (bound[2] && bound[2]->text()) {
      // Several attributes, with commas between them.
      const std::string& names = bound[2]->text()->bytes;
      for (std::size_t begin = 0; begin <= names.size();) {
        const std::size_t end = std::min(names.find(',', begin), names.size());
        parts.push_back(
            sort_key(path_of(evaluator, item, Value::text(names.substr(begin, end - begin))),
                     bound.truth(1, false)));
        begin = end + 1;
      }
    } else {
      parts.push_back(
          sort_key(bound[2] && !bound[2]->is_none() ? path_of(evaluator, item, *bound[2]) : item,
                   bound.truth(1, false)));
    }
    keys.push_back(parts.size() == 1 ? parts.front()
                                     : evaluator.list(std::move(parts), List::Kind::tuple));
  }
  std::vector<std::size_t> order;
  if (!sorted_order(evaluator, keys, bound.truth(0, false), order)) return {};
  std::vector<Value> sorted;
  for (const auto i : order) sorted.push_back(items[i]);
  return evaluator.list(std::move(sorted));
}

template <bool largest>
Value extreme_filter(E& evaluator, const Value& input, const A& given) {
  BoundArguments bound(evaluator, largest ? "max" : "min", given, {"case_sensitive", "attribute"});
  const auto items = evaluator.items_of(input);
  if (items.empty()) return Value::undefined("no largest or smallest item: the list is empty");
  const auto key = [&](const Value& item) {
    return sort_key(bound[1] && !bound[1]->is_none() ? path_of(evaluator, item, *bound[1]) : item,
                    bound.truth(0, false));
  };
  std::size_t best = 0;
  for (std::size_t i = 1; i < items.size() && !evaluator.failed(); ++i)
    if (evaluator.order(key(items[i]), key(items[best]),
                        largest ? Operator::greater : Operator::less))
      best = i;
  return items[best];
}

Value unique_filter(E& evaluator, const Value& input, const A& given) {
  BoundArguments bound(evaluator, "unique", given, {"case_sensitive", "attribute"});
  std::vector<Value> seen, kept;
  for (auto& item : evaluator.items_of(input)) {
    auto key =
        sort_key(bound[1] && !bound[1]->is_none() ? path_of(evaluator, item, *bound[1]) : item,
                 bound.truth(0, false));
    if (!evaluator.charge(seen.size() + 1)) return {};
    if (std::any_of(seen.begin(), seen.end(), [&](const Value& one) { return equal(one, key); }))
      continue;
    seen.push_back(std::move(key));
    kept.push_back(std::move(item));
  }
  return evaluator.list(std::move(kept), List::Kind::iterator);
}

template <bool last>
Value end_filter(E& evaluator, const Value& input, const A& given) {
  BoundArguments none(evaluator, last ? "last" : "first", given, {});
  const auto* list = input.list();
  if (last && list && list->kind == List::Kind::iterator)
    return evaluator.fail("a generator has no last item");
  const auto items = evaluator.items_of(input);
  if (items.empty()) return Value::undefined("the list is empty");
  return last ? items.back() : items.front();
}

Value reverse_filter(E& evaluator, const Value& input, const A& given) {
  BoundArguments none(evaluator, "reverse", given, {});
  auto items = evaluator.items_of(input);
  std::reverse(items.begin(), items.end());
  if (input.text()) return join_texts(evaluator, {}, items, true);
  return evaluator.failed() ? Value() : evaluator.list(std::move(items), List::Kind::iterator);
}

Value join_filter(E& evaluator, const Value& input, const A& given) {
  BoundArguments bound(evaluator, "join", given, {"d", "attribute"});
  const auto separator = bound[0] ? evaluator.to_text(*bound[0]) : make_text({});
  auto items = evaluator.items_of(input);
  if (bound[1] && !bound[1]->is_none())
    for (auto& item : items) item = path_of(evaluator, item, *bound[1]);
  return evaluator.failed() ? Value() : Value(join_texts(evaluator, *separator, items, false));
}

Value sum_filter(E& evaluator, const Value& input, const A& given) {
  BoundArguments bound(evaluator, "sum", given, {"attribute", "start"});
  Value total = bound[1] ? *bound[1] : Value(std::int64_t{0});
  for (const auto& item : evaluator.items_of(input))
    total = evaluator.binary(
        Operator::add, total,
        bound[0] && !bound[0]->is_none() ? path_of(evaluator, item, *bound[0]) : item);
  return total;
}

/// map('filter', arguments…) or map(attribute=…, default=…).
Value map_filter(E& evaluator, const Value& input, const A& given) {
  std::vector<Value> mapped;
  const auto* path = given.find("attribute");
  const auto* fallback = given.find("default");
  if (path && given.positional.empty()) {
    for (const auto& item : evaluator.items_of(input)) {
      auto value = path_of(evaluator, item, *path);
      mapped.push_back(value.is_undefined() && fallback ? *fallback : std::move(value));
    }
  } else {
    if (given.positional.empty() || !given.positional.front().text())
      return evaluator.fail("map needs the name of a filter, or an attribute");
    A rest = given;
    const std::string name = rest.positional.front().text()->bytes;
    rest.positional.erase(rest.positional.begin());
    for (const auto& item : evaluator.items_of(input))
      mapped.push_back(evaluator.apply_filter(name, item, rest));
  }
  return evaluator.failed() ? Value() : evaluator.list(std::move(mapped), List::Kind::iterator);
}

/// select, reject, selectattr, rejectattr.
template <bool keep, bool by_attribute>
Value choose_filter(E& evaluator, const Value& input, const A& given) {
  A rest = given;
  Value path;
  if (by_attribute) {
    if (rest.positional.empty())
      return evaluator.fail("selectattr and rejectattr need an attribute");
    path = rest.positional.front();
    rest.positional.erase(rest.positional.begin());
  }
  std::string test;
  if (!rest.positional.empty()) {
    test = evaluator.to_text(rest.positional.front())->bytes;
    rest.positional.erase(rest.positional.begin());
  }
  std::vector<Value> chosen;
  for (auto& item : evaluator.items_of(input)) {
    const auto value = by_attribute ? path_of(evaluator, item, path) : item;
    if (evaluator.failed()) break;
    const bool passes = test.empty() ? value.truth() : evaluator.apply_test(test, value, rest);
    if (passes == keep) chosen.push_back(std::move(item));
  }
  return evaluator.failed() ? Value() : evaluator.list(std::move(chosen), List::Kind::iterator);
}

Value attr_filter(E& evaluator, const Value& input, const A& given) {
  BoundArguments bound(evaluator, "attr", given, {"name"});
  // An attribute only, never an element: of plain values there is none but methods.
  const auto name = bound.text(0);
  if (evaluator.failed() || input.dict()) return {};
  return evaluator.attribute(input, name->bytes);
}

Value batch_filter(E& evaluator, const Value& input, const A& given) {
  BoundArguments bound(evaluator, "batch", given, {"linecount", "fill_with"});
  const auto width = bound.integer(0, 0);
  if (width < 1) return evaluator.fail("batch needs a positive number");
  std::vector<Value> rows, row;
  for (auto& item : evaluator.items_of(input)) {
    row.push_back(std::move(item));
    if (static_cast<std::int64_t>(row.size()) == width)
      rows.push_back(evaluator.list(std::exchange(row, {})));
  }
  if (!row.empty()) {
    if (bound[1] && evaluator.charge(static_cast<std::size_t>(width)))
      row.resize(static_cast<std::size_t>(width), *bound[1]);
    rows.push_back(evaluator.list(std::move(row)));
  }
  return evaluator.failed() ? Value() : evaluator.list(std::move(rows), List::Kind::iterator);
}

constexpr std::pair<std::string_view, FilterFunction> filters[] = {
    {"attr", attr_filter},
    {"batch", batch_filter},
    {"count", length_filter},
    {"dictsort", dictsort_filter},
    {"first", end_filter<false>},
    {"items", items_filter},
    {"join", join_filter},
    {"last", end_filter<true>},
    {"length", length_filter},
    {"list", list_filter},
    {"map", map_filter},
    {"max", extreme_filter<true>},
    {"min", extreme_filter<false>},
    {"reject", choose_filter<false, false>},
    {"rejectattr", choose_filter<false, true>},
    {"reverse", reverse_filter},
    {"select", choose_filter<true, false>},
    {"selectattr", choose_filter<true, true>},
    {"sort", sort_filter},
    {"sum", sum_filter},
    {"unique", unique_filter},
};

}  // namespace

FilterFunction find_list_filter(std::string_view name) {
  for (const auto& [known, filter] : filters)
    if (known == name) return filter;
  return nullptr;
}

}  // namespace tandem::model::jinja
