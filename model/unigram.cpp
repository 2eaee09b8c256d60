#include "model/unigram.hpp"

#include <algorithm>

#include "model/utf8.hpp"

namespace tandem::model {
namespace {

// What a character without a token costs below the worst token; the reference's constant.
constexpr double unknown_penalty = 10.0;
constexpr std::size_t nowhere = static_cast<std::size_t>(-1);

/// The best way to a place in the word.
struct Place {
  double score = 0;
  std::size_t from = nowhere;
  TokenId id = 0;
};

std::vector<Place>& places() {
  thread_local std::vector<Place> own;
  return own;
}

constexpr std::uint64_t edge(std::uint32_t node, char byte) {
  return (static_cast<std::uint64_t>(node) << 8) | static_cast<unsigned char>(byte);
}

}  // namespace

void Unigram::add_token(std::string_view text, TokenId id, double score) {
  std::uint32_t node = 0;
  for (const char byte : text) {
    const auto [found, fresh] =
        edges_.emplace(edge(node, byte), static_cast<std::uint32_t>(nodes_.size()));
    if (fresh) nodes_.emplace_back();
    node = found->second;
  }
  nodes_[node] = {id, score};
  min_score_ = std::min(min_score_, score);
}

void Unigram::find_best(std::string_view word) const {
  auto& best = places();
  best.assign(word.size() + 1, Place{});
  best[0].from = 0;
  const auto offer = [&](std::size_t from, std::size_t to, double score, TokenId id) {
    Place& place = best[to];
    const double sum = best[from].score + score;
    if (place.from == nowhere || sum > place.score) place = {sum, from, id};
  };
  for (std::size_t at = 0; at < word.size();) {
    const std::size_t character = utf8_step(word, at).length;
    bool alone = false;
    std::uint32_t node = 0;
    for (std::size_t i = at; i < word.size(); ++i) {
      const auto next = edges_.find(edge(node, word[i]));
      if (next == edges_.end()) break;
      node = next->second;
      if (nodes_[node].id < 0) continue;
      offer(at, i + 1, nodes_[node].score, nodes_[node].id);
      alone = alone || i + 1 - at == character;
    }
    if (!alone) offer(at, at + character, min_score_ - unknown_penalty, unknown_);
    at += character;
  }
}

void Unigram::append_unknown(std::string_view text, std::vector<TokenId>& out) const {
  std::uint32_t node = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto next = edges_.find(edge(node, text[i]));
    if (next == edges_.end()) break;
    node = next->second;
    // Characters unknown one by one may make up a token together.
    if (i + 1 == text.size() && nodes_[node].id >= 0) return out.push_back(nodes_[node].id);
  }
  if (bytes_) {
    const auto token = [&](char c) { return (*bytes_)[static_cast<unsigned char>(c)]; };
    if (std::all_of(text.begin(), text.end(), [&](char c) { return token(c) >= 0; })) {
      for (const char c : text) out.push_back(token(c));
      return;
    }
  }
  out.push_back(unknown_);
}

void Unigram::append(std::string_view word, std::vector<TokenId>& out) const {
  find_best(word);
  auto& best = places();
  // The way back is turned around in place: `from` becomes the way forward.
  std::size_t to = nowhere;
  for (std::size_t at = word.size(); at > 0;) {
    const std::size_t from = best[at].from;
    best[at].from = to;
    to = at;
    at = from;
  }
  // Now `to` is the end of the first token and best[to].from the end of the one after it.
  std::size_t begin = 0;
  for (std::size_t end = to; end != nowhere;) {
    if (best[end].id == unknown_) {
      while (best[end].from != nowhere && best[best[end].from].id == unknown_) {
        end = best[end].from;
      }
      append_unknown(word.substr(begin, end - begin), out);
    } else {
      out.push_back(best[end].id);
    }
    begin = end;
    end = best[end].from;
  }
  constexpr std::size_t kept = 1 << 16;
  if (best.capacity() > kept) best = {};
}

}  // namespace tandem::model
