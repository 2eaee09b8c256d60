#include "model/bpe.hpp"

#include <algorithm>
#include <tuple>

#include "model/utf8.hpp"

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

/// What a long word needed is given back, so that a thread does not keep it for ever.
void trim(Scratch& own) {
  constexpr std::size_t kept = 1 << 16;
  if (own.symbols.capacity() > kept) own.symbols = {};
  if (own.joins.capacity() > kept) own.joins = {};
}

constexpr std::uint64_t pair_key(TokenId left, TokenId right) {
  return (static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32) |
         static_cast<std::uint32_t>(right);
}

}  // namespace

void Bpe::add_symbol(std::string_view symbol, TokenId id) {
  const auto first = static_cast<unsigned char>(symbol.front());
  if (by_bytes_ || first < 0x80) {
    byte_tokens_[first] = id;
  } else {
    character_tokens_[utf8_step(symbol, 0).code] = id;
  }
}

void Bpe::add_merge(TokenId left, TokenId right, TokenId joined, std::uint32_t rank) {
  merges_.emplace(pair_key(left, right), Merge{rank, joined});
}

void Bpe::add_whole_word(std::string_view word, TokenId id) { whole_words_.emplace(word, id); }

void Bpe::add_unknown(std::string_view character, std::optional<TokenId>& waiting) const {
  auto& symbols = scratch().symbols;
  if (unknown_.bytes) {
    const auto token = [&](char c) { return (*unknown_.bytes)[static_cast<unsigned char>(c)]; };
    if (std::all_of(character.begin(), character.end(), [&](char c) { return token(c) >= 0; })) {
      for (const char c : character) symbols.push_back({token(c)});
      return;
    }
  }
  if (!unknown_.token) return;
  if (waiting && !unknown_.fuse) symbols.push_back({*waiting});
  waiting = unknown_.token;
}

/// The symbols that the word begins as, linked. An unknown character's token comes where the next
/// known one begins: bytes of others, found meanwhile, go before it, as in the reference.
void Bpe::start(std::string_view word) const {
  auto& symbols = scratch().symbols;
  symbols.clear();
  std::optional<TokenId> waiting;
  for (std::size_t at = 0; at < word.size();) {
    const auto byte = static_cast<unsigned char>(word[at]);
    TokenId token = byte_tokens_[byte];
    std::size_t length = 1;
    if (!by_bytes_ && byte >= 0x80) {
      const Utf8Step step = utf8_step(word, at);
      const auto found = character_tokens_.find(step.code);
      token = found == character_tokens_.end() ? -1 : found->second;
      length = step.length;
    }
    if (token < 0) {
      add_unknown(word.substr(at, length), waiting);
    } else {
      if (waiting) symbols.push_back({*waiting});
      waiting.reset();
      symbols.push_back({token});
    }
    at += length;
  }
  if (waiting) symbols.push_back({*waiting});
  const auto count = static_cast<std::uint32_t>(symbols.size());
  for (std::uint32_t i = 0; i < count; ++i) {
    symbols[i].previous = i == 0 ? none : i - 1;
    symbols[i].next = i + 1 == count ? none : i + 1;
  }
}

void Bpe::merge_all() const {
  Scratch& own = scratch();
  auto& symbols = own.symbols;
  auto& joins = own.joins;
  joins.clear();
  const auto offer = [&](std::uint32_t left, bool sorted) {
    const std::uint32_t right = left == none ? none : symbols[left].next;
    if (right == none) return;
    const auto merge = merges_.find(pair_key(symbols[left].token, symbols[right].token));
    if (merge == merges_.end()) return;
    joins.push_back({merge->second.rank, left, symbols[left].token, symbols[right].token,
                     merge->second.joined});
    if (sorted) std::push_heap(joins.begin(), joins.end(), later);
  };
  for (std::uint32_t i = 0; i < symbols.size(); ++i) offer(i, false);
  std::make_heap(joins.begin(), joins.end(), later);
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
    offer(left.previous, true);
    offer(join.left, true);
  }
}

void Bpe::append(std::string_view word, std::vector<TokenId>& out) const {
  if (!whole_words_.empty()) {
    const auto whole = whole_words_.find(word);
    if (whole != whole_words_.end()) {
      out.push_back(whole->second);
      return;
    }
  }
  start(word);
  merge_all();
  Scratch& own = scratch();
  const auto& symbols = own.symbols;
  for (std::uint32_t i = 0; i != none && !symbols.empty(); i = symbols[i].next) {
    out.push_back(symbols[i].token);
  }
  trim(own);
}

}  // namespace tandem::model
