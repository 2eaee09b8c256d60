#include "model/added_tokens.hpp"

#include <algorithm>

#include "core/check.hpp"
#include "model/pretokenizer.hpp"
#include "model/utf8.hpp"

namespace tandem::model {
namespace {

/// Unicode's White_Space property.
bool is_white_space(char32_t code) {
  return (code >= 0x09 && code <= 0x0D) || code == 0x20 || code == 0x85 || code == 0xA0 ||
         code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 || code == 0x2029 ||
         code == 0x202F || code == 0x205F || code == 0x3000;
}

bool is_word_character(char32_t code) {
  static const auto expression = Regex::compile("\\w", "word character");
  TANDEM_CHECK(expression.has_value(), "a fixed expression compiles");
  std::string character;
  append_utf8(character, code);
  bool matched = false;
  expression->for_each_match(character, [&](std::size_t, std::size_t) { matched = true; });
  return matched;
}

/// The character that ends at `end` of well-formed `text`, and where it begins.
std::pair<char32_t, std::size_t> character_before(std::string_view text, std::size_t end) {
  std::size_t begin = end - 1;
  while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xC0U) == 0x80U) --begin;
  return {utf8_step(text, begin).code, begin};
}

bool word_touches(std::string_view text, std::size_t begin, std::size_t end) {
  if (begin > 0 && is_word_character(character_before(text, begin).first)) return true;
  return end < text.size() && is_word_character(utf8_step(text, end).code);
}

}  // namespace

bool overlaps(std::span<const TextRange> ranges, std::size_t begin, std::size_t end) {
  const auto next = std::partition_point(ranges.begin(), ranges.end(),
                                         [&](const TextRange& r) { return r.end <= begin; });
  return next != ranges.end() && next->begin < end;
}

void AddedTokenSet::add(AddedToken token) {
  std::uint32_t node = 0;
  for (const char c : token.content) {
    const auto byte = static_cast<unsigned char>(c);
    const auto& children = nodes_[node].children;
    const auto known = std::find_if(children.begin(), children.end(),
                                    [&](const auto& child) { return child.first == byte; });
    if (known != children.end()) {
      node = known->second;
      continue;
    }
    const auto next = static_cast<std::uint32_t>(nodes_.size());
    nodes_[node].children.emplace_back(byte, next);
    nodes_.emplace_back();
    node = next;
  }
  nodes_[node].token = static_cast<std::uint32_t>(tokens_.size());
  tokens_.push_back(std::move(token));
}

const AddedToken* AddedTokenSet::longest_at(std::string_view text, std::size_t at) const {
  const AddedToken* longest = nullptr;
  std::uint32_t node = 0;
  for (std::size_t i = at; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const auto& children = nodes_[node].children;
    const auto next = std::find_if(children.begin(), children.end(),
                                   [&](const auto& child) { return child.first == byte; });
    if (next == children.end()) break;
    node = next->second;
    if (nodes_[node].token) longest = &tokens_[*nodes_[node].token];
  }
  return longest;
}

void AddedTokenSet::split(std::string_view text, std::span<const TextRange> literal,
                          const std::function<void(std::string_view)>& gap,
                          const std::function<void(TokenId)>& found) const {
  std::size_t done = 0;
  for (std::size_t at = 0; at < text.size() && !empty();) {
    const AddedToken* token = longest_at(text, at);
    if (token == nullptr) {
      ++at;
      continue;
    }
    std::size_t begin = at;
    std::size_t end = at + token->content.size();
    // Passed over as a whole: what is inside an unwanted token is not looked for either.
    at = end;
    if (begin < done || (token->special && overlaps(literal, begin, end))) continue;
    if (token->single_word && word_touches(text, begin, end)) continue;
    while (token->strip_left && begin > done) {
      const auto [code, start] = character_before(text, begin);
      if (!is_white_space(code)) break;
      begin = start;
    }
    while (token->strip_right && end < text.size()) {
      const Utf8Step step = utf8_step(text, end);
      if (!is_white_space(step.code)) break;
      end += step.length;
    }
    if (begin > done) gap(text.substr(done, begin - done));
    found(token->id);
    done = end;
  }
  if (done < text.size()) gap(text.substr(done));
}

}  // namespace tandem::model
