#include "model/tokenizer.hpp"

#include <atomic>

#include "model/pipeline_tokenizer.hpp"
#include "model/utf8.hpp"
#include "model/word_cache.hpp"

namespace tandem::model {
namespace {

/// What a thread needs to encode, kept for its memory and for the words of the last texts.
struct Scratch {
  std::pair<std::string, std::string> normalized;
  Pieces pieces;
  WordCache words;

  /// A long text's memory is given back.
  void trim() {
    constexpr std::size_t kept_bytes = 1 << 20;
    if (normalized.first.capacity() + normalized.second.capacity() > kept_bytes) normalized = {};
    if ((pieces.ranges.capacity() + pieces.next_ranges.capacity()) * sizeof(Pieces::Range) +
            pieces.buffer.capacity() + pieces.next_buffer.capacity() >
        kept_bytes) {
      pieces = {};
    }
  }
};
Scratch& scratch() {
  thread_local Scratch own;
  return own;
}

/// `at` of a table by id, or nothing.
std::string_view entry_of(const std::vector<std::string>& table, TokenId id) {
  const auto index = static_cast<std::size_t>(id);
  return id < 0 || index >= table.size() ? std::string_view() : table[index];
}

/// Calls `word` for the parts of `text`, which end before `cut` wherever it stands behind anything
/// else but itself.
template <class Word>
void for_each_part(std::string_view text, std::string_view cut, Word word) {
  std::size_t begin = 0;
  std::size_t at = cut.empty() ? std::string_view::npos : text.find(cut);
  while (at != std::string_view::npos) {
    if (at > begin) {
      word(text.substr(begin, at - begin));
      begin = at;
    }
    while (text.substr(at).starts_with(cut)) at += cut.size();
    at = text.find(cut, at);
  }
  if (begin < text.size()) word(text.substr(begin));
}

}  // namespace

// ---- Tokenizer ---------------------------------------------------------------------------------

Tokens Tokenizer::fewest_tokens(std::size_t bytes) const {
  const auto longest = max_bytes_per_token();
  if (!longest) return Tokens(0);
  return Tokens(static_cast<std::int64_t>(bytes / *longest + (bytes % *longest != 0 ? 1 : 0)));
}

const DecodeRules& Tokenizer::decode_rules() const {
  static const DecodeRules plain;
  return plain;
}

std::string Tokenizer::decode(std::span<const TokenId> ids, bool skip_special,
                              TextPlace place) const {
  std::string text;
  TextDecoder decoder(*this, skip_special, {}, place);
  for (const TokenId id : ids) decoder.push(id, text);
  decoder.finish(text);
  return text;
}

std::vector<TokenId> Tokenizer::encode_prompt(std::string_view text,
                                              std::span<const TextRange> literal) const {
  std::vector<TokenId> ids;
  const auto add = [&](std::size_t begin, std::size_t end, bool parse_special) {
    if (begin >= end) return;
    const auto more = encode(text.substr(begin, end - begin), false, parse_special);
    ids.insert(ids.end(), more.begin(), more.end());
  };
  std::size_t done = 0;
  for (const auto& range : literal) {
    add(done, range.begin, true);
    add(range.begin, range.end, false);
    done = range.end;
  }
  add(done, text.size(), true);
  return ids;
}

// ---- PipelineTokenizer -------------------------------------------------------------------------

PipelineTokenizer::PipelineTokenizer(TokenizerParts parts) : parts_(std::move(parts)) {
  static std::atomic<std::uint64_t> last = 0;
  number_ = ++last;
}

std::vector<TokenId> PipelineTokenizer::encode(std::string_view text, bool add_special,
                                               bool parse_special) const {
  std::vector<TokenId> ids;
  ids.reserve(text.size() / 3 + 8);
  if (add_special) ids.insert(ids.end(), parts_.prefix.begin(), parts_.prefix.end());
  std::string repaired;
  if (!is_well_formed(text)) text = repaired = well_formed(text);
  const TextRange whole{0, text.size()};
  encode_between(text, std::span(&whole, parse_special ? 0 : 1), ids);
  if (add_special) ids.insert(ids.end(), parts_.suffix.begin(), parts_.suffix.end());
  return ids;
}

std::vector<TokenId> PipelineTokenizer::encode_prompt(std::string_view text,
                                                      std::span<const TextRange> literal) const {
  // Replacing ill-formed bytes would move the ranges.
  if (!is_well_formed(text)) return Tokenizer::encode_prompt(text, literal);
  std::vector<TokenId> ids;
  ids.reserve(text.size() / 3 + 8);
  encode_between(text, literal, ids);
  return ids;
}

void PipelineTokenizer::encode_between(std::string_view text, std::span<const TextRange> literal,
                                       std::vector<TokenId>& out) const {
  scratch().words.use_for(number_);
  parts_.raw_tokens.split(
      text, literal,
      [&](std::string_view piece) {
        const auto begin = static_cast<std::size_t>(piece.data() - text.data());
        const bool parse_special = !overlaps(literal, begin, begin + piece.size());
        encode_piece(piece, begin == 0, parse_special, out);
      },
      [&](TokenId id) { out.push_back(id); });
  scratch().trim();
}

void PipelineTokenizer::encode_piece(std::string_view text, bool at_start, bool parse_special,
                                     std::vector<TokenId>& out) const {
  text = parts_.normalizer.apply(text, scratch().normalized);
  if (text.empty()) return;
  const TextRange whole{0, text.size()};
  parts_.normalized_tokens.split(
      text, std::span(&whole, parse_special ? 0 : 1),
      [&](std::string_view piece) {
        encode_words(piece, at_start && piece.data() == text.data(), out);
      },
      [&](TokenId id) { out.push_back(id); });
}

void PipelineTokenizer::encode_words(std::string_view text, bool at_start,
                                     std::vector<TokenId>& out) const {
  Scratch& own = scratch();
  Pieces& pieces = own.pieces;
  WordCache& words = own.words;
  parts_.pretokenizer.cut(text, at_start, pieces);
  const std::string_view cut_before = parts_.model->cut_before();
  for (const auto& range : pieces.ranges) {
    const std::string_view piece = pieces.text.substr(range.begin, range.end - range.begin);
    for_each_part(piece, cut_before, [&](std::string_view word) {
      if (word.size() > WordCache::max_word_bytes) return parts_.model->append(word, out);
      const WordCache::Key key(word);
      if (words.append(key, out)) return;
      const std::size_t before = out.size();
      parts_.model->append(word, out);
      words.put(key, std::span(out).subspan(before));
    });
  }
}

std::string_view PipelineTokenizer::token_bytes(TokenId id) const {
  return is_special(id) ? std::string_view() : entry_of(parts_.texts, id);
}

bool PipelineTokenizer::is_special(TokenId id) const {
  const auto index = static_cast<std::size_t>(id);
  return id >= 0 && index < parts_.special.size() && parts_.special[index];
}

std::optional<TokenId> PipelineTokenizer::find(std::string_view content) const {
  const auto found = parts_.ids.find(std::string(content));
  if (found == parts_.ids.end()) return std::nullopt;
  return found->second;
}

std::string_view PipelineTokenizer::token_text(TokenId id) const {
  return entry_of(parts_.texts, id);
}

std::string PipelineTokenizer::first_token_text(TokenId id) const {
  return std::string(entry_of(parts_.first_texts, id));
}

std::string_view PipelineTokenizer::token_content(TokenId id) const {
  return entry_of(parts_.contents, id);
}

}  // namespace tandem::model
