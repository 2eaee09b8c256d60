// Python's "…" % values: see evaluator.hpp. Conversions s, r, d, i, f, x and %%, with width,
// precision and the flags "-" and "0".
#include <algorithm>
#include <cstdio>

#include "model/jinja/evaluator.hpp"

namespace tandem::model::jinja {
namespace {

struct Conversion {
  bool left = false, zeros = false;
  std::size_t width = 0;
  std::optional<std::size_t> precision;
  char kind = '\0';
};

/// Reads what follows a '%' at `at`; moves behind it. The kind is '\0' if it is not known.
Conversion read_conversion(std::string_view format, std::size_t& at) {
  Conversion read;
  const auto number = [&] {
    std::size_t value = 0;
    for (; at < format.size() && format[at] >= '0' && format[at] <= '9'; ++at)
      value = std::min<std::size_t>(value * 10 + static_cast<std::size_t>(format[at] - '0'), 4096);
    return value;
  };
  for (; at < format.size() && (format[at] == '-' || format[at] == '0'); ++at)
    (format[at] == '-' ? read.left : read.zeros) = true;
  read.width = number();
  if (at < format.size() && format[at] == '.') {
    ++at;
    read.precision = number();
  }
  if (at < format.size()) read.kind = format[at++];
  if (std::string_view("srdifx%").find(read.kind) == std::string_view::npos) read.kind = '\0';
  return read;
}

std::optional<std::string> number_text(const Conversion& how, const Value& value) {
  char buffer[512];
  const auto number = value.number();
  if (!number) return std::nullopt;
  int size = 0;
  if (how.kind == 'f') {
    const auto precision = static_cast<int>(std::min<std::size_t>(how.precision.value_or(6), 100));
    size = std::snprintf(buffer, sizeof buffer, "%.*f", precision, *number);
  } else {
    if (*number > 9.2e18 || *number < -9.2e18 || *number != *number) return std::nullopt;
    const auto whole = value.integer().value_or(static_cast<std::int64_t>(*number));
    if (how.kind != 'x') return std::to_string(whole);
    if (!value.integer()) return std::nullopt;
    const auto size_of = static_cast<unsigned long long>(whole < 0 ? -(whole + 1) : whole);
    size = std::snprintf(buffer, sizeof buffer, "%s%llx", whole < 0 ? "-" : "",
                         whole < 0 ? size_of + 1 : size_of);
  }
  if (size < 0 || static_cast<std::size_t>(size) >= sizeof buffer) return std::nullopt;
  return std::string(buffer, static_cast<std::size_t>(size));
}

}  // namespace

Value format_percent(Evaluator& evaluator, const Text& format, const Value& values) {
  const auto* tuple = values.list();
  const bool several = tuple && tuple->kind == List::Kind::tuple;
  std::vector<Value> items = several ? tuple->items : std::vector<Value>{values};
  std::size_t next = 0;
  TextBuilder out;
  const std::string& text = format.bytes;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t percent = std::min(text.find('%', at), text.size());
    out.append(format, at, percent);
    if (percent == text.size()) break;
    at = percent + 1;
    const auto how = read_conversion(text, at);
    if (how.kind == '%') {
      out.append("%");
      continue;
    }
    if (how.kind == '\0') return evaluator.fail("a conversion behind '%' is not supported");
    if (next >= items.size()) return evaluator.fail("not enough values for '%'");
    const auto& value = items[next++];
    TextBuilder written;
    if (how.kind == 's' || how.kind == 'r') {
      if (!(how.kind == 's' ? write_str(value, written) : write_repr(value, written)))
        return evaluator.fail("a value cannot be written as text");
    } else if (const auto number = number_text(how, value)) {
      written.append(*number);
    } else {
      return evaluator.fail("'%" + std::string(1, how.kind) + "' needs a number");
    }
    Text piece = written.take();
    const bool is_text = how.kind == 's' || how.kind == 'r';
    std::size_t end = piece.bytes.size();
    if (is_text && how.precision) end = byte_of_character(piece.bytes, *how.precision);
    const std::size_t size = count_characters(std::string_view(piece.bytes).substr(0, end));
    const std::string fill(how.width > size ? how.width - size : 0,
                           how.zeros && !how.left && !is_text ? '0' : ' ');
    const bool sign = !fill.empty() && fill[0] == '0' && piece.bytes.starts_with('-');
    if (sign) out.append("-");
    if (!how.left) out.append(fill);
    out.append(piece, sign ? 1 : 0, end);
    if (how.left) out.append(fill);
    if (!evaluator.charge_text(end + fill.size()) || !evaluator.fits(out.size())) return {};
  }
  if (next < items.size() && (several || !values.dict()))
    return evaluator.fail("too many values for '%'");
  return std::make_shared<const Text>(out.take());
}

}  // namespace tandem::model::jinja
