#include "model/added_tokens.hpp"

#include <algorithm>

#include "model/unicode.hpp"
#include "model/utf8.hpp"

namespace tandem::model {
namespace {

bool word_touches(std::string_view text, std::size_t begin, std::size_t end) {
  if (begin > 0 && is_word_character(character_before(text, begin).code)) return true;
  return end < text.size() && is_word_character(utf8_step(text, end).code);
}

}  // namespace

bool overlaps(std::span<const TextRange> ranges, std::size_t begin, std::size_t end) {
  const auto next = std::partition_point(ranges.begin(), ranges.end(),
                                         [&](const TextRange& r) { return r.end <= begin; });
  return next != ranges.end() && next->begin < end;
}

void AddedTokenSet::add(AddedToken token, std::string_view content) {
  std::uint32_t node = 0;
  begins_[static_cast<unsigned char>(content.front())] = true;
  for (const char c : content) {
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
  if (nodes_[node].token) return;
  nodes_[node].token = static_cast<std::uint32_t>(tokens_.size());
  tokens_.push_back(std::move(token));
}

const AddedToken* AddedTokenSet::longest_at(std::string_view text, std::size_t at,
                                            std::size_t& length) const {
  const AddedToken* longest = nullptr;
  std::uint32_t node = 0;
  for (std::size_t i = at; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const auto& children = nodes_[node].children;
    const auto next = std::find_if(children.begin(), children.end(),
                                   [&](const auto& child) { return child.first == byte; });
    if (next == children.end()) break;
    node = next->second;
    if (!nodes_[node].token) continue;
    longest = &tokens_[*nodes_[node].token];
    length = i + 1 - at;
  }
  return longest;
}

void AddedTokenSet::split(std::string_view text, std::span<const TextRange> literal,
                          const std::function<void(std::string_view)>& gap,
                          const std::function<void(TokenId)>& found) const {
  std::size_t done = 0;
  for (std::size_t at = 0; at < text.size() && !empty();) {
    std::size_t length = 0;
    const AddedToken* token =
        begins_[static_cast<unsigned char>(text[at])] ? longest_at(text, at, length) : nullptr;
    if (token == nullptr) {
      ++at;
      continue;
    }
    std::size_t begin = at;
    std::size_t end = at + length;
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
