#include "model/jinja/value.hpp"

#include <algorithm>
#include <cmath>

#include "model/jinja/callable.hpp"

namespace tandem::model::jinja {
namespace {

bool may_be_held(const Value& value) { return !value.space() && !value.loop(); }

bool is_hashable(const Value& value) {
  if (value.dict()) return false;
  const auto* list = value.list();
  if (!list) return may_be_held(value) && !value.callable() && !value.is_undefined();
  return list->kind == List::Kind::tuple &&
         std::all_of(list->items.begin(), list->items.end(), is_hashable);
}

template <class Items>
bool all_equal(const Items& a, const Items& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const auto& x, const auto& y) { return equal(x, y); });
}

bool equal_dicts(const Dict& a, const Dict& b) {
  if (a.entries.size() != b.entries.size()) return false;
  return std::all_of(a.entries.begin(), a.entries.end(), [&](const auto& entry) {
    const Value* other = b.find(entry.first);
    return other && equal(entry.second, *other);
  });
}

int sign(auto a, auto b) { return a < b ? -1 : a > b ? 1 : 0; }

}  // namespace

Value Value::undefined(std::string hint) {
  Value value;
  value.storage_ = Undefined{std::make_shared<const std::string>(std::move(hint))};
  return value;
}

std::optional<std::int64_t> Value::integer() const {
  if (const auto* value = get<std::int64_t>()) return *value;
  if (const auto* value = get<bool>()) return *value ? 1 : 0;
  return std::nullopt;
}

std::optional<double> Value::number() const {
  if (const auto* value = get<double>()) return *value;
  if (const auto value = integer()) return static_cast<double>(*value);
  return std::nullopt;
}

bool Value::truth() const {
  if (is_undefined() || is_none()) return false;
  if (const auto value = number()) return *value != 0;
  if (const auto* value = text()) return !value->bytes.empty();
  if (const auto* value = list())
    return value->kind == List::Kind::iterator || !value->items.empty();
  if (const auto* value = dict()) return !value->entries.empty();
  return true;
}

std::size_t Value::depth() const {
  if (const auto* value = list()) return value->depth;
  if (const auto* value = dict()) return value->depth;
  return 0;
}

std::string_view Value::type_name() const {
  static constexpr std::string_view names[] = {"undefined", "NoneType", "bool",    "int",
                                               "float",     "str",      "list",    "dict",
                                               "namespace", "loop",     "function"};
  const auto* held = list();
  if (!held) return names[storage_.index()];
  switch (held->kind) {
    case List::Kind::list: return "list";
    case List::Kind::tuple: return "tuple";
    case List::Kind::view: return "dict view";
    case List::Kind::iterator: return "generator";
    case List::Kind::range: return "range";
  }
  return "list";
}

const Value* Dict::find(std::string_view key) const {
  const auto found = by_text.find(key);
  return found == by_text.end() ? nullptr : &entries[found->second].second;
}

const Value* Dict::find(const Value& key) const {
  if (const auto* text = key.text()) return find(text->bytes);
  for (const auto& [known, value] : entries)
    if (!known.text() && equal(known, key)) return &value;
  return nullptr;
}

std::optional<Value> make_list(std::vector<Value> items, List::Kind kind) {
  auto list = std::make_shared<List>();
  list->kind = kind;
  for (const auto& item : items) {
    if (!may_be_held(item)) return std::nullopt;
    list->depth = std::max(list->depth, item.depth() + 1);
  }
  if (list->depth > max_value_depth) return std::nullopt;
  list->items = std::move(items);
  return Value(std::shared_ptr<const List>(std::move(list)));
}

std::optional<Value> make_dict(std::vector<std::pair<Value, Value>> entries) {
  auto dict = std::make_shared<Dict>();
  dict->entries.reserve(entries.size());  // keys stay in place: by_text has views into them
  for (auto& [key, value] : entries) {
    if (!is_hashable(key) || !may_be_held(value)) return std::nullopt;
    dict->depth = std::max({dict->depth, key.depth() + 1, value.depth() + 1});
    if (const auto* text = key.text()) {
      const auto [known, is_new] = dict->by_text.emplace(text->bytes, dict->entries.size());
      if (!is_new) {
        dict->entries[known->second].second = std::move(value);
        continue;
      }
    } else if (const auto* known = dict->find(key)) {
      const_cast<Value&>(*known) = std::move(value);
      continue;
    }
    dict->entries.emplace_back(std::move(key), std::move(value));
  }
  if (dict->depth > max_value_depth) return std::nullopt;
  return Value(std::shared_ptr<const Dict>(std::move(dict)));
}

bool equal(const Value& a, const Value& b) {
  if (a.is_undefined() || b.is_undefined()) return a.is_undefined() && b.is_undefined();
  if (a.is_none() || b.is_none()) return a.is_none() && b.is_none();
  const auto whole_a = a.integer(), whole_b = b.integer();
  if (whole_a && whole_b) return *whole_a == *whole_b;
  const auto number_a = a.number(), number_b = b.number();
  if (number_a && number_b) return *number_a == *number_b;
  if (a.text() && b.text()) return a.text()->bytes == b.text()->bytes;
  if (a.dict() && b.dict()) return a.dict() == b.dict() || equal_dicts(*a.dict(), *b.dict());
  if (a.space() || b.space()) return a.space() == b.space();
  if (a.loop() || b.loop()) return a.loop() == b.loop();
  if (a.callable() || b.callable()) return a.callable() == b.callable();
  const auto* list_a = a.list();
  const auto* list_b = b.list();
  if (!list_a || !list_b) return false;
  if (list_a == list_b) return true;
  return list_a->kind == list_b->kind && list_a->kind != List::Kind::iterator &&
         all_equal(list_a->items, list_b->items);
}

std::optional<int> compare(const Value& a, const Value& b) {
  const auto whole_a = a.integer(), whole_b = b.integer();
  if (whole_a && whole_b) return sign(*whole_a, *whole_b);
  const auto number_a = a.number(), number_b = b.number();
  if (number_a && number_b) {
    if (std::isnan(*number_a) || std::isnan(*number_b)) return std::nullopt;
    return sign(*number_a, *number_b);
  }
  // The order of UTF-8 bytes is that of characters.
  if (a.text() && b.text()) return sign(a.text()->bytes.compare(b.text()->bytes), 0);
  const auto* list_a = a.list();
  const auto* list_b = b.list();
  if (!list_a || !list_b || list_a->kind != list_b->kind) return std::nullopt;
  if (list_a->kind != List::Kind::list && list_a->kind != List::Kind::tuple) return std::nullopt;
  const std::size_t common = std::min(list_a->items.size(), list_b->items.size());
  for (std::size_t i = 0; i < common; ++i)
    if (!equal(list_a->items[i], list_b->items[i]))
      return compare(list_a->items[i], list_b->items[i]);
  return sign(list_a->items.size(), list_b->items.size());
}

}  // namespace tandem::model::jinja
