// Words that were encoded lately and their tokens: a table of fixed size in which a new word takes
// the place of an old one. One per thread and nothing shared. Internal to model/.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include "core/units.hpp"

namespace tandem::model {

class WordCache {
 public:
  static constexpr std::size_t max_word_bytes = 32;
  static constexpr std::size_t max_tokens = 7;
  static constexpr std::size_t num_entries = 16384;  // of 64 bytes: 1 MiB

  /// `word` as the table holds it. It must have 1 to max_word_bytes bytes.
  class Key {
   public:
    explicit Key(std::string_view word) : length_(static_cast<std::uint8_t>(word.size())) {
      std::memcpy(words_.data(), word.data(), word.size());
      std::uint64_t hash = word.size();
      for (const std::uint64_t one : words_) {
        hash = (hash ^ one) * 0x9E3779B97F4A7C15ULL;
        hash ^= hash >> 32;
      }
      slot_ = hash % num_entries;
    }

   private:
    friend class WordCache;
    std::array<std::uint64_t, 4> words_{};
    std::uint8_t length_;
    std::size_t slot_ = 0;
  };

  /// Forgets everything unless the words are those of tokenizer `owner`, a number never used twice.
  void use_for(std::uint64_t owner) {
    if (owner_ == owner) return;
    owner_ = owner;
    entries_.assign(num_entries, Entry{});
  }

  /// Appends the tokens of the word to `out` if they are known.
  bool append(const Key& key, std::vector<TokenId>& out) const {
    const Entry& entry = entries_[key.slot_];
    if (entry.length != key.length_ || entry.words != key.words_) return false;
    out.insert(out.end(), entry.tokens.begin(), entry.tokens.begin() + entry.count);
    return true;
  }

  void put(const Key& key, std::span<const TokenId> tokens) {
    if (tokens.size() > max_tokens) return;
    Entry& entry = entries_[key.slot_];
    entry.words = key.words_;
    entry.length = key.length_;
    entry.count = static_cast<std::uint8_t>(tokens.size());
    std::copy(tokens.begin(), tokens.end(), entry.tokens.begin());
  }

 private:
  struct alignas(64) Entry {
    std::array<std::uint64_t, 4> words{};
    std::array<TokenId, max_tokens> tokens{};
    std::uint8_t length = 0;  ///< 0: nothing is here
    std::uint8_t count = 0;
  };
  static_assert(sizeof(Entry) == 64);

  std::vector<Entry> entries_;
  std::uint64_t owner_ = 0;
};

}  // namespace tandem::model
