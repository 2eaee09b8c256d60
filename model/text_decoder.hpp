// Token ids back to text, one by one: what is certain leaves at once, and the parts add up to the
// decoded whole.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/units.hpp"

namespace tandem::model {

class Tokenizer;

/// How the texts of tokens become the text of a sequence; the decoder of tokenizer.json, apart from
/// what it does to each token alone.
struct DecodeRules {
  enum class Bytes : std::uint8_t {
    joined,    ///< tokens are bytes; ill-formed parts become U+FFFD as the Unicode standard advises
    fallback,  ///< tokens are text but for `byte_tokens`; a byte of those that is part of no
               ///< character becomes U+FFFD, as SentencePiece does it
  };
  Bytes bytes = Bytes::joined;
  std::vector<bool> byte_tokens;     ///< by id; for `fallback`
  std::string separator;             ///< between tokens
  bool first_token_differs = false;  ///< Tokenizer::first_token_text is asked for the first
  std::string stripped;              ///< a character that is taken from the beginning of the text
  std::uint32_t max_stripped = 0;    ///< so often at most
};

/// Where a sequence of tokens stands. Behind text, the space that a model puts in front of a whole
/// text is a space between words.
enum class TextPlace : std::uint8_t { start, behind_text };

/// The state of one sequence. `tokenizer` must outlive it.
class TextDecoder {
 public:
  /// Special tokens are left out if `skip_special`, but for those in `shown`.
  explicit TextDecoder(const Tokenizer& tokenizer, bool skip_special = true,
                       std::vector<TokenId> shown = {}, TextPlace place = TextPlace::start);

  /// Appends the text that became certain with `token`, well-formed and often empty.
  void push(TokenId token, std::string& out);
  /// Appends what was held back; bytes without an end become U+FFFD.
  void finish(std::string& out);

 private:
  void add(std::string_view text, std::string& out);
  void drain(bool at_end, std::string& out);

  const Tokenizer* tokenizer_;
  const DecodeRules* rules_;
  bool skip_special_;
  std::vector<TokenId> shown_;
  bool started_;
  std::uint32_t to_strip_;
  std::string pending_;  ///< bytes that may be the beginning of a character
};

}  // namespace tandem::model
