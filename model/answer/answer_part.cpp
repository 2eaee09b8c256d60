#include "model/answer/answer_part.hpp"

#include <utility>

namespace tandem::model {

void append(AnswerParts& parts, AnswerPart part) {
  if (part.text.empty() && part.name.empty()) return;
  if (!parts.empty() && part.name.empty() && parts.back().kind == part.kind &&
      parts.back().call == part.call) {
    parts.back().text += part.text;
    return;
  }
  parts.push_back(std::move(part));
}

void append_content(AnswerParts& parts, std::string text) {
  append(parts, AnswerPart{.kind = AnswerPart::Kind::content, .text = std::move(text)});
}

void append(AnswerParts& parts, AnswerParts more) {
  for (auto& part : more) append(parts, std::move(part));
}

std::string text_of(const AnswerParts& parts, AnswerPart::Kind kind) {
  std::string text;
  for (const auto& part : parts)
    if (part.kind == kind) text += part.text;
  return text;
}

std::size_t text_bytes(const AnswerParts& parts) {
  std::size_t bytes = 0;
  for (const auto& part : parts) bytes += part.text.size();
  return bytes;
}

}  // namespace tandem::model
