#include "model/text_decoder.hpp"

#include <algorithm>

#include "model/tokenizer.hpp"
#include "model/utf8.hpp"

namespace tandem::model {

TextDecoder::TextDecoder(const Tokenizer& tokenizer, bool skip_special, std::vector<TokenId> shown,
                         TextPlace place)
    : tokenizer_(&tokenizer),
      rules_(&tokenizer.decode_rules()),
      skip_special_(skip_special),
      shown_(std::move(shown)),
      started_(place == TextPlace::behind_text),
      to_strip_(started_ ? 0 : rules_->max_stripped) {}

void TextDecoder::push(TokenId token, std::string& out) {
  if (skip_special_ && tokenizer_->is_special(token) &&
      std::find(shown_.begin(), shown_.end(), token) == shown_.end())
    return;
  const bool first = !started_;
  started_ = true;
  const auto index = static_cast<std::size_t>(token);
  const bool is_byte =
      token >= 0 && index < rules_->byte_tokens.size() && rules_->byte_tokens[index];
  if (rules_->bytes == DecodeRules::Bytes::joined || is_byte) {
    if (!first) pending_ += rules_->separator;
    pending_ += first && rules_->first_token_differs ? tokenizer_->first_token_text(token)
                                                     : tokenizer_->token_text(token);
    drain(false, out);
    return;
  }
  drain(true, out);
  if (!first) add(rules_->separator, out);
  if (first && rules_->first_token_differs) {
    add(tokenizer_->first_token_text(token), out);
  } else {
    add(tokenizer_->token_text(token), out);
  }
}

void TextDecoder::finish(std::string& out) { drain(true, out); }

void TextDecoder::add(std::string_view text, std::string& out) {
  if (text.empty()) return;
  while (to_strip_ > 0 && text.starts_with(rules_->stripped)) {
    text.remove_prefix(rules_->stripped.size());
    --to_strip_;
  }
  if (!text.empty()) to_strip_ = 0;
  out += text;
}

/// Moves whole characters from the pending bytes to `out`; at the end, all of them.
void TextDecoder::drain(bool at_end, std::string& out) {
  if (pending_.empty()) return;
  std::string text;
  if (rules_->bytes == DecodeRules::Bytes::joined) {
    pending_.erase(0, append_well_formed(text, pending_, at_end));
  } else {
    std::size_t at = 0;
    while (at < pending_.size()) {
      const Utf8Step step = utf8_step(pending_, at);
      if (step.kind == Utf8Step::Kind::incomplete && !at_end) break;
      const bool whole = step.kind == Utf8Step::Kind::character;
      if (whole) {
        text.append(pending_, at, step.length);
      } else {
        append_utf8(text, 0xFFFD);
      }
      at += whole ? step.length : 1;
    }
    pending_.erase(0, at);
  }
  add(text, out);
}

}  // namespace tandem::model
