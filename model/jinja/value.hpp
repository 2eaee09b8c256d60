// The values of a template, with Python's meaning: what is true, what is equal, how a value is
// written. Containers never change once made, so nothing can hold itself; only a namespace can be
// assigned to, and no container holds one. Internal to model/jinja.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "model/jinja/text.hpp"

namespace tandem::model::jinja {

class Value;
struct List;
struct Dict;
struct Namespace;
struct Loop;
struct Callable;

/// What a missing name or attribute reads as; using it is an error that says `hint`.
struct Undefined {
  std::shared_ptr<const std::string> hint;
};
struct None {};

class Value {
 public:
  using Storage = std::variant<Undefined, None, bool, std::int64_t, double, TextPtr,
                               std::shared_ptr<const List>, std::shared_ptr<const Dict>,
                               std::shared_ptr<Namespace>, std::shared_ptr<Loop>,
                               std::shared_ptr<const Callable>>;

  Value() = default;
  Value(None none) : storage_(none) {}
  explicit Value(bool value) : storage_(value) {}
  explicit Value(std::int64_t value) : storage_(value) {}
  explicit Value(double value) : storage_(value) {}
  Value(TextPtr text) : storage_(std::move(text)) {}
  Value(std::shared_ptr<const List> list) : storage_(std::move(list)) {}
  Value(std::shared_ptr<const Dict> dict) : storage_(std::move(dict)) {}
  Value(std::shared_ptr<Namespace> space) : storage_(std::move(space)) {}
  Value(std::shared_ptr<Loop> loop) : storage_(std::move(loop)) {}
  Value(std::shared_ptr<const Callable> callable) : storage_(std::move(callable)) {}
  static Value text(std::string bytes, bool from_outside = false) {
    return Value(make_text(std::move(bytes), from_outside));
  }
  static Value undefined(std::string hint);
  static Value size(std::size_t count) { return Value(static_cast<std::int64_t>(count)); }

  template <class T>
  [[nodiscard]] const T* get() const {
    return std::get_if<T>(&storage_);
  }
  [[nodiscard]] bool is_undefined() const { return get<Undefined>() != nullptr; }
  [[nodiscard]] bool is_none() const { return get<None>() != nullptr; }
  [[nodiscard]] const bool* boolean() const { return get<bool>(); }
  [[nodiscard]] const Text* text() const { return pointer<TextPtr>(); }
  [[nodiscard]] const List* list() const { return pointer<std::shared_ptr<const List>>(); }
  [[nodiscard]] const Dict* dict() const { return pointer<std::shared_ptr<const Dict>>(); }
  [[nodiscard]] Namespace* space() const {
    const auto* held = get<std::shared_ptr<Namespace>>();
    return held ? held->get() : nullptr;
  }
  [[nodiscard]] Loop* loop() const {
    const auto* held = get<std::shared_ptr<Loop>>();
    return held ? held->get() : nullptr;
  }
  [[nodiscard]] const Callable* callable() const {
    return pointer<std::shared_ptr<const Callable>>();
  }
  [[nodiscard]] const TextPtr& text_pointer() const { return std::get<TextPtr>(storage_); }
  /// Of an int or a bool, as Python's arithmetic takes them.
  [[nodiscard]] std::optional<std::int64_t> integer() const;
  /// Of an int, a bool or a float.
  [[nodiscard]] std::optional<double> number() const;
  [[nodiscard]] bool is_real() const { return get<double>() != nullptr; }

  /// Python's bool(value).
  [[nodiscard]] bool truth() const;
  /// Containers inside containers: 0 for what is none, 1 for a list of texts.
  [[nodiscard]] std::size_t depth() const;
  /// "str", "int", "dict", … for messages.
  [[nodiscard]] std::string_view type_name() const;

 private:
  template <class Pointer>
  [[nodiscard]] auto pointer() const -> decltype(std::declval<Pointer>().get()) {
    const auto* held = std::get_if<Pointer>(&storage_);
    return held ? held->get() : nullptr;
  }
  Storage storage_;
};

/// Lists, and what Python iterates like one. An iterator can be walked once and has no length.
struct List {
  enum class Kind : std::uint8_t { list, tuple, view, iterator, range };
  Kind kind = Kind::list;
  std::vector<Value> items;
  std::size_t depth = 1;
  mutable bool consumed = false;  ///< of an iterator
};

/// In order of insertion; keys are texts, numbers, booleans, None or tuples of them.
struct Dict {
  std::vector<std::pair<Value, Value>> entries;
  std::size_t depth = 1;
  std::unordered_map<std::string_view, std::size_t> by_text;  ///< views into the keys

  [[nodiscard]] const Value* find(const Value& key) const;
  [[nodiscard]] const Value* find(std::string_view key) const;
};

struct Namespace {
  std::vector<std::pair<std::string, Value>> attributes;
};

/// Deepest nesting of containers that a template may build or be given.
inline constexpr std::size_t max_value_depth = 64;

/// Unset: nested too deep, or an item that no container may hold (a namespace, a loop).
std::optional<Value> make_list(std::vector<Value> items, List::Kind kind = List::Kind::list);
/// A key that comes twice keeps its first place and its last value. Unset as for make_list, and for
/// keys that are not hashable.
std::optional<Value> make_dict(std::vector<std::pair<Value, Value>> entries);

bool equal(const Value& a, const Value& b);
/// -1, 0, 1 as a < b, a == b, a > b; unset where Python refuses to compare, or for NaN.
std::optional<int> compare(const Value& a, const Value& b);

/// Python's str() and repr(). False for values whose form says nothing that two machines agree on
/// (iterators, functions): printing them is a mistake of the template.
bool write_str(const Value& value, TextBuilder& out);
bool write_repr(const Value& value, TextBuilder& out);
std::string float_repr(double value);

struct JsonStyle {
  bool ascii = false;
  std::optional<std::size_t> indent;
  std::string item_separator = ", ";
  std::string key_separator = ": ";
  bool sort_keys = false;
};
/// Python's json.dumps(). False for values that JSON does not have.
bool write_json(const Value& value, const JsonStyle& style, TextBuilder& out);

}  // namespace tandem::model::jinja
