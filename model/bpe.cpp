#include "model/bpe.hpp"

#include <algorithm>
#include <tuple>

namespace tandem::model {
namespace {

constexpr std::uint32_t none = 0xFFFFFFFFU;

/// A symbol of the word in the making, linked to its neighbours. A joined one keeps the left's
/// place; the right's is marked dead.
struct Symbol {
  TokenId token = 0;
  std::uint32_t previous = none;
  std::uint32_t next = none;
  bool dead = false;
};

/// A pair of neighbours that a merge joins. It is stale once either side has changed.
struct Join {
  std::uint32_t rank = 0;
  std::uint32_t left = 0;
  TokenId left_token = 0;
  TokenId right_token = 0;
  TokenId joined = 0;
};

/// Lowest rank on top of a heap, then leftmost.
bool later(const Join& a, const Join& b) {
  return std::tie(a.rank, a.left) > std::tie(b.rank, b.left);
}

struct Scratch {
  std::vector<Symbol> symbols;
  std::vector<Join> joins;
};
Scratch& scratch() {
  thread_local Scratch own;
  return own;
}

constexpr std::uint64_t pair_key(TokenId left, TokenId right) {
  return (static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32) |
         static_cast<std::uint32_t>(right);
}

}  // namespace

void ByteBpe::add_token(std::string bytes, TokenId id) {
  if (bytes.size() == 1) byte_tokens_[static_cast<unsigned char>(bytes.front())] = id;
  tokens_.emplace(std::move(bytes), id);
}

void ByteBpe::add_merge(TokenId left, TokenId right, TokenId joined, std::uint32_t rank) {
  merges_.emplace(pair_key(left, right), Merge{rank, joined});
}

std::optional<TokenId> ByteBpe::find(std::string_view bytes) const {
  const auto found = tokens_.find(bytes);
  if (found == tokens_.end()) return std::nullopt;
  return found->second;
}

const ByteBpe::Merge* ByteBpe::merge_of(TokenId left, TokenId right) const {
  const auto found = merges_.find(pair_key(left, right));
  return found == merges_.end() ? nullptr : &found->second;
}

void ByteBpe::append(std::string_view word, std::vector<TokenId>& out) const {
  if (whole_words_first_) {
    if (const auto whole = find(word)) {
      out.push_back(*whole);
      return;
    }
  }
  auto& [symbols, joins] = scratch();
  symbols.resize(word.size());
  joins.clear();
  const auto offer = [&](std::uint32_t left) {
    const std::uint32_t right = left == none ? none : symbols[left].next;
    if (right == none) return;
    const Merge* merge = merge_of(symbols[left].token, symbols[right].token);
    if (merge == nullptr) return;
    joins.push_back({merge->rank, left, symbols[left].token, symbols[right].token, merge->joined});
    std::push_heap(joins.begin(), joins.end(), later);
  };

  const auto count = static_cast<std::uint32_t>(word.size());
  for (std::uint32_t i = 0; i < count; ++i) {
    symbols[i] = {byte_tokens_[static_cast<unsigned char>(word[i])], i == 0 ? none : i - 1,
                  i + 1 == count ? none : i + 1, false};
  }
  for (std::uint32_t i = 0; i < count; ++i) offer(i);
  while (!joins.empty()) {
    std::pop_heap(joins.begin(), joins.end(), later);
    const Join join = joins.back();
    joins.pop_back();
    Symbol& left = symbols[join.left];
    if (left.dead || left.token != join.left_token || left.next == none) continue;
    Symbol& right = symbols[left.next];
    if (right.token != join.right_token) continue;
    left.token = join.joined;
    right.dead = true;
    left.next = right.next;
    if (left.next != none) symbols[left.next].previous = join.left;
    offer(left.previous);
    offer(join.left);
  }
  for (std::uint32_t i = 0; i != none && count > 0; i = symbols[i].next) {
    out.push_back(symbols[i].token);
  }
}

}  // namespace tandem::model
