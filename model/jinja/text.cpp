#include "model/jinja/text.hpp"

#include <algorithm>
#include <array>

#include "model/utf8.hpp"

namespace tandem::model::jinja {

TextPtr make_text(std::string bytes, bool from_outside) {
  auto text = std::make_shared<Text>();
  if (from_outside && !bytes.empty()) text->literal.push_back({0, bytes.size()});
  text->bytes = std::move(bytes);
  return text;
}

void TextBuilder::mark(std::size_t begin, std::size_t end) {
  if (begin >= end) return;
  auto& marks = text_.literal;
  if (!marks.empty() && marks.back().end == begin) {
    marks.back().end = end;
  } else {
    marks.push_back({begin, end});
  }
}

void TextBuilder::append(std::string_view bytes, bool from_outside) {
  const std::size_t begin = text_.bytes.size();
  text_.bytes += bytes;
  if (from_outside) mark(begin, text_.bytes.size());
}

void TextBuilder::append(const Text& text, std::size_t begin, std::size_t end) {
  const std::size_t base = text_.bytes.size();
  text_.bytes.append(text.bytes, begin, end - begin);
  auto next = std::partition_point(text.literal.begin(), text.literal.end(),
                                   [&](const TextRange& range) { return range.end <= begin; });
  for (; next != text.literal.end() && next->begin < end; ++next)
    mark(base + std::max(next->begin, begin) - begin, base + std::min(next->end, end) - begin);
}

TextPtr slice_bytes(const Text& text, std::size_t begin, std::size_t end) {
  TextBuilder builder;
  if (begin < end) builder.append(text, begin, end);
  auto slice = std::make_shared<Text>(builder.take());
  slice->markup = text.markup;
  return slice;
}

TextPtr derived(std::string bytes, const Text& source) {
  return make_text(std::move(bytes), !source.literal.empty());
}

std::size_t count_characters(std::string_view bytes) {
  return static_cast<std::size_t>(std::count_if(bytes.begin(), bytes.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U;
  }));
}

std::size_t byte_of_character(std::string_view bytes, std::size_t index) {
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    if ((static_cast<unsigned char>(bytes[at]) & 0xC0U) == 0x80U) continue;
    if (index-- == 0) return at;
  }
  return bytes.size();
}

bool is_space(char32_t code) {
  return (code >= 0x09 && code <= 0x0D) || (code >= 0x1C && code <= 0x20) || code == 0x85 ||
         code == 0xA0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 ||
         code == 0x2029 || code == 0x202F || code == 0x205F || code == 0x3000;
}

namespace {

std::u32string characters_of(std::string_view bytes) {
  std::u32string characters;
  for (std::size_t at = 0; at < bytes.size();) {
    const Utf8Step step = utf8_step(bytes, at);
    characters.push_back(step.code);
    at += std::max<std::size_t>(step.length, 1);
  }
  return characters;
}

}  // namespace

TextRange stripped(std::string_view bytes, bool left, bool right, const std::string* characters) {
  const std::u32string set = characters ? characters_of(*characters) : std::u32string();
  const auto goes = [&](char32_t code) {
    return characters ? set.find(code) != std::u32string::npos : is_space(code);
  };
  TextRange range{0, bytes.size()};
  while (left && range.begin < range.end) {
    const Utf8Step step = utf8_step(bytes, range.begin);
    if (!goes(step.code)) break;
    range.begin += std::max<std::size_t>(step.length, 1);
  }
  while (right && range.end > range.begin) {
    std::size_t begin = range.end - 1;
    while (begin > range.begin && (static_cast<unsigned char>(bytes[begin]) & 0xC0U) == 0x80U)
      --begin;
    if (!goes(utf8_step(bytes, begin).code)) break;
    range.end = begin;
  }
  return range;
}

}  // namespace tandem::model::jinja
