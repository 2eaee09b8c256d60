// How values are written: str() and repr() as Python, JSON as its json.dumps(). See value.hpp.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "model/jinja/value.hpp"
#include "model/utf8.hpp"

namespace tandem::model::jinja {
namespace {

void append_hex(TextBuilder& out, const char* prefix, char32_t code, int digits, bool outside) {
  char buffer[16];
  std::snprintf(buffer, sizeof buffer, "%s%0*x", prefix, digits, static_cast<unsigned>(code));
  out.append(buffer, outside);
}

bool is_marked(const Text& text, std::size_t at) {
  return std::any_of(text.literal.begin(), text.literal.end(),
                     [&](const TextRange& range) { return at >= range.begin && at < range.end; });
}

/// Calls `special(code, length, marked)` for each character; if it returns false the character is
/// copied as it is, with its neighbours.
template <class Special>
void copy_with_escapes(const Text& text, TextBuilder& out, Special special) {
  std::size_t done = 0;
  for (std::size_t at = 0; at < text.bytes.size();) {
    const Utf8Step step = utf8_step(text.bytes, at);
    const std::size_t length = std::max<std::size_t>(step.length, 1);
    if (special(step.code, [&] {
          out.append(text, done, at);
          return is_marked(text, at);
        }))
      done = at + length;
    at += length;
  }
  out.append(text, done, text.bytes.size());
}

void write_text_repr(const Text& text, TextBuilder& out) {
  const bool single = text.bytes.find('\'') != std::string::npos;
  const char quote = single && text.bytes.find('"') == std::string::npos ? '"' : '\'';
  out.append(std::string_view(&quote, 1));
  copy_with_escapes(text, out, [&](char32_t code, auto flush) {
    if (code == U'\\' || code == static_cast<char32_t>(quote)) {
      const char escaped[2] = {'\\', static_cast<char>(code)};
      out.append(std::string_view(escaped, 2), flush());
    } else if (code == U'\n' || code == U'\r' || code == U'\t') {
      const bool outside = flush();
      out.append(code == U'\n' ? "\\n" : code == U'\r' ? "\\r" : "\\t", outside);
    } else if (code < 0x20 || code == 0x7F || (code > 0x7F && !is_printable(code))) {
      const bool outside = flush();
      if (code <= 0xFF) {
        append_hex(out, "\\x", code, 2, outside);
      } else if (code <= 0xFFFF) {
        append_hex(out, "\\u", code, 4, outside);
      } else {
        append_hex(out, "\\U", code, 8, outside);
      }
    } else {
      return false;
    }
    return true;
  });
  out.append(std::string_view(&quote, 1));
}

void write_json_text(const Text& text, bool ascii, TextBuilder& out) {
  out.append("\"");
  copy_with_escapes(text, out, [&](char32_t code, auto flush) {
    static constexpr std::string_view names = "\"\\\n\r\t\f\b";
    static constexpr std::string_view escapes[] = {"\\\"", "\\\\", "\\n", "\\r",
                                                   "\\t",  "\\f",  "\\b"};
    const auto known = code < 0x80 ? names.find(static_cast<char>(code)) : names.npos;
    if (known != names.npos) {
      out.append(escapes[known], flush());
    } else if (code < 0x20 || (ascii && code >= 0x7F && code <= 0xFFFF && code != 0x7F)) {
      append_hex(out, "\\u", code, 4, flush());
    } else if (ascii && code > 0xFFFF) {
      const bool outside = flush();
      append_hex(out, "\\u", 0xD800 + ((code - 0x10000) >> 10), 4, outside);
      append_hex(out, "\\u", 0xDC00 + ((code - 0x10000) & 0x3FF), 4, outside);
    } else {
      return false;
    }
    return true;
  });
  out.append("\"");
}

std::string scalar_text(const Value& value, std::string_view none, std::string_view yes,
                        std::string_view no) {
  if (value.is_none()) return std::string(none);
  if (const auto* truth = value.boolean()) return std::string(*truth ? yes : no);
  if (const auto* whole = value.get<std::int64_t>()) return std::to_string(*whole);
  return {};
}

template <class Write>
bool write_items(const std::vector<Value>& items, std::string_view open, std::string_view close,
                 TextBuilder& out, Write write) {
  out.append(open);
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (i > 0) out.append(", ");
    if (!write(items[i])) return false;
  }
  out.append(close);
  return true;
}

bool write_list_repr(const List& list, TextBuilder& out) {
  const auto one = [&](const Value& item) { return write_repr(item, out); };
  switch (list.kind) {
    case List::Kind::list: return write_items(list.items, "[", "]", out, one);
    case List::Kind::tuple:
      return write_items(list.items, "(", list.items.size() == 1 ? ",)" : ")", out, one);
    case List::Kind::view:
    case List::Kind::iterator:
    case List::Kind::range: return false;
  }
  return false;
}

bool write_dict_repr(const Dict& dict, TextBuilder& out) {
  out.append("{");
  for (std::size_t i = 0; i < dict.entries.size(); ++i) {
    if (i > 0) out.append(", ");
    if (!write_repr(dict.entries[i].first, out)) return false;
    out.append(": ");
    if (!write_repr(dict.entries[i].second, out)) return false;
  }
  out.append("}");
  return true;
}

class JsonWriter {
 public:
  JsonWriter(const JsonStyle& style, TextBuilder& out) : style_(style), out_(out) {}

  bool write(const Value& value) {
    if (const auto* text = value.text()) {
      write_json_text(*text, style_.ascii, out_);
      return true;
    }
    if (const auto* real = value.get<double>()) {
      out_.append(real_text(*real));
      return true;
    }
    if (const auto* list = value.list()) return write_list(*list);
    if (const auto* dict = value.dict()) return write_dict(*dict);
    const auto scalar = scalar_text(value, "null", "true", "false");
    out_.append(scalar);
    return !scalar.empty();
  }

 private:
  static std::string real_text(double value) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
    return float_repr(value);
  }

  void begin_item(bool first) {
    if (!first) out_.append(style_.item_separator);
    new_line();
  }
  void new_line() {
    if (!style_.indent) return;
    out_.append("\n");
    out_.append(std::string(*style_.indent * depth_, ' '));
  }

  bool write_list(const List& list) {
    if (list.kind != List::Kind::list && list.kind != List::Kind::tuple) return false;
    out_.append("[");
    ++depth_;
    for (std::size_t i = 0; i < list.items.size(); ++i) {
      begin_item(i == 0);
      if (!write(list.items[i])) return false;
    }
    --depth_;
    if (!list.items.empty()) new_line();
    out_.append("]");
    return true;
  }

  bool write_key(const Value& key) {
    if (key.text()) return write(key);
    if (key.list()) return false;
    const auto text =
        key.is_real() ? real_text(*key.number()) : scalar_text(key, "null", "true", "false");
    out_.append("\"" + text + "\"");
    return true;
  }

  bool write_dict(const Dict& dict) {
    std::vector<const std::pair<Value, Value>*> entries;
    for (const auto& entry : dict.entries) entries.push_back(&entry);
    bool comparable = true;
    if (style_.sort_keys)
      std::stable_sort(entries.begin(), entries.end(), [&](const auto* a, const auto* b) {
        const auto order = compare(a->first, b->first);
        comparable = comparable && order.has_value();
        return order == -1;
      });
    if (!comparable) return false;
    out_.append("{");
    ++depth_;
    bool first = true;
    for (const auto* entry : entries) {
      begin_item(std::exchange(first, false));
      if (!write_key(entry->first)) return false;
      out_.append(style_.key_separator);
      if (!write(entry->second)) return false;
    }
    --depth_;
    if (!entries.empty()) new_line();
    out_.append("}");
    return true;
  }

  const JsonStyle& style_;
  TextBuilder& out_;
  std::size_t depth_ = 0;
};

}  // namespace

/// The shortest text that reads back as the same number, in Python's form.
std::string float_repr(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  char buffer[64];
  const auto end =
      std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific);
  const std::string_view shortest(buffer, static_cast<std::size_t>(end.ptr - buffer));
  const int exponent = std::atoi(std::string(shortest.substr(shortest.find('e') + 1)).c_str());
  if (exponent < -4 || exponent >= 16) return std::string(shortest);
  const auto fixed = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::fixed);
  std::string text(buffer, fixed.ptr);
  if (text.find('.') == std::string::npos) text += ".0";
  return text;
}

bool write_str(const Value& value, TextBuilder& out) {
  if (value.is_undefined()) return true;
  if (const auto* text = value.text()) {
    out.append(*text);
    return true;
  }
  return write_repr(value, out);
}

bool write_repr(const Value& value, TextBuilder& out) {
  if (value.is_undefined()) {
    out.append("Undefined");
    return true;
  }
  if (const auto* text = value.text()) {
    write_text_repr(*text, out);
    return true;
  }
  if (const auto* real = value.get<double>()) {
    out.append(float_repr(*real));
    return true;
  }
  if (const auto* list = value.list()) return write_list_repr(*list, out);
  if (const auto* dict = value.dict()) return write_dict_repr(*dict, out);
  const auto scalar = scalar_text(value, "None", "True", "False");
  out.append(scalar);
  return !scalar.empty();
}

bool write_json(const Value& value, const JsonStyle& style, TextBuilder& out) {
  return JsonWriter(style, out).write(value);
}

}  // namespace tandem::model::jinja
