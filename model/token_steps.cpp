#include "model/token_steps.hpp"

#include <algorithm>
#include <charconv>

#include "model/byte_alphabet.hpp"
#include "model/normalizer.hpp"

namespace tandem::model {
namespace {

struct ApplyStep {
  TokenSteps::Spelled& token;
  bool first;

  void operator()(const TokenSteps::ByteLevel&) const {
    static const ByteAlphabet alphabet;
    if (auto bytes = alphabet.bytes_of(token.text)) token.text = std::move(*bytes);
  }
  void operator()(const TokenSteps::ByteFallback&) const {
    const auto byte = fallback_byte(token.text);
    if (!byte) return;
    token.text.assign(1, static_cast<char>(*byte));
    token.is_byte = true;
  }
  void operator()(const TokenSteps::Replace& step) const {
    std::string out;
    append_replaced(token.text, step.from, step.to, out);
    token.text = std::move(out);
  }
  void operator()(const TokenSteps::ReplaceMatches& step) const {
    std::string out;
    append_replaced(token.text, step.pattern, step.to, out);
    token.text = std::move(out);
  }
  void operator()(const TokenSteps::Strip& step) const {
    std::string_view text = token.text;
    for (auto left = step.left; left > 0 && text.starts_with(step.character); --left) {
      text.remove_prefix(step.character.size());
    }
    for (auto right = step.right; right > 0 && text.ends_with(step.character); --right) {
      text.remove_suffix(step.character.size());
    }
    token.text = std::string(text);
  }
  void operator()(const TokenSteps::Metaspace& step) const {
    std::string out;
    append_replaced(token.text, step.replacement, first && step.drop_in_first ? "" : " ", out);
    token.text = std::move(out);
  }
};

}  // namespace

TokenSteps::Spelled TokenSteps::spell(std::string_view content, bool first) const {
  Spelled token{std::string(content)};
  for (const Step& step : steps_) {
    if (token.is_byte) break;  // One byte is no text that other steps could change.
    std::visit(ApplyStep{token, first}, step);
  }
  return token;
}

bool TokenSteps::first_differs() const {
  return std::any_of(steps_.begin(), steps_.end(), [](const Step& step) {
    const auto* metaspace = std::get_if<Metaspace>(&step);
    return metaspace != nullptr && metaspace->drop_in_first;
  });
}

std::optional<unsigned char> fallback_byte(std::string_view content) {
  if (content.size() != 6 || !content.starts_with("<0x") || content.back() != '>') {
    return std::nullopt;
  }
  unsigned char byte = 0;
  const auto [end, failure] = std::from_chars(content.data() + 3, content.data() + 5, byte, 16);
  if (failure != std::errc() || end != content.data() + 5) return std::nullopt;
  return byte;
}

}  // namespace tandem::model
